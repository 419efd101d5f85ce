"""Rows that are no results: left out, counted and named once; results stay strict."""

import pytest

from isoflop.finding import Severity
from isoflop.sources.columns.header import REQUIRED
from tests.sources.tables import BASE, BASE_A, RUNS, case, codes, exponents, finding, load, refusal, write

STATE = (*REQUIRED, "state")


def test_an_export_with_crashed_runs_is_fitted_without_them():
    source = load(case(8))
    assert [row[:4] for row in source.rows] == RUNS
    found = finding(source, "rows_without_result")
    assert found.severity is Severity.INFO
    assert "3 rows without a result left out: lines 11, 18, 19 (" in found.message
    assert found.values["lines"] == [11, 18, 19]
    assert exponents(source)[0] == pytest.approx(BASE_A, abs=5e-4)


@pytest.mark.parametrize(
    "loss", ["", " ", "nan", "NaN", "None", "null", "N/A", "-", "crashed", "running", "OOM", "killed"]
)
def test_a_row_without_a_loss_is_left_out_whatever_else_it_holds(tmp_path, loss):
    source = load(write(tmp_path, REQUIRED, [*RUNS, ("extra", "", "?", loss)]))
    assert [row[:4] for row in source.rows] == RUNS
    assert finding(source, "rows_without_result").values["lines"] == [23]


@pytest.mark.parametrize("loss", ["inf", "-inf", "Infinity", "1e999", "diverged"])
def test_an_infinite_loss_is_named_as_that_of_a_diverged_run(tmp_path, loss):
    found = finding(load(write(tmp_path, REQUIRED, [*RUNS, (*RUNS[0][:3], loss)])), "rows_without_result")
    assert (found.severity, found.values["n_diverged"]) == (Severity.WARNING, 1)
    assert "1 diverged" in found.message


@pytest.mark.parametrize("state", ["crashed", "Failed", "RUNNING", "killed", "preempted", "diverged"])
@pytest.mark.parametrize("column", ["state", "status", "run.state", "State"])
def test_the_loss_of_a_run_that_did_not_finish_is_no_result(tmp_path, state, column):
    rows = [(*run, "finished") for run in RUNS]
    source = load(write(tmp_path, (*REQUIRED, column), [*rows, (*RUNS[3][:3], 9.9, state), (*RUNS[4], "")]))
    assert len(source.rows) == len(RUNS) + 1  # an empty state says nothing
    assert finding(source, "rows_without_result").values["lines"] == [23]


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [("diverged", "False", "True"), ("crashed", 0, 1), ("finished", "true", "false"), ("run.completed", 1, 0)],
)
def test_a_flag_says_that_a_run_did_not_finish(tmp_path, column, good, bad):
    rows = [*((*run, good) for run in RUNS), (*RUNS[3][:3], 9.9, bad), (*RUNS[4], "")]
    assert finding(load(write(tmp_path, (*REQUIRED, column), rows)), "rows_without_result").values["lines"] == [23]


def test_a_column_named_like_a_flag_that_holds_dates_is_none(tmp_path):
    rows = [(*run, f"2026-01-{number + 1:02d}") for number, run in enumerate(RUNS)]
    assert load(write(tmp_path, (*REQUIRED, "finished"), rows)).findings == ()


def test_a_column_of_other_states_tells_nothing_of_runs(tmp_path):
    rows = [(*run, ("CA", "NY", "TX")[number % 3]) for number, run in enumerate(RUNS)]
    assert codes(load(write(tmp_path, STATE, rows))) == set()


def test_many_rows_without_a_result_are_a_warning(tmp_path):
    rows = [(*run[:3], "" if number % 3 else run[3]) for number, run in enumerate(RUNS)]
    assert finding(load(write(tmp_path, REQUIRED, rows)), "rows_without_result").severity is Severity.WARNING


def test_a_row_with_a_loss_stays_strict(tmp_path):
    message = refusal(
        write(tmp_path, STATE, [*((*run, "finished") for run in RUNS), (1e18, "x", 1e9, 3.0, "finished")])
    )
    assert "line 23: n_params = 'x' is not a finite positive number" in message.message


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(*run[:3], "") for run in RUNS], "21 without a loss (lines 2, 3, "),
        ([(*run, "crashed") for run in RUNS], "21 not finished"),
    ],
    ids=["no loss", "crashed"],
)
def test_a_table_without_any_result_is_one_clear_error(tmp_path, rows, said):
    assert said in refusal(write(tmp_path, STATE if len(rows[0]) == 5 else REQUIRED, rows)).message


def test_the_clean_table_has_nothing_to_say():
    assert load(str(BASE)).findings == ()


def test_a_loss_of_exactly_zero_far_below_all_others_is_no_result(tmp_path):
    source = load(write(tmp_path, REQUIRED, [*RUNS, (*RUNS[3][:3], 0), (*RUNS[9][:3], "0.0")]))
    assert [row[:4] for row in source.rows] == RUNS
    found = finding(source, "rows_without_result")
    assert (found.severity, found.values["lines"]) == (Severity.WARNING, [23, 24])
    assert "2 with a loss of 0" in found.message


@pytest.mark.parametrize("shift", [2.9, 3.5], ids=["others on both sides", "all others below"])
def test_a_zero_among_normalised_losses_is_a_loss(tmp_path, shift):
    rows = [(*run[:3], round(run[3] - shift, 4)) for run in RUNS]
    source = load(write(tmp_path, REQUIRED, [*rows, (*RUNS[3][:3], 0)]))
    assert len(source.rows) == len(RUNS) + 1


def test_a_zero_beside_losses_near_it_is_a_loss(tmp_path):
    rows = [(*run[:3], run[3] - 2.8) for run in RUNS]  # 0.05 to 0.76
    assert len(load(write(tmp_path, REQUIRED, [*rows, (*RUNS[3][:3], 0)])).rows) == len(RUNS) + 1


def test_losses_near_the_end_of_floats_are_judged_without_a_warning(tmp_path):
    path = write(tmp_path, REQUIRED, [(1e18, 1e8, 1e9, 1.7e308), (1e18, 2e8, 1e9, 1.7e308), (1e18, 3e8, 1e9, 0.0)])
    assert "is beyond" in refusal(path).message
