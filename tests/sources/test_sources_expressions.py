"""What --column takes beside a name: products, C = 6 N D, several names, one source's own; and nothing else."""

import pytest

from isoflop.errors import IsoflopError
from isoflop.report.fit_document import fit_document
from isoflop.report.reproduce import reproduction
from isoflop.sources.columns.column_request import ColumnRequest, parse_columns
from isoflop.sources.columns.expression import Formula, Product, formula_of, read_product
from isoflop.sources.columns.header import OPTIONAL, REQUIRED
from tests.report_examples import summary_of
from tests.sources.tables import BASE_A, BASE_B, RUNS, case, codes, exponents, finding, load, refusal, write

HEADER = ("flops", "params_M", "eval/loss", "a*b", "N params", "loss")


@pytest.mark.parametrize(
    ("text", "product"),
    [
        ("flops", Product(("flops",))),
        ("params_M*1e6", Product(("params_M",), 1e6)),
        (" params_M * 1e6 ", Product(("params_M",), 1e6)),
        ("1e6*params_M", Product(("params_M",), 1e6)),
        ("N params*2*.5", Product(("N params",), 1.0)),
        ("a*b", Product(("a*b",))),
        ("eval/loss", Product(("eval/loss",))),
        ("eval/loss*2", Product(("eval/loss",), 2.0)),
        ("eval/loss/2", Product(("eval/loss",), 0.5)),
        ("flops/1000", Product(("flops",), 1e-3)),
        ("params_M*flops", Product(("params_M", "flops"))),
        ("2e9", Product((), 2e9)),
    ],
)
def test_a_product_of_numbers_and_columns_is_read(text, product):
    assert read_product(text, HEADER) == product


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("params*1e6", "params"), ("params_M**2", ""), ("params_M+1", "params_M+1"), ("-params_M", "-params_M"),
        ("(params_M)", "(params_M)"), ("flops/params_M", "flops/params_M"), ("flops/0", "flops/0"),
        ("__import__('os')*1", "__import__('os')"), ("nan*flops", "nan"), ("inf*flops", "inf"), ("1_0*flops", "1_0"),
        ("flops*", ""), ("", ""), ("log(loss)", "log(loss)"), ("\uff11*flops", "\uff11"),
    ],
)  # fmt: skip
def test_nothing_else_is_evaluated(text, piece):
    assert read_product(text, HEADER) == piece


def test_an_endless_text_is_read_without_recursion():
    assert read_product("flops" + "/1" * 50_000, HEADER) == Product(("flops",))
    assert isinstance(read_product("x" + "/1*" * 50_000, HEADER), str)


@pytest.mark.parametrize("text", ["6ND", "6nd", "6*N*D", "6 N D", "6 * n * d"])
def test_six_n_d_is_written_as_people_write_it(text):
    assert formula_of("budget_flops", text) is Formula.BUDGET
    assert formula_of("n_tokens", text) is Formula.TOKENS
    assert formula_of("loss", text) is None


@pytest.mark.parametrize("text", ["C/6N", "c/6n", "C/(6N)", "C / (6 * N)"])
def test_a_quotient_is_that_of_its_own_column_alone(text):
    assert formula_of("n_tokens", text) is Formula.TOKENS
    assert formula_of("budget_flops", text) is None
    assert formula_of("n_params", text) is None


def test_millions_and_billions_give_the_clean_table():
    source = load(case(6), columns=["n_params=params_M*1e6", "n_tokens=tokens_B*1e9"])
    for row, run in zip(source.rows, RUNS, strict=True):
        assert row[:4] == pytest.approx(run, rel=2e-4)
    assert exponents(source)[0] == pytest.approx(BASE_A, abs=5e-4)


def test_a_product_is_the_float_that_a_person_would_write():
    """0.956 x 1e18 is not 9.56e17 in binary; budgets of tables in other units are to be the same budgets."""
    source = load(case(7), columns=["budget_flops=exaflops*1e18"])
    assert [row[:4] for row in source.rows] == RUNS


def test_tokens_from_budgets_are_computed_on_request_and_labelled():
    source = load(case(11), columns=["n_tokens=C/6N"])
    assert exponents(source) == pytest.approx((BASE_A, BASE_B), abs=5e-4)
    found = finding(source, "derived_column")
    assert found.message.startswith("n_tokens = C / (6 N), computed, not read.")
    assert found.values == {"column": "n_tokens", "formula": "C/6N"}
    summary = summary_of(source)
    [document] = fit_document(summary)["sources"]
    assert document["columns"]["n_tokens"] == "C/6N"
    assert "n_tokens = C/6N" in dict(summary.provenance.rows)["columns"]
    assert "--column n_tokens=C/6N" in reproduction(summary)[0]


def test_without_being_asked_tokens_are_not_computed():
    refused = refusal(case(11))
    assert "lacks the column n_tokens" in refused.message
    assert "--column n_tokens=C/6N" in refused.hint


def test_the_way_out_is_named_whatever_the_other_columns_are_called(tmp_path):
    path = write(tmp_path, ("x", "y", "loss"), [(run[0], run[1], run[3]) for run in RUNS])
    columns = ["budget_flops=x", "n_params=y"]
    assert "--column n_tokens=C/6N" in refusal(path, columns=columns).hint
    assert load(path, columns=[*columns, "n_tokens=C/6N"]).rows
    assert "C/6" not in refusal(path, columns=columns[:1]).hint


def test_budgets_from_sizes_and_tokens_are_those_of_the_clean_table():
    source = load(case(12), columns=["budget_flops=6ND"])
    for row, run in zip(source.rows, RUNS, strict=True):
        assert row.budget_flops == pytest.approx(run[0], rel=1e-6)
    assert exponents(source) == pytest.approx((BASE_A, BASE_B), abs=1e-3)
    assert "--column budget_flops=6ND" in refusal(case(12)).hint


def test_with_tokens_and_budgets_alone_b_is_determined_and_n_called_nominal():
    source = load(case(28), columns=["n_params=C/6D"])
    assert exponents(source)[1] == pytest.approx(BASE_B, abs=5e-4)
    assert "N is then nominal" in finding(source, "derived_column").message
    assert "--column n_params=C/6D" in refusal(case(28)).hint


def test_two_columns_cannot_both_be_computed():
    refused = refusal(case(12), columns=["budget_flops=6ND", "n_tokens=C/6N"])
    assert "--column computes" in refused.message


def test_a_piece_of_a_product_that_is_not_there_is_named():
    refused = refusal(case(6), columns=["n_params=params_N*1e6", "n_tokens=tokens_B*1e9"])
    assert "lacks the column 'params_N', which --column gives for n_params" in refused.message
    assert "--column n_params=params_M*1e6?" in refused.hint


def test_a_cell_of_a_product_that_is_no_number_is_shown(tmp_path):
    path = write(tmp_path, REQUIRED, [*RUNS, (1e18, "many", 1e9, 3.0)])
    assert "line 23: n_params = 'many' is not" in refusal(path, columns=["n_params=n_params*1e0"]).message


def test_a_constant_is_no_loss():
    assert "lacks the column '3'" in refusal(case(8), columns=["loss=3"]).message


def test_the_first_name_that_a_table_has_counts():
    """Two people's headers, with names for both; and by aliases without any."""
    names = ["budget_flops=C", "budget_flops=flops", "n_params=N", "n_params=params", "n_tokens=D", "n_tokens=tokens"]
    both = case(25, "input-a.csv"), case(25, "input-b.csv")
    told = load(*both, columns=[*names, "loss=val", "loss=eval/loss"])
    assert sorted(row[:4] for row in told.rows) == sorted(RUNS)
    assert exponents(told)[0] == pytest.approx(BASE_A, abs=5e-4)
    assert sorted(row[:4] for row in load(*both).rows) == sorted(RUNS)


def test_a_source_may_have_names_of_its_own():
    a, b = case(25, "input-a.csv"), case(25, "input-b.csv")
    source = load(f"A={a}", f"B={b}", columns=["A:loss=val", "B:loss=eval/loss", "B:n_params=params*1"])
    assert sorted(row[:4] for row in source.rows) == sorted(RUNS)
    assert "no source has the label 'Z'" in refusal(f"A={a}", columns=["Z:loss=val"]).message
    assert "lacks the column 'eval/loss'" in refusal(f"A={a}", f"B={b}", columns=["A:loss=eval/loss"]).message


def test_a_request_is_parsed_once():
    assert parse_columns(["A: n_params = x*1e6"], REQUIRED + OPTIONAL) == (ColumnRequest("n_params", "x*1e6", "A"),)
    with pytest.raises(IsoflopError, match="does not have the form"):
        parse_columns(["A:n_params"], REQUIRED + OPTIONAL)


ALIASES = [
    ("C", "N", "D", "val_loss"), ("FLOPs", "Params", "Tokens", "Loss"),
    ("budget", "parameters", "train_tokens", "eval_loss"),
    ("compute", "num_params", "tokens_seen", "final_loss"), ("train_flops", "model_params", "n_tokens", "test_loss"),
    ("summary.total_flops", "config.n_params", "summary.tokens", "summary.val_loss"), ("c", "n", "d", "eval/loss"),
    ("Budget FLOPs", "non_embedding_params", "num tokens", "Validation Loss"),
]  # fmt: skip


@pytest.mark.parametrize("header", ALIASES, ids=lambda header: header[0])
def test_usual_names_are_found_and_printed(tmp_path, header):
    source = load(write(tmp_path, header, RUNS))
    assert [row[:4] for row in source.rows] == RUNS
    named = finding(source, "columns_matched").values["columns"]
    assert named == {ours: theirs for ours, theirs in zip(REQUIRED, header, strict=True) if ours != theirs}
    assert codes(source) == {"columns_matched"}


@pytest.mark.parametrize(
    ("extra", "said"),
    [("test_loss", "val_loss, test_loss may each be it"), ("train_loss", None), ("seed", None), ("lr", None)],
)
def test_a_name_counts_only_where_it_is_the_only_candidate(tmp_path, extra, said):
    path = write(tmp_path, (*REQUIRED[:3], "val_loss", extra), [(*run, run[3]) for run in RUNS])
    if said:
        assert said in refusal(path).message
    else:
        assert load(path).columns.chosen["loss"] == "val_loss"


def test_a_loss_on_the_training_text_is_not_taken_for_the_loss(tmp_path):
    path = write(tmp_path, (*REQUIRED[:3], "train/loss"), RUNS)
    assert "--column loss=train/loss" in refusal(path).hint


def test_our_own_name_wins_over_every_alias(tmp_path):
    path = write(tmp_path, (*REQUIRED, "val_loss", "C"), [(*run, 1.0, 1.0) for run in RUNS])
    assert [row[:4] for row in load(path).rows] == RUNS
    assert load(path).findings == ()
