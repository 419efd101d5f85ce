"""A known surface is recovered exactly, and intervals hold the truth as often as they say."""

import numpy as np
import pytest
from scipy import stats

from isoflop.fit import Vertex, fit_sweep
from tests.fit.known_sweeps import (
    BUDGETS,
    EXPONENT_A,
    EXPONENT_B,
    known_sweep,
    parabola_fit,
    published,
    true_log_d,
    true_log_n,
    with_noise,
)

TARGET = 1e22


def test_floors_of_exact_parabolas_are_recovered():
    fit = fit_sweep(*known_sweep(floor=2.5, curvature=0.4))
    for profile, budget in zip(fit.profiles, BUDGETS, strict=True):
        assert profile.vertex is Vertex.INSIDE
        assert profile.n_opt == pytest.approx(10 ** true_log_n(budget), rel=1e-10)
        assert profile.d_opt == pytest.approx(10 ** true_log_d(budget), rel=1e-10)
        assert profile.loss_opt == pytest.approx(2.5, rel=1e-12)
        assert profile.curvature == pytest.approx(0.4, rel=1e-10)
        assert profile.rmse == pytest.approx(0, abs=1e-12)


def test_the_power_laws_and_a_target_of_exact_parabolas_are_recovered():
    fit = fit_sweep(*known_sweep(), targets=[TARGET])
    (target,) = fit.targets
    assert (fit.frontier.exponent_a, fit.frontier.exponent_b) == pytest.approx((EXPONENT_A, EXPONENT_B), rel=1e-10)
    assert (fit.frontier.coef_n, fit.frontier.coef_d) == pytest.approx((10**-0.3, 10**-1.2), rel=1e-9)
    assert target.n_opt == pytest.approx(10 ** true_log_n(TARGET), rel=1e-9)
    assert target.d_opt == pytest.approx(10 ** true_log_d(TARGET), rel=1e-9)
    assert target.tokens_per_param == pytest.approx(target.d_opt / target.n_opt, rel=1e-12)
    assert target.extrapolation_decades == pytest.approx(2)


def test_exact_parabolas_leave_only_the_model_error():
    (target,) = fit_sweep(*known_sweep(), targets=[TARGET]).targets
    statistical, full = np.log10(target.n_opt_ci_statistical), np.log10(target.n_opt_ci)
    assert np.ptp(statistical) == pytest.approx(0, abs=1e-9)
    # 1.6449 standard deviations of sqrt(0.04^2 + (0.08 x 2 decades)^2) on either side.
    assert np.ptp(full) == pytest.approx(2 * 1.6448536 * np.hypot(0.04, 0.16), rel=1e-6)


def test_parabola_coefficients_reproduce_the_losses():
    columns = known_sweep(budgets=[1e19])
    (profile,) = fit_sweep(*columns).profiles
    for x, mean, coefficients in (
        (np.log10(columns[1]), profile.x_mean, profile.coefficients),
        (np.log10(columns[2]), profile.d_mean, profile.d_coefficients),
    ):
        assert np.polynomial.polynomial.polyval(x - mean, coefficients) == pytest.approx(columns[3], rel=1e-12)


def test_profiles_and_frontier_are_the_same_with_and_without_the_other_estimators():
    columns = with_noise(known_sweep(), np.random.default_rng(21), 0.003)
    fit = fit_sweep(*columns)
    assert parabola_fit(columns) == (fit.profiles, fit.frontier)


def test_nominal_90_percent_intervals_hold_the_truth_in_90_percent_of_400_sweeps():
    generator = np.random.default_rng(20)
    columns = known_sweep(budgets=np.geomspace(1e18, 1e20, 5))
    held = []
    for _ in range(400):
        profiles, frontier = parabola_fit(with_noise(columns, generator, 0.003))
        profile, (log_n, variance) = profiles[2], frontier.n_line.at(np.log10(TARGET))
        half_width = stats.t.ppf(0.95, frontier.degrees_of_freedom) * np.sqrt(variance)
        held.append(
            [
                low <= truth <= high
                for (low, high), truth in (
                    (frontier.exponent_a_ci, EXPONENT_A),
                    (frontier.exponent_b_ci, EXPONENT_B),
                    (profile.n_opt_ci, 10 ** true_log_n(profile.budget_flops)),
                    (profile.d_opt_ci, 10 ** true_log_d(profile.budget_flops)),
                    ((log_n - half_width, log_n + half_width), true_log_n(TARGET)),
                )
            ]
        )
    coverage = np.mean(held, axis=0)
    assert np.all((coverage >= 0.86) & (coverage <= 0.94)), coverage


def test_the_optimum_beyond_a_sweep_spends_its_budget_at_the_cost_of_shapes_of_that_size():
    # Small shapes cost 5.6 to 9.2 FLOPs per parameter and token, without order; these three were trained later.
    (target,) = fit_sweep(*published("quickstart"), targets=[1.2e12]).targets
    per_token = np.interp(target.n_opt, [49_792, 97_468, 194_280], 1.2e12 / np.array([3_735_680, 1_919_488, 943_296]))
    assert target.d_opt * per_token == pytest.approx(1.2e12, rel=0.03)
    low, high = target.d_opt_ci
    assert low < 1.2e12 / per_token < high


@pytest.mark.parametrize("n_left_out", [1, 2])
def test_the_optimum_of_later_budgets_spends_them_at_the_cost_of_their_own_runs(n_left_out):
    c, n, d, loss = published("marin_comma")
    later = np.unique(c)[-n_left_out:]
    known = c < later[0]
    fit = fit_sweep(c[known], n[known], d[known], loss[known], targets=later)
    for target in fit.targets:
        there = np.flatnonzero(c == target.budget_flops)
        there = there[np.argsort(n[there])]
        per_token = np.interp(target.n_opt, n[there], (c / d)[there])
        assert target.d_opt * per_token == pytest.approx(target.budget_flops, rel=0.025)
