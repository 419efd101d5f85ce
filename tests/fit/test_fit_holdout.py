"""Later budgets of published sweeps, predicted from the cheaper ones: requirements on error and on coverage."""

import numpy as np
import pytest

from benchmarks.holdout import FAMILIES, hold_out, hold_out_all, load, summarise, true_floor
from isoflop.fit.rows import sort_rows
from tests.fit.known_sweeps import known_sweep, true_log_n

# Required of the recommended estimate within 0.6 decades of the best runs.
LARGEST_RMS_DECADES = 0.148
LOWEST_TOTAL_COVERAGE = 0.77


@pytest.fixture(scope="module")
def within_the_window():
    return summarise(hold_out_all("recommended", 0.6))


@pytest.mark.slow
def test_the_recommended_estimate_predicts_later_budgets_as_well_as_is_required(within_the_window):
    assert within_the_window["mean_over_sweeps"]["rms"] <= LARGEST_RMS_DECADES
    assert within_the_window["pooled"]["total_coverage"] >= LOWEST_TOTAL_COVERAGE


@pytest.mark.slow
def test_every_published_sweep_is_predicted(within_the_window):
    assert within_the_window["sweeps"].keys() == FAMILIES.keys()
    assert all(numbers["n"] >= 6 for numbers in within_the_window["sweeps"].values())
    assert sum(numbers["n"] for numbers in within_the_window["distances"].values()) == within_the_window["pooled"]["n"]


@pytest.mark.slow
def test_the_window_predicts_better_than_all_rows(within_the_window):
    everything = summarise(hold_out_all("recommended", None))
    assert within_the_window["mean_over_sweeps"]["rms"] < everything["mean_over_sweeps"]["rms"]


@pytest.mark.parametrize("estimator", ["recommended", "parabola", "huber"])
def test_no_fit_sees_the_budgets_it_predicts(estimator):
    rows = load("marin_comma")
    raised = np.where(rows.budget_flops == rows.budgets[-1], rows.loss + 1.0, rows.loss)
    other = sort_rows(rows.budget_flops, rows.n_params, rows.n_tokens, raised)
    before, after = (hold_out("marin_comma", columns, estimator, None) for columns in (rows, other))
    assert [one.error for one in after] == pytest.approx([one.error for one in before], abs=1e-9)
    assert [one.statistical for one in after] == [one.statistical for one in before]


def test_exact_parabolas_are_predicted_exactly():
    rows = sort_rows(*known_sweep(budgets=np.geomspace(1e18, 1e21, 6)))
    held = hold_out("known", rows, "parabola", None)
    assert [(one.n_fitted, round(one.decades, 9)) for one in held] == [(4, 0.6), (4, 1.2), (5, 0.6)]
    assert [one.error for one in held] == pytest.approx([0.0] * 3, abs=1e-9)


def test_a_budget_whose_floor_lies_outside_its_rows_is_no_truth():
    inside, outside = (
        sort_rows(*known_sweep(budgets=[1e18], offsets=np.linspace(low, low + 0.8, 6))) for low in (-0.5, 0.1)
    )
    assert true_floor(inside).x == pytest.approx(true_log_n(1e18))
    assert true_floor(outside) is None
