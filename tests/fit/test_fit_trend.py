"""Noise that changes along the budgets: seen, allowed for, and not mistaken for bad runs."""

import math

import numpy as np
import pytest
from calibration import Job
from surfaces import CELLS, SPOILS, Setting

from isoflop.fit import fit_sweep
from isoflop.fit.estimators.choice import choose
from isoflop.fit.estimators.joint import fit_joint
from isoflop.fit.estimators.outliers import find_outliers, rows_on_valley
from isoflop.fit.estimators.surface import solve_surface
from isoflop.fit.noise import TREND_P_VALUE, read_trend, rough_trend
from isoflop.fit.rows import sort_rows
from tests.fit.known_sweeps import published, surface_sweep, with_noise

LOG_C = np.repeat(np.linspace(19, 21, 5), 7)
FOURFOLD = Setting(heteroscedastic=True)


def _residual(seed, per_decade=1.0):
    sd = per_decade ** (LOG_C - LOG_C.mean())
    return np.random.default_rng(seed).normal(0, 1e-3 * sd)


@pytest.mark.parametrize("per_decade", [0.3, 3.0])
def test_a_trend_is_seen_and_its_size_is_about_right(per_decade):
    found = [read_trend(_residual(seed, per_decade), LOG_C, len(LOG_C)) for seed in range(60)]
    assert np.mean([one.slope != 0 for one in found]) > 0.95
    # shrunk by its prior, ln variance per decade
    assert 0.7 < np.median([one.slope for one in found]) / (2 * math.log(per_decade)) < 1


def test_equal_noise_has_a_trend_no_more_often_than_said():
    found = [read_trend(_residual(seed), LOG_C, len(LOG_C)) for seed in range(400)]
    share = np.mean([one.slope != 0 for one in found])
    assert share < TREND_P_VALUE + 3 * math.sqrt(TREND_P_VALUE / 400)
    assert share > 0.02


def test_the_slope_is_the_most_likely_one():
    trend = read_trend(_residual(1, 3.0), LOG_C, 24.0)
    z, squares = LOG_C - LOG_C.mean(), _residual(1, 3.0) ** 2

    def unlikely(slope):
        return 12.0 * math.log(np.mean(squares * np.exp(-slope * z))) + slope**2 / 2

    assert all(unlikely(trend.slope) < unlikely(trend.slope + off) for off in (-1e-3, 1e-3))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("off", "counted"), [(2.4, 2.4), (2.6, 2.5), (100, 2.5)], ids=str)
def test_residuals_count_no_farther_than_two_and_a_half_robust_standard_deviations(off, counted, sign):
    residual = _residual(1, 3.0)
    # of a normal law, half lies within 0.6745 standard deviations; another bad run leaves the median where it is
    robust_sd = np.median(np.abs(residual)) / 0.67449
    residual = residual.clip(-2.3 * robust_sd, 2.3 * robust_sd)
    worst = np.abs(residual).argmax()
    given, expected = residual.copy(), residual.copy()
    given[worst], expected[worst] = sign * off * robust_sd, sign * counted * robust_sd
    assert rough_trend(given, LOG_C, 24.0).slope == pytest.approx(read_trend(expected, LOG_C, 24.0).slope, rel=1e-4)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_units_and_order_do_not_matter(unit):
    order = np.random.default_rng(0).permutation(len(LOG_C))
    trend = read_trend(_residual(2, 3.0), LOG_C, 24.0)
    other = read_trend(unit * _residual(2, 3.0)[order], LOG_C[order] + 3, 24.0)
    assert other.slope == pytest.approx(trend.slope)
    assert other.p_value == pytest.approx(trend.p_value)


def test_where_nothing_can_be_said_noise_is_equal():
    for residual, log_c in ((np.zeros(35), LOG_C), (_residual(1), np.full(35, 20.0)), (np.full(35, np.inf), LOG_C)):
        assert read_trend(residual, log_c, 24.0).variance(log_c) == pytest.approx(np.ones(35))


@pytest.mark.parametrize("end", [0, -1], ids=["smallest", "largest"])
def test_bad_runs_at_one_end_are_no_trend(end):
    budgets = np.geomspace(1e18, 1e20, 5)
    exact, found = surface_sweep(budgets), 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        loss = exact[3] * np.exp(generator.normal(0, 0.003, 35))
        bad = generator.choice(np.flatnonzero(exact[0] == budgets[end]), 2, replace=False)
        loss[bad] += 0.08
        rows = sort_rows(*exact[:3], loss)
        keep, _ = find_outliers(rows, solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss))
        found += len({*rows.index[~keep].tolist()} & {*bad.tolist()})
    assert found >= 34


@pytest.mark.slow
def test_where_errors_are_stated_no_trend_is_looked_for():
    exact = surface_sweep(np.geomspace(1e18, 1e20, 5))
    se = 1e-3 * (exact[0] / 1e18) ** 0.5
    for seed in range(20):
        loss = exact[3] + np.random.default_rng(seed).normal(0, se)
        stated, unstated = (choose(sort_rows(*exact[:3], loss, loss_se=known)).noise for known in (se, None))
        assert stated.trend.slope == 0
        assert stated.weights[0] > stated.weights[-1]
    assert unstated.trend.slope > 0


def test_noisy_runs_with_stated_errors_are_not_taken_for_bad_ones():
    exact, lost = surface_sweep(np.geomspace(1e18, 1e20, 5)), 0
    se = 5e-4 * (exact[0] / 1e18) ** 0.5
    for seed in range(20):
        loss = exact[3] + np.random.default_rng(seed).normal(0, se)
        lost += len(choose(sort_rows(*exact[:3], loss, loss_se=se)).outliers) > 0
    assert lost <= 5


def test_rows_of_the_noisier_budgets_weigh_less():
    columns = surface_sweep(np.geomspace(1e18, 1e20, 5))
    sd = 1e-3 * (columns[0] / 1e19) ** 0.4
    choice = choose(sort_rows(*columns[:3], columns[3] * np.exp(np.random.default_rng(1).normal(0, sd))))
    weights = [choice.noise.weights[part].mean() for part in choice.rows.slices]
    assert weights == sorted(weights, reverse=True)
    assert 6.3 / 3 < math.sqrt(weights[0] / weights[-1]) < 6.3 * 1.5


@pytest.mark.slow(5)
def test_fewer_runs_of_noisy_budgets_are_taken_for_bad_ones_than_where_all_count_alike():
    lost = np.zeros(2)
    for index in range(0, 54, 3):
        for number in range(4):
            rows, _ = CELLS[index].sweep(Job(index, 1, 1, FOURFOLD).generator(0, number), FOURFOLD)
            huber = solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss)
            lost += [(~look(rows, huber)[0]).any() for look in (find_outliers, rows_on_valley)]
    assert lost[0] < 0.8 * lost[1]


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.name)
def test_bad_runs_are_found_whatever_the_noise(spoil):
    found = n_bad = 0
    for index in range(0, 54, 3):
        generator = Job(index, 1, 1, FOURFOLD).generator(1, index)
        rows, bad = CELLS[index].sweep(generator, FOURFOLD, spoil)
        keep, _ = find_outliers(rows, solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss))
        found, n_bad = found + int((~keep)[bad].sum()), n_bad + len(bad)
    assert found >= 0.85 * n_bad


def test_without_a_trend_rows_are_judged_as_if_equally_noisy():
    rows = sort_rows(*with_noise(surface_sweep(np.geomspace(1e18, 1e20, 5)), np.random.default_rng(1), 0.002))
    huber = solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss)
    assert (find_outliers(rows, huber)[0] == rows_on_valley(rows, huber)[0]).all()


def test_a_published_sweep_whose_noise_changes_keeps_more_of_its_runs():
    # within 0.6 decades three runs at one of the smallest budgets of twelve look bad where all weigh alike
    fit = choose(sort_rows(*published("porian_short_warmup")), window=0.6)
    assert fit.noise.weights is not None
    assert len(fit.outliers) < 3


def test_forecasts_weigh_rows_as_the_whole_sweep_does():
    budgets = np.geomspace(1e18, 1e20, 5)
    columns = surface_sweep(budgets)
    sd = 2e-3 * (columns[0] / 1e19) ** -0.4
    columns = (*columns[:3], columns[3] * np.exp(np.random.default_rng(4).normal(0, sd)))
    choice = choose(sort_rows(*columns))
    part = choice.rows.budget_flops <= budgets[2]
    rows, weights = choice.rows.take(part), choice.noise.take(part).weights
    assert weights.mean() == pytest.approx(1)
    forecast = fit_sweep(*columns).scorecard[0]
    assert (forecast.n_fitted, forecast.budget_flops) == (3, budgets[3])
    weighed, alike = (fit_joint(rows, weights=w).on_params.at(np.log10(budgets[3]))[0] for w in (weights, None))
    assert np.log10(forecast.n_opt) == pytest.approx(weighed, abs=1e-6)
    assert abs(weighed - alike) > 1e-4
