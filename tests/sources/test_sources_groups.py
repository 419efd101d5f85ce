"""Several sweeps in one table: chosen with --where, fitted one by one with --group, and noticed without either."""

import random

import pytest

from isoflop.finding import Severity
from isoflop.report.reproduce import reproduction
from isoflop.sources.columns.header import REQUIRED
from tests.report_examples import summary_of
from tests.sources.tables import BASE_A, DATA, RUNS, case, codes, each, exponents, finding, load, refusal, write

HEADER = (*REQUIRED, "corpus")


def mixed(folder, offsets, *, noise=0.0, seed=0, header=HEADER):
    """The clean runs once for each name, its losses that much higher, shuffled."""
    draw = random.Random(seed)
    rows = [
        (*run[:3], run[3] + offset + draw.gauss(0, noise), name) for name, offset in offsets.items() for run in RUNS
    ]
    return write(folder, header, draw.sample(rows, len(rows)))


def test_each_group_alone_is_the_clean_table():
    code, web = each(case(23), group="corpus")
    assert (code.label, web.label) == ("code", "web")
    assert {row.source for row in code.rows} == {"code"}
    for source in (code, web):
        assert exponents(source)[0] == pytest.approx(BASE_A, abs=5e-4)
        assert "mixed_groups" not in codes(source)
    assert sorted(row[:4] for row in web.rows) == sorted(RUNS)


def test_rows_may_be_chosen_by_a_value():
    source = load(case(23), where=["corpus=web"])
    assert sorted(row[:4] for row in source.rows) == sorted(RUNS)
    assert finding(source, "rows_selected").values == {"n_rows": 21, "n_all": 42, "where": ["corpus=web"]}
    assert sorted(row[:4] for row in load(case(23), where=["corpus!=code"]).rows) == sorted(RUNS)
    assert "--where corpus=web" in reproduction(summary_of(source))[0]


def test_a_group_without_any_result_is_left_out_and_named(tmp_path):
    rows = [*((*run, "web") for run in RUNS), *((*run[:3], "", "code") for run in RUNS)]
    [web] = each(write(tmp_path, HEADER, rows), group="corpus")
    assert web.label == "web"
    assert "Groups without any result are not fitted: code." in finding(web, "rows_without_result").message


def test_the_commands_of_a_report_of_groups_give_the_groups_again():
    code, _ = each(case(23), group="corpus")
    words = ["isoflop", "report", case(23), "--group", "corpus", "--loss-unit", "bits", "--out", "x"]
    first, *_ = reproduction(summary_of(code, commands=[words]))
    assert first == f"isoflop fit {case(23)} --group corpus --loss-unit bits"
    assert reproduction(summary_of(code))[0] == f"isoflop fit {case(23)} --group corpus"


def test_a_table_of_two_corpora_is_a_finding_that_names_the_column():
    source = load(case(23))
    found = finding(source, "mixed_groups")
    assert found.severity is Severity.ERROR
    assert "by the column 'corpus' (code, web)" in found.message
    assert "--group corpus" in found.hint
    assert found.values["offsets"] == pytest.approx([1.05, 0.0], abs=1e-3)
    said = " ".join(one.message for one in summary_of(source).findings)
    assert "differ only in seed" not in said


@pytest.mark.parametrize(
    "offsets",
    [{"a": 0, "b": 0.2}, {"a": 0, "b": 0.05}, {"a": 0, "b": 0.3, "c": 0.6}, {"a": 0, "b": 0.1, "c": 0.15, "d": 0.4}],
    ids=str,
)
@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_kinds_that_lie_apart_are_noticed(tmp_path, offsets, noise):
    assert finding(load(mixed(tmp_path, offsets, noise=noise)), "mixed_groups").severity is Severity.ERROR


def test_kinds_of_other_sizes_and_tokens_are_noticed_about_a_surface(tmp_path):
    other = [(c, 1.3 * n, d / 1.3, loss + 0.3, "code") for c, n, d, loss in RUNS]
    assert "mixed_groups" in codes(load(write(tmp_path, HEADER, [*((*run, "web") for run in RUNS), *other])))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_columns_that_tell_nothing_are_not(tmp_path, names, seed):
    path = mixed(tmp_path, dict.fromkeys(names, 0.0), noise=0.01, seed=seed)
    assert "mixed_groups" not in codes(load(path))


@pytest.mark.parametrize(
    "name",
    [
        lambda run, number: "small" if run[1] < 2e8 else "large",
        lambda run, number: f"budget {run[0]:g}",
        lambda run, number: f"shape {run[1]:g}",
        lambda run, number: f"run-{number}",
        lambda run, number: "finished",
        lambda run, number: number % 2,
    ],
    ids=["classes of sizes", "budgets", "shapes", "names of runs", "one value", "numbers"],
)
def test_columns_that_name_sizes_budgets_or_runs_are_not(tmp_path, name):
    path = write(tmp_path, HEADER, [(*run, name(run, number)) for number, run in enumerate(RUNS)])
    assert "mixed_groups" not in codes(load(path))


def test_labels_drawn_by_lot_tell_nothing_of_small_tables(tmp_path):
    """Without F several of 60 draws on 14 noisy runs, each place twice, would pass by chance."""
    for seed in range(60):
        draw = random.Random(seed)
        rows = [(*run[:3], run[3] + draw.gauss(0, 0.01), draw.choice("ab")) for run in 2 * RUNS[::3]]
        assert "mixed_groups" not in codes(load(write(tmp_path, HEADER, rows)))


def test_a_column_that_follows_from_size_and_tokens_tells_no_kinds_whatever_it_explains(tmp_path):
    rows = [(c, n, d, loss + 0.2 * (d / n > 20), "over" if d / n > 20 else "under") for c, n, d, loss in RUNS]
    assert "mixed_groups" not in codes(load(write(tmp_path, HEADER, rows)))


@pytest.mark.parametrize("table", sorted(DATA.glob("*.csv")), ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "name",
    [
        lambda c, n, d: f"{c:.0e} FLOPs",
        lambda c, n, d: f"{n:.0e} parameters",
        lambda c, n, d: "over" if d / n > 20 else "under",
    ],
    ids=["budgets", "sizes", "regimes"],
)
def test_no_published_table_is_taken_apart_by_names_of_its_places(tmp_path, table, name):
    rows = [(*row[:4], name(*row[:3])) for row in load(str(table)).rows]
    assert "mixed_groups" not in codes(load(write(tmp_path, HEADER, rows)))


@pytest.mark.parametrize(
    ("where", "n_rows"),
    [(["rate=0.001"], 11), (["rate=1e-3"], 11), (["rate!=0.001"], 10), (["rate=0.001", "kind=a"], 6), (["kind="], 0)],
    ids=str,
)
def test_a_condition_is_met_by_the_same_number_in_other_words(tmp_path, where, n_rows):
    rows = [(*run, ("0.0010", "0.002")[i % 2], "ab"[i % 4 // 2]) for i, run in enumerate(RUNS)]
    path = write(tmp_path, (*REQUIRED, "rate", "kind"), rows)
    if n_rows:
        assert len(load(path, where=where).rows) == n_rows
    else:
        assert "its column kind holds 'a', 'b'" in refusal(path, where=where).hint.lower()


def test_conditions_hold_before_rows_are_judged(tmp_path):
    rows = [*((*run, "good") for run in RUNS), ("x", -1, None, 3.0, "bad")]
    assert len(load(write(tmp_path, HEADER, rows), where=["corpus=good"]).rows) == 21


def test_columns_that_are_not_there_are_named(tmp_path):
    path = case(23)
    assert "lacks the column 'corpora', which --where names" in refusal(path, where=["corpora=web"]).message
    assert "Did you mean corpus?" in refusal(path, where=["corpsu=web"]).hint
    assert "lacks the column 'kind', which --group names" in refusal(path, group="kind").message
    assert "has 21 values" not in refusal(path, group="kind").message


def test_a_column_with_a_value_per_run_makes_no_groups(tmp_path):
    rows = [(*run, f"{number}-{again}") for again in range(3) for number, run in enumerate(RUNS)]
    assert (
        "has 63 values, and --group makes a fit of each"
        in refusal(write(tmp_path, HEADER, rows), group="corpus").message
    )


def test_groups_of_several_tables_carry_both_names(tmp_path):
    path = case(23)
    labels = [source.label for source in each(f"A={path}", str(write(tmp_path, HEADER, [(*run, "c") for run in RUNS])),
                                              group="corpus")]  # fmt: skip
    assert labels == ["A code", "A web", "runs.csv c"]


@pytest.mark.parametrize("column", ["vocab", "seq_len"])
def test_a_column_of_few_numbers_that_tells_equal_runs_apart_is_named_too(tmp_path, column):
    found = finding(load(mixed(tmp_path, {"32000": 0.0, "50257": 0.3}, header=(*REQUIRED, column))), "mixed_groups")
    assert found.severity is Severity.ERROR
    assert f"--group {column}" in found.hint


@pytest.mark.parametrize("column", ["lr", "learning_rate", "batch_size", "config.weight_decay", "seed", "Warmup Steps"])
def test_settings_that_are_swept_are_no_kinds_of_runs(tmp_path, column):
    path = mixed(tmp_path, {"1": 0.0, "2": 0.3}, header=(*REQUIRED, column))
    assert "mixed_groups" not in codes(load(path))


def test_numbers_that_follow_from_size_tell_no_kinds(tmp_path):
    rows = [(*run, 12 if run[1] < 2e8 else 24) for run in RUNS]
    assert "mixed_groups" not in codes(load(write(tmp_path, (*REQUIRED, "layers"), rows)))
