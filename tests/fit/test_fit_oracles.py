"""The same numbers from other solvers: numpy.polyfit, scipy.stats, and the spread of simulated sweeps."""

import math

import numpy as np
import pytest
from scipy import stats

from isoflop.fit import fit_sweep
from tests.fit.known_sweeps import known_sweep, parabola_fit, published, stack, valley, with_noise


def _half_width(interval):
    """Of an interval of sizes, in decades."""
    return np.ptp(np.log10(interval)) / 2


NAMES = ["chinchilla_isoflop", "llama3", "marin_comma", "porian_tuned"]


@pytest.mark.parametrize("name", NAMES)
def test_parabolas_agree_with_polyfit(name):
    budgets, n_params, n_tokens, loss = published(name)
    for profile in fit_sweep(budgets, n_params, n_tokens, loss).profiles:
        rows = budgets == profile.budget_flops
        for column, mean, coefficients in (
            (n_params, profile.x_mean, profile.coefficients),
            (n_tokens, profile.d_mean, profile.d_coefficients),
        ):
            x = np.log10(column[rows]) - mean
            assert np.polyfit(x, loss[rows], 2)[::-1] == pytest.approx(coefficients, rel=1e-9, abs=1e-12)
        residuals = loss[rows] - np.polyval(profile.coefficients[::-1], np.log10(n_params[rows]) - profile.x_mean)
        assert profile.rmse == pytest.approx(math.sqrt(residuals @ residuals / (rows.sum() - 3)), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_power_laws_agree_with_scipy_linregress(name):
    fit = fit_sweep(*published(name))
    inside = [profile for profile in fit.profiles if profile.n_opt is not None]
    log_c = np.log10([profile.budget_flops for profile in inside])
    n_line = stats.linregress(log_c, np.log10([profile.n_opt for profile in inside]))
    d_line = stats.linregress(log_c, np.log10([profile.d_opt for profile in inside]))
    assert (fit.frontier.exponent_a, fit.frontier.exponent_b) == pytest.approx((n_line.slope, d_line.slope), abs=1e-10)
    assert np.log10([fit.frontier.coef_n, fit.frontier.coef_d]) == pytest.approx(
        [n_line.intercept, d_line.intercept], abs=1e-10
    )


def _delta_method_by_matrices(budgets, sizes, loss, level):
    """Half-widths in decades of the floors, from the covariance of polynomial coefficients and a gradient."""
    groups = [budgets == budget for budget in np.unique(budgets)]
    designs = [np.vander(np.log10(sizes[rows]) - 9, 3, increasing=True) for rows in groups]
    coefficients = [np.linalg.lstsq(x, loss[rows], rcond=None)[0] for x, rows in zip(designs, groups, strict=True)]
    fitted = zip(designs, coefficients, groups, strict=True)
    sse = sum(np.sum((loss[rows] - x @ c) ** 2) for x, c, rows in fitted)
    freedom = len(loss) - 3 * len(groups)
    gradients = [np.array([0, -1 / (2 * c2), c1 / (2 * c2**2)]) for _, c1, c2 in coefficients]
    variances = [g @ np.linalg.inv(x.T @ x) @ g for g, x in zip(gradients, designs, strict=True)]
    return stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(sse / freedom * np.array(variances))


@pytest.mark.parametrize("name", ["llama3", "marin_comma", "porian_tuned"])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_agree_with_the_delta_method_in_matrix_form(name, level):
    budgets, n_params, n_tokens, loss = published(name)
    fit = fit_sweep(budgets, n_params, n_tokens, loss, level=level)
    lever = np.log10(np.unique(budgets)) - fit.frontier.log_c_mean
    for intervals, slope_interval, sizes in (
        ([profile.n_opt_ci for profile in fit.profiles], fit.frontier.exponent_a_ci, n_params),
        ([profile.d_opt_ci for profile in fit.profiles], fit.frontier.exponent_b_ci, n_tokens),
    ):
        expected = _delta_method_by_matrices(budgets, sizes, loss, level)
        assert [_half_width(interval) for interval in intervals] == pytest.approx(expected, rel=1e-7)
        slope_half_width = np.linalg.norm(expected * lever) / (lever @ lever)
        assert np.ptp(slope_interval) / 2 == pytest.approx(slope_half_width, rel=1e-7)


def test_the_delta_method_agrees_with_the_spread_of_simulated_sweeps():
    generator = np.random.default_rng(4)
    columns = known_sweep()
    frontiers = [parabola_fit(with_noise(columns, generator, 0.002))[1] for _ in range(600)]
    for log_law, covariances in (
        ([(np.log10(f.coef_n), f.exponent_a) for f in frontiers], [f.log_n_covariance for f in frontiers]),
        ([(np.log10(f.coef_d), f.exponent_b) for f in frontiers], [f.log_d_covariance for f in frontiers]),
    ):
        coefficient, slope = np.array(log_law).T
        simulated = np.cov(coefficient + slope * frontiers[0].log_c_mean, slope)
        claimed = np.mean(covariances, axis=0)
        # A standard deviation from 600 sweeps is good to 3 %.
        assert np.sqrt(np.diag(claimed)) == pytest.approx(np.sqrt(np.diag(simulated)), rel=0.1)
        assert claimed[0, 1] == pytest.approx(simulated[0, 1], abs=0.15 * np.sqrt(np.prod(np.diag(simulated))))


def test_intervals_of_exponents_and_target_follow_from_the_covariances():
    columns = with_noise(known_sweep(), np.random.default_rng(5), 0.01)
    fit = fit_sweep(*columns, level=0.8, targets=[1e21])
    (target,), frontier = fit.targets, fit.frontier
    assert frontier.degrees_of_freedom == 3 * (7 - 3)
    quantile = stats.t.ppf(0.9, 12)
    n_covariance, d_covariance = np.array(frontier.log_n_covariance), np.array(frontier.log_d_covariance)
    assert np.ptp(frontier.exponent_a_ci) / 2 == pytest.approx(quantile * math.sqrt(n_covariance[1, 1]), rel=1e-9)
    assert np.ptp(frontier.exponent_b_ci) / 2 == pytest.approx(quantile * math.sqrt(d_covariance[1, 1]), rel=1e-9)
    gradient = np.array([1, 21 - frontier.log_c_mean])
    n_half, d_half = (quantile * math.sqrt(gradient @ each @ gradient) for each in (n_covariance, d_covariance))
    model = stats.norm.ppf(0.9) * math.hypot(0.04, 0.08 * 1)
    assert _half_width(target.n_opt_ci_statistical) == pytest.approx(n_half, rel=1e-9)
    assert _half_width(target.n_opt_ci) == pytest.approx(math.hypot(n_half, model), rel=1e-9)
    assert _half_width(target.d_opt_ci) == pytest.approx(math.hypot(d_half, model), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_valley_is_flat_when_the_t_statistic_of_its_curvature_says_so(seed):
    curvatures = np.geomspace(0.04, 0.4, 8)
    valleys = [valley(10.0**k, curvature=curvature) for k, curvature in enumerate(curvatures, start=14)]
    columns = with_noise(stack(*valleys), np.random.default_rng(seed), 0.02)
    fit = fit_sweep(*columns, level=0.999)
    inside = [profile for profile in fit.profiles if profile.n_opt is not None]
    freedom = sum(profile.n_points - 3 for profile in inside)
    variance = sum(profile.rmse**2 * (profile.n_points - 3) for profile in inside) / freedom
    flat = []
    for profile in inside:
        design = np.vander(np.log10(columns[1][columns[0] == profile.budget_flops]) - profile.x_mean, 3)
        error = math.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])
        if profile.curvature <= stats.t.ppf(0.9995, freedom) * error:
            flat.append(profile.budget_flops)
    assert 0 < len(flat) < len(inside)
    assert [finding.values["budgets"] for finding in fit.findings if finding.code == "flat_valley"] == [flat]


@pytest.mark.parametrize(
    ("target", "decades"), [(1e17, 1.0), (1e18, 0.0), (3e19, 0.0), (1e20, 0.0), (1e21, 1.0)], ids=str
)
def test_extrapolation_is_counted_from_the_nearest_fitted_budget(target, decades):
    (answer,) = fit_sweep(*known_sweep(), targets=[target]).targets
    assert answer.extrapolation_decades == pytest.approx(decades, abs=1e-12)
