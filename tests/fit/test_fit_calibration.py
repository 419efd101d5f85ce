"""Intervals of the recommended estimate on sweeps of known surfaces: a short run of `benchmarks/calibration.py`."""

import json
import math

import numpy as np
import pytest
from surfaces import BUDGETS, CELLS, GROUPS, SKEWED, SPOILS, SURFACES, Setting

from benchmarks.calibration import LEVEL, QUANTITIES, Job, measure, measure_all, summarise, token_cost, true_values
from isoflop.fit.estimators.outliers import FALSE_ALARMS
from isoflop.fit.rows import SIX

SWEEPS, SEED = 20, 1
# A share that is right lies within this many of its binomial standard errors.
STANDARD_ERRORS = 4.0


def standard_error(share, n):
    return math.sqrt(share * (1 - share) / n)


def well_specified(half_width):
    """Each additive surface, on a grid that lies off the optimum, with as much noise as published sweeps have."""
    return [
        index
        for index, cell in enumerate(CELLS)
        if cell.surface.name in GROUPS["well"]
        and (cell.centring, cell.half_width, cell.noise) == ("off", half_width, 0.002)
    ]


# The first of a process waits for it.
WITH_MEASURED = pytest.mark.slow(10)


@pytest.fixture(scope="module")
def measured():
    return [measure(Job(index, SWEEPS, SEED)) for index in (*well_specified(0.5), *well_specified(1.0))]


@WITH_MEASURED
def test_nominal_90_percent_intervals_hold_the_truth_as_often_as_they_say(measured):
    coverage = summarise(measured)["coverage"]["well"]
    # 120 sweeps: 0.90 +- 0.11
    allowed = STANDARD_ERRORS * standard_error(LEVEL, SWEEPS * len(measured))
    assert coverage == pytest.approx(dict.fromkeys(QUANTITIES, LEVEL), abs=allowed)


@WITH_MEASURED
def test_bad_runs_are_set_aside_and_clean_sweeps_kept(measured):
    (mask,) = (row for row in summarise(measured)["mask"] if row["cells"] == "well")
    for spoil in SPOILS:
        if spoil.least >= 0.3:
            assert mask["spoilt"][spoil.name]["bad_runs_found"] >= 0.90
    # 0.05 + 0.08
    allowed = FALSE_ALARMS + STANDARD_ERRORS * standard_error(FALSE_ALARMS, SWEEPS * len(measured))
    assert mask["clean_sweeps_masked"] <= allowed


@WITH_MEASURED
def test_the_recommended_estimate_errs_less_far_out_than_parabolas_on_a_skewed_surface(measured):
    skewed = [one for one in measured if CELLS[one.index].surface is SKEWED]
    recommended, parabola, _ = np.sqrt(np.mean([one.rms**2 for one in skewed], axis=0))
    assert recommended < parabola


@WITH_MEASURED
def test_a_summary_of_any_cells_is_plain_json(measured):
    document = json.loads(json.dumps(summarise(measured[:1]), allow_nan=False))
    assert document["cells"] == 1
    assert document["joint_share"] == 1


@pytest.mark.slow
def test_the_number_of_processes_changes_no_digit():
    jobs = [Job(index, 2, SEED) for index in (0, 50)]
    alone, together = measure_all(jobs, 1), measure_all(jobs, 2)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.errors, other.errors)
        np.testing.assert_array_equal(one.far_errors, other.far_errors)
        np.testing.assert_array_equal(one.found, other.found)


@pytest.mark.parametrize("cost", [SIX, token_cost(0.9)], ids=["6ND", "N^0.9"])
@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_the_truth_is_where_the_loss_is_lowest_at_equal_cost(surface, cost):
    truth = dict(zip(QUANTITIES, true_values(surface, cost), strict=True))
    log_n = truth["N at C_max"] + np.linspace(-0.1, 0.1, 2001)
    n_params = 10**log_n
    n_tokens = BUDGETS[-1] / (np.exp(cost.offset) * n_params**cost.slope)
    loss = surface.loss(n_params, n_tokens)
    assert log_n[np.argmin(loss)] == pytest.approx(truth["N at C_max"], abs=1e-4)
    assert loss.min() == pytest.approx(truth["loss at C_max"], rel=1e-9)
    assert truth["D at C_max"] == pytest.approx(np.log10(n_tokens[1000]), abs=1e-9)
    assert truth["a"] == pytest.approx((truth["N at 100x"] - truth["N at C_max"]) / 2, abs=1e-9)


def test_noise_rises_4_fold_over_budgets_where_it_is_asked_to():
    noise = Setting(heteroscedastic=True).noise()
    assert (noise[0], noise[-1], np.prod(noise)) == pytest.approx((0.5, 2.0, 1.0))
