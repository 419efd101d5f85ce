"""Numbers read off a fit, each recomputed from what they are made of: scipy's quantiles, definitions, simulation."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import norm, t

from isoflop.fit import fit_as_json, fit_sweep
from isoflop.fit.compare import common_budget, compare_fits
from isoflop.fit.estimators.loss_floors import LossFloors
from isoflop.fit.estimators.loss_law import fit_floor_law
from isoflop.fit.lines import Line, Mixture
from isoflop.fit.reading.scorecard import credible_decades
from tests.fit.known_sweeps import CHINCHILLA, SKEWED, stack, surface_sweep, with_noise

BUDGETS = tuple(np.geomspace(1e18, 1e20, 6).tolist())
TARGETS = (3e18, 1e21)


@pytest.fixture(scope="module")
def fit():
    return fit_sweep(*with_noise(surface_sweep(BUDGETS), np.random.default_rng(1), 2e-3), targets=TARGETS)


@pytest.fixture(scope="module")
def other():
    budgets = np.geomspace(1e19, 1e21, 5)
    return fit_sweep(*with_noise(surface_sweep(budgets, law=SKEWED), np.random.default_rng(2), 3e-3), level=0.8)


@pytest.fixture(scope="module")
def bent():
    """A sweep whose floors no surface explains, so that the valley counts."""
    budget, n_params, _, loss = surface_sweep(BUDGETS)
    n_params = n_params * 10 ** (0.1 * (np.log10(budget) - 19) ** 2)
    noisy = loss + 0.05 * (np.log10(budget) - 19) ** 2 + np.random.default_rng(3).normal(0, 1e-3, len(loss))
    return fit_sweep(budget, n_params, budget / (6 * n_params), noisy, targets=TARGETS)


def test_intervals_of_the_recommended_exponents_are_students_about_the_lines(fit):
    found = fit.estimators.recommended
    quantile = t.ppf((1 + fit.level) / 2, found.degrees_of_freedom)
    for line, value, interval in (
        (found.n_line, found.estimate.exponent_a, found.estimate.exponent_a_ci),
        (found.d_line, found.estimate.exponent_b, found.estimate.exponent_b_ci),
    ):
        half = quantile * math.sqrt(line.covariance[1][1])
        assert value == pytest.approx(line.slope, rel=1e-12)
        assert interval == pytest.approx((value - half, value + half), rel=1e-9)


def test_intervals_of_the_parabola_are_students_about_its_frontier(fit):
    frontier, estimate = fit.frontier, fit.estimators.parabola
    quantile = t.ppf((1 + fit.level) / 2, frontier.degrees_of_freedom)
    assert frontier.degrees_of_freedom == len(BUDGETS) * (7 - 3)
    for covariance, value, interval in (
        (frontier.log_n_covariance, estimate.exponent_a, estimate.exponent_a_ci),
        (frontier.log_d_covariance, estimate.exponent_b, estimate.exponent_b_ci),
    ):
        half = quantile * math.sqrt(covariance[1][1])
        assert interval == pytest.approx((value - half, value + half), rel=1e-9)


def test_the_frontier_and_its_estimate_state_the_same_intervals(fit):
    assert fit.frontier.exponent_a_ci == pytest.approx(fit.estimators.parabola.exponent_a_ci, rel=1e-12)
    assert fit.frontier.exponent_b_ci == pytest.approx(fit.estimators.parabola.exponent_b_ci, rel=1e-12)


def test_a_profile_has_the_parabolas_that_numpy_fits(fit):
    columns = with_noise(surface_sweep(BUDGETS), np.random.default_rng(1), 2e-3)
    for profile in fit.profiles:
        n_params, n_tokens, loss = (column[columns[0] == profile.budget_flops] for column in columns[1:])
        for sizes, coefficients, mean in (
            (n_params, profile.coefficients, profile.x_mean),
            (n_tokens, profile.d_coefficients, profile.d_mean),
        ):
            x = np.log10(sizes)
            assert mean == pytest.approx(x.mean(), rel=1e-12)
            assert coefficients == pytest.approx(np.polyfit(x - mean, loss, 2)[::-1], rel=1e-6)
        c0, c1, c2 = profile.coefficients
        assert profile.curvature == c2
        assert math.log10(profile.n_opt) == pytest.approx(profile.x_mean - c1 / (2 * c2), rel=1e-9)
        assert profile.loss_opt == pytest.approx(c0 - c1**2 / (4 * c2), rel=1e-9)
        left = loss - np.polynomial.polynomial.polyval(np.log10(n_params) - profile.x_mean, (c0, c1, c2))
        assert profile.rmse == pytest.approx(math.sqrt((left**2).sum() / (len(left) - 3)), rel=1e-6)


def test_budgets_whose_floor_is_outside_their_sizes_say_nothing_of_the_noise():
    inside = with_noise(surface_sweep(BUDGETS[:4]), np.random.default_rng(6), 1e-3)
    outside = surface_sweep(BUDGETS[4:5], centre=1.2)
    fit = fit_sweep(*stack(inside, with_noise(outside, np.random.default_rng(7), 1e-3)))
    assert fit.profiles[-1].n_opt is None
    assert fit.frontier.degrees_of_freedom == 4 * (7 - 3)
    rmse = math.sqrt(np.mean([profile.rmse**2 for profile in fit.profiles[:-1]]))
    assert fit.frontier.n_profiles == 4
    alone = fit_sweep(*inside)
    assert math.sqrt(np.mean([profile.rmse**2 for profile in alone.profiles])) == pytest.approx(rmse)
    assert alone.frontier.exponent_a_ci == pytest.approx(fit.frontier.exponent_a_ci, rel=1e-9)


def test_a_parabolas_bias_is_what_it_misses_on_losses_without_noise():
    fit = fit_sweep(*with_noise(surface_sweep(BUDGETS, law=SKEWED, half_width=1.2), np.random.default_rng(8), 1e-6))
    [finding] = [finding for finding in fit.findings if finding.code == "skewed_valley"]
    log_c = math.log10(BUDGETS[-1])
    missed = fit.frontier.n_line.at(log_c)[0] - SKEWED.optimum(log_c)[0]
    assert abs(missed) > 0.05
    assert finding.values["bias_log10_n_opt_at_largest"] == pytest.approx(missed, rel=0.02)
    assert finding.values["bias_exponent_a"] == pytest.approx(fit.frontier.exponent_a - SKEWED.exponent_a, abs=2e-3)
    assert f"{abs(10**missed - 1):.0%} too {'high' if missed > 0 else 'low'}" in finding.message


def test_the_loss_is_read_from_the_floors_whether_or_not_the_surface_is_rejected(fit, bent):
    assert fit.estimators.joint.valley_weight < 0.5 < bent.estimators.joint.valley_weight
    assert fit.estimators.recommended.loss_law.source == bent.estimators.recommended.loss_law.source == "floors"


def test_without_three_floors_the_loss_is_read_from_the_surface():
    found = fit_sweep(*with_noise(surface_sweep(BUDGETS[-2:]), np.random.default_rng(1), 1e-3), targets=[1e21])
    assert found.estimators.recommended.estimator == "joint"
    assert found.estimators.recommended.loss_law.source == "surface"
    assert found.targets[0].loss is not None


@pytest.mark.parametrize(("window", "n_kept"), [(0.35, 5), (0.65, 7), (1.0, 11), (1.45, 15)])
def test_a_window_keeps_the_sizes_within_it_or_the_five_nearest(window, n_kept):
    # 15 sizes a fifth of a decade apart, the best in the middle: 3, 7, 11 and all lie within
    columns = surface_sweep(BUDGETS, half_width=1.4, n_sizes=15)
    fit = fit_sweep(*with_noise(columns, np.random.default_rng(9), 1e-6), window=window)
    assert fit.estimators.recommended.estimate.n_used == len(BUDGETS) * n_kept


def test_the_errors_of_the_frontier_are_those_of_its_floors_propagated(fit):
    """Slope and middle are weighted sums of independent floors: their variances by the floors' own intervals."""
    estimate, frontier = fit.estimators.parabola, fit.frontier
    quantile = t.ppf((1 + fit.level) / 2, frontier.degrees_of_freedom)
    sd = np.array([math.log10(high / low) / 2 / quantile for low, high in estimate.n_opt_ci])
    lever = np.log10(BUDGETS) - np.log10(BUDGETS).mean()
    weights = np.stack([np.full(len(lever), 1 / len(lever)), lever / (lever**2).sum()])
    assert np.array(frontier.log_n_covariance) == pytest.approx(weights @ np.diag(sd**2) @ weights.T, rel=1e-6)


def test_the_lines_of_the_frontier_are_its_power_laws(fit):
    for budget in TARGETS:
        n_opt = fit.frontier.coef_n * budget**fit.frontier.exponent_a
        d_opt = fit.frontier.coef_d * budget**fit.frontier.exponent_b
        assert 10 ** fit.frontier.n_line.at(math.log10(budget))[0] == pytest.approx(n_opt, rel=1e-9)
        assert 10 ** fit.frontier.d_line.at(math.log10(budget))[0] == pytest.approx(d_opt, rel=1e-9)


def test_the_documents_coefficients_give_the_optima_of_every_target(fit):
    found = fit_as_json(fit)["estimators"]["recommended"]
    for target in fit.targets:
        assert found["coef_n"] * target.budget_flops ** found["exponent_a"] == pytest.approx(target.n_opt, rel=1e-6)
        assert found["coef_d"] * target.budget_flops ** found["exponent_b"] == pytest.approx(target.d_opt, rel=1e-6)


def test_the_model_error_grows_with_the_distance_as_documented(fit):
    inside, beyond = fit.targets
    z = norm.ppf((1 + fit.level) / 2)
    assert inside.n_opt_model_error == pytest.approx(0.04 * z)
    assert beyond.extrapolation_decades == pytest.approx(1.0)
    assert beyond.n_opt_model_error == pytest.approx(math.hypot(0.04, 0.08) * z)
    for target in fit.targets:
        statistical, total = (
            math.log10(high / low) / 2 for low, high in (target.n_opt_ci_statistical, target.n_opt_ci)
        )
        assert total == pytest.approx(math.hypot(statistical, target.n_opt_model_error), rel=1e-6)


@pytest.mark.parametrize("name", ["fit", "bent"])
def test_what_the_optimum_leaves_of_a_budget_are_its_tokens(name, request):
    found = request.getfixturevalue(name)
    if name == "bent":
        assert found.estimators.joint.valley_weight > 0.5
    for target in found.targets:
        assert 6 * target.n_opt * target.d_opt == pytest.approx(target.budget_flops, rel=1e-6)
        assert target.tokens_per_param == pytest.approx(target.d_opt / target.n_opt, rel=1e-9)
        assert np.log10(target.d_opt_ci) == pytest.approx(
            math.log10(target.budget_flops / 6) - np.log10(target.n_opt_ci)[::-1], abs=1e-6
        )


def test_the_variance_of_a_line_is_that_of_lines_drawn_with_its_errors():
    covariance = ((4e-4, 1.5e-4), (1.5e-4, 1e-4))
    line = Line(8.0, 0.5, covariance, 19.0)
    middles, slopes = np.random.default_rng(4).multivariate_normal((8.0, 0.5), covariance, 200_000).T
    for log_c in (17.0, 19.0, 22.0):
        assert line.at(log_c) == pytest.approx(
            ((middles + slopes * (log_c - 19)).mean(), (middles + slopes * (log_c - 19)).var()), rel=0.01
        )


def test_a_mixture_has_the_mean_and_the_variance_of_draws_from_both():
    surface, valley = Line(8.0, 0.45, ((1e-4, 0), (0, 1e-4)), 19.0), Line(8.1, 0.55, ((9e-4, 0), (0, 4e-4)), 19.0)
    mixture, generator = Mixture(surface, valley, 0.3), np.random.default_rng(5)
    from_valley = generator.random(400_000) < 0.3
    for log_c in (18.0, 21.0):
        (m, v), (other_m, other_v) = surface.at(log_c), valley.at(log_c)
        draws = np.where(
            from_valley, generator.normal(other_m, other_v**0.5, 400_000), generator.normal(m, v**0.5, 400_000)
        )
        value, variance = mixture.at(log_c)
        assert value == pytest.approx(draws.mean(), abs=1e-3)
        assert variance == pytest.approx(draws.var(), rel=0.02)
        assert mixture.as_line(19.5).at(log_c) == pytest.approx((value, variance), rel=1e-9)


@pytest.mark.parametrize("e", [0.2, 0.9])
def test_a_small_constant_of_the_loss_is_found(e):
    log_c = np.linspace(18, 21, 6)
    alike = np.ones(6)
    loss = e + 0.8 * 10 ** (-0.2 * (log_c - 19.5))
    found = fit_floor_law(LossFloors(10**log_c, loss, alike, 0 * alike, alike))
    assert (found.e, found.depth, found.gamma) == pytest.approx((e, 0.8, 0.2), rel=1e-4)


@pytest.mark.parametrize(
    ("held", "expected"),
    [("HHHH", 4), ("MHHH", 0), ("HHHM", 3), ("HHHHM", 5), ("MHHHH", 5), ("MHHHHM", 5), ("HHHHMM" + 9 * "H", 15)],
)
def test_ten_per_cent_of_forecasts_may_miss_to_the_nearest_whole_one(fit, held, expected):
    """At 0.9 one of five may miss (half of one), two of fifteen; the distance is that of the last one counted."""
    first = fit.scorecard[0]
    card = [dataclasses.replace(first, decades=1.0 + i, held=one == "H") for i, one in enumerate(held)]
    assert credible_decades(card[::-1], 0.9) == float(expected)


def test_a_difference_of_fits_has_welchs_interval(fit, other):
    compared = compare_fits(fit, other, ())
    mine, theirs = fit.estimators.recommended, other.estimators.recommended
    for value, interval, line, subtracted in (
        (compared.exponent_a, compared.exponent_a_ci, mine.n_line, theirs.n_line),
        (compared.exponent_b, compared.exponent_b_ci, mine.d_line, theirs.d_line),
    ):
        v, w = line.covariance[1][1], subtracted.covariance[1][1]
        freedom = (v + w) ** 2 / (v**2 / mine.degrees_of_freedom + w**2 / theirs.degrees_of_freedom)
        half = t.ppf((1 + fit.level) / 2, freedom) * math.sqrt(v + w)
        assert value == pytest.approx(line.slope - subtracted.slope, rel=1e-9)
        assert interval == pytest.approx((value - half, value + half), rel=1e-9)


def test_a_ratio_of_optima_has_the_model_errors_of_both(fit, other):
    [ratio] = compare_fits(fit, other, (1e21,)).ratios
    [far] = (target for target in fit.targets if target.budget_flops == 1e21)
    near = other.estimators.recommended.n_line
    assert ratio.ratio == pytest.approx(far.n_opt / 10 ** near.at(21.0)[0], rel=1e-9)
    statistical, total = (math.log10(high / low) / 2 for low, high in (ratio.ratio_ci_statistical, ratio.ratio_ci))
    # the first is read one decade beyond its budgets, the other at the edge of its own; both at the level of the first
    model = norm.ppf((1 + fit.level) / 2) * math.sqrt(0.04**2 + 0.08**2 + 0.04**2)
    assert total == pytest.approx(math.hypot(statistical, model), rel=1e-6)
    assert math.log10(ratio.ratio_ci[1] * ratio.ratio_ci[0]) / 2 == pytest.approx(math.log10(ratio.ratio), abs=1e-9)


def test_fits_are_compared_in_the_middle_of_the_budgets_that_both_cover(fit, other):
    assert common_budget(fit, other) == pytest.approx(math.sqrt(1e19 * 1e20), rel=1e-9)
    apart = fit_sweep(*surface_sweep((1e22, 3e22, 1e23)))
    assert common_budget(fit, apart) == pytest.approx(math.sqrt(1e20 * 1e22), rel=1e-9)


def test_a_fit_compared_with_itself_differs_in_nothing(fit):
    compared = compare_fits(fit, fit, (1e19,))
    assert (compared.exponent_a, compared.exponent_b, compared.ratios[0].ratio) == (0.0, 0.0, 1.0)


def test_exact_cubics_of_five_sizes_have_the_floors_they_were_made_with():
    # L = 2 + 0.3 x^2 + 0.1 x^3 about a floor at 0.4 log10 C + 1: one row more than a cubic has constants
    offsets, parts = np.array([-0.5, -0.2, 0.05, 0.3, 0.6]), []
    for budget in (1e18, 1e19, 1e20):
        n_params = 10 ** (0.4 * np.log10(budget) + 1 + offsets)
        noise = 1e-7 * np.array([1, -1, 1, -1, 1])
        parts.append(
            (np.full(5, budget), n_params, budget / (6 * n_params), 2 + 0.3 * offsets**2 + 0.1 * offsets**3 + noise)
        )
    found = fit_sweep(*map(np.concatenate, zip(*parts, strict=True))).estimators.cubic
    assert found.n_opt == pytest.approx([10 ** (0.4 * log_c + 1) for log_c in (18, 19, 20)], rel=1e-4)
    assert found.exponent_a == pytest.approx(0.4, abs=1e-4)


def test_the_exponent_of_a_published_surface_is_recovered_by_every_estimator_of_the_whole(fit):
    for estimate in (
        fit.estimators.surface.estimate,
        fit.estimators.joint.estimate,
        fit.estimators.recommended.estimate,
    ):
        low, high = estimate.exponent_a_ci
        assert low - 0.02 < CHINCHILLA.exponent_a < high + 0.02
