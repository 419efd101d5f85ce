"""Second opinions on a forecast: a shrunk slope, and the estimate near the floors alone."""

import numpy as np
import pytest

from isoflop.fit import fit_sweep
from isoflop.fit.estimators.choice import choose
from isoflop.fit.reading.narrow import shrunk_slope, within_window
from isoflop.fit.rows import sort_rows
from tests.fit.known_sweeps import CHINCHILLA, published, surface_sweep, with_noise

FIVE = np.geomspace(1e18, 1e20, 5)


@pytest.mark.parametrize(("slope", "variance"), [(0.4, 0.0), (0.62, 0.01), (0.5, 0.3), (0.7, 0.002)], ids=str)
def test_a_shrunk_slope_is_the_mean_of_prior_and_likelihood_on_a_grid(slope, variance):
    grid = np.linspace(-3, 4, 200_001)
    weight = np.exp(-((grid - 0.5) ** 2) / (2 * 0.1**2) - (grid - slope) ** 2 / (2 * (variance + 0.08**2)))
    assert shrunk_slope(slope, variance) == pytest.approx(float((grid * weight).sum() / weight.sum()), abs=1e-6)


def test_a_second_reading_leaves_the_estimate_at_its_largest_budget_and_there_only():
    fit = fit_sweep(*published("llama3"), targets=[1e18, 1e22, 1e22 * (1 + 1e-9), 1e24])
    assert [target.n_opt_shrunk is None for target in fit.targets] == [True, True, False, False]
    _, _, at_edge, far = fit.targets
    assert at_edge.n_opt_shrunk == pytest.approx(at_edge.n_opt, rel=1e-6)
    line = fit.estimators.recommended.n_line
    shift = 2 * (shrunk_slope(*line.exponent) - line.slope)
    assert np.log10(far.n_opt_shrunk / far.n_opt) == pytest.approx(shift, rel=1e-9)
    assert 6 * far.n_opt_shrunk * far.d_opt_shrunk == pytest.approx(6 * far.n_opt * far.d_opt)


def test_a_second_reading_spends_the_budget_where_a_token_costs_otherwise():
    budgets, n_params, _, _ = surface_sweep(FIVE)
    n_tokens = budgets / (0.7 * n_params**1.1)
    loss = np.exp(CHINCHILLA.log_loss(np.log(n_params), np.log(n_tokens)))
    (target,) = fit_sweep(budgets, n_params, n_tokens, loss, targets=[1e22]).targets
    assert target.d_opt_shrunk * target.n_opt_shrunk**1.1 == pytest.approx(target.d_opt * target.n_opt**1.1)


def test_the_estimate_near_the_floors_is_that_of_a_window_and_is_made_only_where_grids_are_wide():
    columns = with_noise(surface_sweep(FIVE, half_width=1.4, n_sizes=13), np.random.default_rng(3), 0.001)
    rows = sort_rows(*columns)
    whole, windowed = choose(rows), choose(rows, window=0.6)
    near = within_window(whole)
    assert len(near.rows) == len(windowed.rows) < len(rows)
    assert near.on_params.at(22.0)[0] == pytest.approx(windowed.on_params.at(22.0)[0], abs=0.02)
    assert within_window(choose(sort_rows(*surface_sweep(FIVE, law=CHINCHILLA)))) is None
