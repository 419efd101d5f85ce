"""Units that no training has are refused with their factor; swapped columns and odd rows are findings."""

import math

import pytest

from isoflop.finding import Severity
from isoflop.sources.columns.header import REQUIRED
from tests.sources.tables import BASE, BASE_A, CASES, DATA, RUNS, case, codes, exponents, finding, load, refusal, write


def scaled(folder, *, c=1.0, n=1.0, d=1.0, header=REQUIRED):
    return write(folder, header, [(flops / c, params / n, tokens / d, loss) for flops, params, tokens, loss in RUNS])


@pytest.mark.parametrize(
    ("units", "words", "option"),
    [
        ({"n": 1e3}, "n_params were in thousands", "--column n_params='n_params*1e3'"),
        ({"n": 1e6}, "n_params were in millions", "--column n_params='n_params*1e6'"),
        ({"n": 1e9}, "n_params were in billions", "--column n_params='n_params*1e9'"),
        ({"d": 1e6}, "n_tokens were in millions", "--column n_tokens='n_tokens*1e6'"),
        ({"d": 1e9}, "n_tokens were in billions", "--column n_tokens='n_tokens*1e9'"),
        ({"d": 1e12}, "n_tokens were in trillions", "--column n_tokens='n_tokens*1e12'"),
        ({"c": 1e3}, "budget_flops were 1000 times too small", "--column budget_flops='budget_flops*1e3'"),
        ({"c": 1e-3}, "budget_flops were 1000 times too large", "--column budget_flops='budget_flops*1e-3'"),
        ({"c": 1e9}, "budget_flops were in gigaFLOPs", "--column budget_flops='budget_flops*1e9'"),
        ({"c": 1e12}, "budget_flops were in teraFLOPs", "--column budget_flops='budget_flops*1e12'"),
        ({"c": 1e15}, "budget_flops were in petaFLOPs", "--column budget_flops='budget_flops*1e15'"),
        ({"c": 1e18}, "budget_flops were in exaFLOPs", "--column budget_flops='budget_flops*1e18'"),
        ({"c": 1e21}, "budget_flops were in zettaFLOPs", "--column budget_flops='budget_flops*1e21'"),
        ({"c": 8.64e19}, "budget_flops were in petaFLOP/s-days", "--column budget_flops='budget_flops*8.64e19'"),
        ({"n": 1e6, "d": 1e9}, "n_params were in millions and n_tokens in billions", "n_tokens='n_tokens*1e9'"),
        ({"n": 1e9, "d": 1e9}, "n_params were in billions and n_tokens in billions", "n_tokens='n_tokens*1e9'"),
        ({"c": 1e18, "n": 1e6}, "n_params were in millions and budget_flops in exaFLOPs", "n_params='n_params*1e6'"),
        # C = 6 N D holds in millions, billions and petaFLOPs too.
        ({"c": 1e15, "n": 1e6, "d": 1e9}, "n_tokens in billions and budget_flops in petaFLOPs", "n_params*1e6"),
    ],
    ids=str,
)
def test_a_table_in_other_units_is_refused_with_what_mends_it(tmp_path, units, words, option):
    refused = refusal(scaled(tmp_path, **units))
    assert f"as if {words}" in refused.message or words in refused.message
    assert option in refused.hint
    assert "--no-unit-check" in refused.hint


def test_the_option_that_the_hint_gives_mends_the_table(tmp_path):
    for units in ({"n": 1e6, "d": 1e9}, {"c": 8.64e19}, {"c": 1e3}):
        path = scaled(tmp_path, **units)
        option = refusal(path).hint.partition(". If")[0].removeprefix("Give ")
        columns = [word.replace("'", "") for word in option.split("--column ") if word]
        mended = load(path, columns=[column.strip() for column in columns])
        for row, run in zip(mended.rows, RUNS, strict=True):
            assert row[:4] == pytest.approx(run, rel=1e-9)


@pytest.mark.parametrize(
    ("number", "columns", "said", "option"),
    [
        (
            6,
            ["n_params=params_M", "n_tokens=tokens_B"],
            "C / (6 N D) is 1e15 in every row: as if n_params were in millions and n_tokens in billions",
            "--column n_params='params_M*1e6' --column n_tokens='tokens_B*1e9'",
        ),
        (
            7,
            ["budget_flops=exaflops"],
            "C / (6 N D) is 1e-18 in every row: as if budget_flops were in exaFLOPs",
            "--column budget_flops='exaflops*1e18'",
        ),
    ],
)
def test_the_factor_and_the_likely_unit_are_named(number, columns, said, option):
    refused = refusal(case(number), columns=columns)
    assert said in refused.message
    assert option in refused.hint
    assert option in refusal(case(number)).hint  # the names alone tell it, too


@pytest.mark.parametrize(
    ("header", "options"),
    [
        (("gflops", "model_mparams", "tokens_b", "loss"), ["gflops*1e9", "model_mparams*1e6", "tokens_b*1e9"]),
        (("C (1e18)", "N [M]", "D [B]", "loss"), ["C (1e18)*1e18", "N [M]*1e6", "D [B]*1e9"]),
        (("PFLOP/s-days", "params_millions", "tokens (T)", "loss"), ["PFLOP/s-days*8.64e19", "tokens (T)*1e12"]),
        (("zettaflops", "size_b", "data_b", "loss"), ["zettaflops*1e21", "size_b*1e9", "data_b*1e9"]),
        (("GMACs", "#params(M)", "D/1e9", "loss"), ["GMACs*2e9", "#params(M)*1e6", "D/1e9*1e9"]),
        (("compute (EFLOP)", "params_k", "tokens_mil", "loss"), ["(EFLOP)*1e18", "params_k*1e3", "tokens_mil*1e6"]),
    ],
    ids=lambda value: value[0],
)
def test_units_in_names_are_not_applied_and_make_the_hint(tmp_path, header, options):
    refused = refusal(write(tmp_path, header, RUNS))
    assert "lacks the column" in refused.message
    assert all(option in refused.hint for option in options)


@pytest.mark.parametrize("part", [{0}, {0, 1}, {2}])
def test_budgets_in_another_unit_than_the_others_are_named_by_their_rows(tmp_path, part):
    budgets = sorted({run[0] for run in RUNS})
    rows = [(c, n / 1e6 if budgets.index(c) in part else n, d, loss) for c, n, d, loss in RUNS]
    refused = refusal(write(tmp_path, REQUIRED, rows))
    assert f"is 1e6 in {7 * len(part)} of 21 rows (lines " in refused.message
    assert "1 in the others: as if n_params were in millions" in refused.message


def test_single_rows_in_another_unit_are_named(tmp_path):
    rows = [(c, n, d / 1e9 if i in (3, 8) else d, loss) for i, (c, n, d, loss) in enumerate(RUNS)]
    assert (
        "in 2 of 21 rows (lines 5, 10), 1 in the others: as if n_tokens"
        in refusal(write(tmp_path, REQUIRED, rows)).message
    )


@pytest.mark.parametrize(
    ("header", "columns", "units", "said"),
    [
        (("n_params", "n_tokens", "loss"), "budget_flops=6ND", {"n_params": 1e6}, "n_params were in millions"),
        (("n_params", "n_tokens", "loss"), "budget_flops=6ND", {"n_tokens": 1e9}, "n_tokens were in billions"),
        (("budget_flops", "n_params", "loss"), "n_tokens=C/6N", {"n_params": 1e6}, "n_params were in millions"),
        (
            ("budget_flops", "n_params", "loss"),
            "n_tokens=C/6N",
            {"budget_flops": 1e18},
            "budget_flops were in exaFLOPs",
        ),
        (("budget_flops", "n_tokens", "loss"), "n_params=C/6D", {"n_tokens": 1e9}, "n_tokens were in billions"),
    ],
)
def test_units_are_checked_where_a_column_is_computed_too(tmp_path, header, columns, units, said):
    runs = [dict(zip(REQUIRED, run, strict=True)) for run in RUNS]
    path = write(tmp_path, header, [[run[name] / units.get(name, 1.0) for name in header] for run in runs])
    assert said in refusal(path, columns=[columns]).message


def swapped(folder, runs=RUNS):
    return write(folder, REQUIRED, [(c, d, n, loss) for c, n, d, loss in runs])


def test_swapped_columns_are_an_error_finding_that_names_them(tmp_path):
    found = finding(load(swapped(tmp_path)), "swapped_columns")
    assert found.severity is Severity.ERROR
    assert found.values["tokens_per_param"] == pytest.approx(1 / 14.7, rel=0.01)
    mended = load(swapped(tmp_path), columns=["n_params=n_tokens", "n_tokens=n_params"])
    assert exponents(mended)[0] == pytest.approx(BASE_A, abs=5e-4)
    assert codes(mended) == set()


def test_swapped_columns_are_told_where_budgets_are_computed(tmp_path):
    path = write(tmp_path, ("params", "tokens", "loss"), [(d, n, loss) for _, n, d, loss in RUNS])
    assert "swapped_columns" in codes(load(path, columns=["budget_flops=6ND"]))


PUBLISHED = sorted(path for path in DATA.glob("*.csv"))


@pytest.mark.parametrize("path", [*PUBLISHED, BASE], ids=lambda path: path.stem)
def test_published_tables_raise_no_question_of_units(path):
    assert load(str(path)).findings == ()


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_columns_of_every_published_table_are_noticed_when_swapped(tmp_path, path):
    rows = [row[:4] for row in load(str(path)).rows]
    assert "swapped_columns" in codes(load(swapped(tmp_path, rows)))


@pytest.mark.parametrize("factor", [0.12, 0.5, 0.73, 2.1, 25.0])
def test_costs_of_other_architectures_are_taken_as_they_are(tmp_path, factor):
    assert codes(load(scaled(tmp_path, c=1 / factor))) <= {"unusual_cost"}


@pytest.mark.parametrize(("factor", "said"), [(0.12, True), (1 / 3, True), (0.5, True), (0.73, False), (2.1, False)])
def test_a_cost_below_that_of_dense_models_is_a_warning(tmp_path, factor, said):
    assert ("unusual_cost" in codes(load(scaled(tmp_path, c=1 / factor)))) == said


def test_where_two_columns_would_have_to_be_off_that_are_right_as_they_stand_no_unit_is_guessed(tmp_path):
    # a mixture of 64 experts whose parameters all count
    refused = refusal(scaled(tmp_path, n=1 / 64))
    assert "as if" not in refused.message
    assert "--column budget_flops" not in refused.hint
    assert "experts" in refused.hint


def test_swapped_columns_of_which_one_is_computed_are_exchanged_by_what_the_hint_says(tmp_path):
    rows = [(flops, tokens, loss) for flops, _, tokens, loss in RUNS]
    path = write(tmp_path, ("budget_flops", "n_params", "loss"), rows)
    hint = finding(load(path, columns=["n_tokens=C/6N"]), "swapped_columns").hint
    options = hint.removeprefix("If so, give ").partition(";")[0].split("--column ")[1:]
    mended = load(path, columns=[option.strip() for option in options])
    assert "swapped_columns" not in codes(mended)
    assert [row.n_tokens for row in mended.rows] == [tokens for _, tokens, _ in rows]


@pytest.mark.parametrize(("base", "log"), [("10", math.log10), ("e", math.log)])
@pytest.mark.parametrize("which", [(0,), (1, 2), (0, 1, 2)], ids=["C", "N and D", "all"])
def test_logarithms_are_told_from_units(tmp_path, base, log, which):
    rows = [tuple(log(value) if place in which else value for place, value in enumerate(run)) for run in RUNS]
    refused = refusal(write(tmp_path, REQUIRED, rows))
    assert f"to base {base}" in refused.message
    assert all(repr(REQUIRED[place]) in refused.message for place in which)
    assert "1e18" not in refused.hint


def test_whoever_insists_is_served(tmp_path):
    assert load(scaled(tmp_path, n=0.01), check_units=False).findings == ()
    assert load(swapped(tmp_path), check_units=False).findings == ()


def test_tokens_that_lost_their_upper_bits_are_named(tmp_path):
    wrapped = load(write(tmp_path, REQUIRED, [(c, n, d % 2**32, loss) for c, n, d, loss in RUNS]))
    assert "n_tokens looks like a 32-bit whole number that overflowed" in finding(wrapped, "unlike_units").message
    stopped = load(write(tmp_path, REQUIRED, [(c, n, min(d, 2**31 - 1), loss) for c, n, d, loss in RUNS]))
    assert "n_tokens stops at what a 32-bit whole number holds" in finding(stopped, "unlike_units").message


def test_rows_of_another_cost_than_the_others_are_a_warning(tmp_path):
    rows = [(c * 8 if i == 4 else c, n, d, loss) for i, (c, n, d, loss) in enumerate(RUNS)]
    found = finding(load(write(tmp_path, REQUIRED, rows)), "unlike_units")
    assert (found.severity, found.values["lines"]) == (Severity.WARNING, [6])


def test_costs_within_a_factor_of_three_of_each_other_are_not(tmp_path):
    rows = [(c, n, d * math.exp(math.sin(i)), loss) for i, (c, n, d, loss) in enumerate(RUNS)]
    assert load(write(tmp_path, REQUIRED, rows)).findings == ()


def test_the_cases_are_all_there():
    assert len(list(CASES.glob("*/input*.csv"))) >= 12
