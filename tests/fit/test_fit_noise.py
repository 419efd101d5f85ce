"""What rows say about their noise, and what scattered floors, stated errors and shared trunks do to an interval."""

import dataclasses
import math

import numpy as np
import pytest

from isoflop.fit.estimators.choice import choose
from isoflop.fit.estimators.surface import HUBER_DELTA, LEAST_SQUARES, robust_covariance, solve_surface, surface_lines
from isoflop.fit.intervals import student_quantile
from isoflop.fit.noise import read_noise, relative_variance
from isoflop.fit.reading.scorecard import credible_decades
from isoflop.fit.rows import sort_rows
from isoflop.fit.sweep import fit_sweep
from tests.fit.known_sweeps import CHINCHILLA, stack, surface_sweep

BUDGETS = tuple(np.geomspace(1e18, 1e21, 8).tolist())
TRUE_A = CHINCHILLA.exponent_a


def scattered(generator, sd, noise=0.002):
    """A sweep whose valleys lie `sd` decades off the ridge, budget by budget."""
    budget, n_params, _, loss = surface_sweep(BUDGETS)
    shift = np.repeat(generator.normal(0, sd, len(BUDGETS)), len(budget) // len(BUDGETS))
    n_params = n_params * 10**shift
    return budget, n_params, budget / (6 * n_params), loss * np.exp(generator.normal(0, noise, len(loss)))


def holds(choice, level=0.9):
    value, variance = choice.on_params.exponent
    return abs(value - TRUE_A) <= student_quantile(level, choice.degrees_of_freedom) * math.sqrt(variance)


@pytest.mark.slow(4)
@pytest.mark.parametrize("sd", [0.0, 0.03, 0.08])
def test_intervals_hold_the_exponent_of_floors_that_scatter(sd):
    # nominal 90 %; seven of ten would be a miss of six standard errors
    choices = [choose(sort_rows(*scattered(np.random.default_rng([3, i]), sd))) for i in range(60)]
    assert np.mean([holds(choice) for choice in choices]) >= 0.75


def test_scatter_costs_degrees_of_freedom_and_widens():
    plain, bent = (choose(sort_rows(*scattered(np.random.default_rng(4), sd))) for sd in (0.0, 0.08))
    assert bent.degrees_of_freedom < 2 * len(BUDGETS) < plain.degrees_of_freedom
    assert bent.on_params.exponent[1] > 4 * plain.on_params.exponent[1]


@pytest.mark.slow(4)
@pytest.mark.parametrize("delta", [HUBER_DELTA, LEAST_SQUARES, 0.0], ids=["huber", "squares", "absolute"])
def test_intervals_of_every_surface_hold_its_exponent(delta):
    held = []
    for i in range(80):
        budget, n_params, n_tokens, loss = surface_sweep(BUDGETS, half_width=1.0)
        loss = loss * np.exp(np.random.default_rng([5, i]).normal(0, 0.003, len(loss)))
        log_n, log_d = np.log(n_params), np.log(n_tokens)
        solution = solve_surface(log_n, log_d, loss, delta=delta)
        rows = sort_rows(budget, n_params, n_tokens, loss)
        covariance = robust_covariance(solution, log_n, log_d, loss)
        line, _ = surface_lines(solution, choose(rows).joint.cost, covariance, 19.5)
        value, variance = line.exponent
        held.append(abs(value - TRUE_A) <= student_quantile(0.9, len(loss) - 5) * math.sqrt(variance))
    assert np.mean(held) >= 0.75


def test_stated_errors_weigh_rows_as_their_variances_do():
    budget, n_params, n_tokens, loss = surface_sweep((1e18, 1e20), n_sizes=8)
    se = np.where(np.arange(16) % 2, 0.01, 0.002)
    rows = sort_rows(budget, n_params, n_tokens, loss, loss_se=se)
    noise = read_noise(rows, rows.loss_se * np.resize([1.0, 1.0, -1.0, -1.0], 16), 16)
    weights = noise.weights * rows.loss_se**2
    assert weights / weights.mean() == pytest.approx(np.ones(16))


@pytest.mark.parametrize(("smallest", "alike"), [(0.901, True), (0.899, False), (0.0, True)], ids=str)
def test_stated_errors_within_a_tenth_of_each_other_weigh_alike(smallest, alike):
    stated = 0.002 * np.array([smallest, 1.0, 0.95, 1.0])
    assert (np.ptp(relative_variance(stated, 1e-5)) == 0) == alike


@pytest.mark.parametrize("pooled", [2e-5, 1.1e-5, 9e-6, 1e-8], ids=str)
def test_what_stated_errors_leave_of_the_residual_variance_is_common_to_all_rows(pooled):
    stated = np.array([0.001, 0.002, 0.003, 0.0, 0.005])
    known = np.array([1e-6, 4e-6, 9e-6, 39e-6 / 4, 25e-6])  # the row that states none has the mean of the others
    common = pooled - known.mean()
    # stated errors that explain more than there is are shared, and say only how rows compare
    expected = (known + common) / pooled if common > 0 else known / known.mean()
    assert relative_variance(stated, pooled) == pytest.approx(expected)
    assert relative_variance(stated, pooled).mean() == pytest.approx(1)


@pytest.mark.parametrize("pooled", [0.0, -1.0])
def test_rows_without_residuals_or_without_stated_errors_weigh_alike(pooled):
    assert relative_variance(np.array([0.001, 0.005]), pooled).tolist() == [1, 1]
    assert relative_variance(np.zeros(2), 1e-5).tolist() == [1, 1]


def test_each_budget_is_weighed_by_its_own_stated_errors():
    budget, n_params, n_tokens, loss = surface_sweep((1e18, 1e20), n_sizes=9)
    se = np.repeat([0.002, 0.01], 9)
    residual = np.resize([1.0, -1.0], 18) * np.hypot(se, 0.001)
    noise = read_noise(sort_rows(budget, n_params, n_tokens, loss, loss_se=se), residual, 18)
    expected = (0.01**2 + 0.001**2) / (0.002**2 + 0.001**2)
    assert noise.weights[0] / noise.weights[-1] == pytest.approx(expected)
    assert noise.unequal_p > 0.5


def test_stated_errors_larger_than_the_residuals_are_taken_as_shared():
    budget, n_params, n_tokens, loss = surface_sweep((1e18, 1e20), n_sizes=9)
    loud = np.where(np.arange(18) % 2, 10.0, 5.0)
    noise = read_noise(sort_rows(budget, n_params, n_tokens, loss, loss_se=loud), np.resize([1e-3, -1e-3], 18), 18)
    assert noise.weights.max() / noise.weights.min() == pytest.approx(4.0)


def test_a_noisier_budget_weighs_less():
    columns = surface_sweep(np.geomspace(1e18, 1e20, 5), n_sizes=9)
    sd = np.where(columns[0] == columns[0].min(), 0.005, 0.001)
    noisy = columns[3] * np.exp(np.random.default_rng(5).normal(0, sd))
    choice = choose(sort_rows(*columns[:3], noisy))
    weights = choice.noise.weights[choice.rows.slices[0]].mean(), choice.noise.weights[choice.rows.slices[-1]].mean()
    assert 2 < weights[1] / weights[0] < 30


def test_runs_that_share_trunks_know_less_than_as_many_of_their_own():
    # small and large sizes of each budget start from a trunk of their own
    generator = np.random.default_rng(6)
    exact = surface_sweep(np.geomspace(1e18, 1e20, 5))
    trunk = [f"{index // 7} {'small' if index % 7 < 3 else 'large'}" for index in range(35)]
    shared = generator.normal(0, 0.002, 10)[np.unique(trunk, return_inverse=True)[1]]
    loss = exact[3] * np.exp(shared + generator.normal(0, 0.001, 35))
    alone, together = (choose(sort_rows(*exact[:3], loss, trunk=names)) for names in (None, trunk))
    assert together.noise.trunk_correlation > 0.2
    assert together.on_params.exponent[1] > 1.05 * alone.on_params.exponent[1]


def test_the_credible_distance_does_not_depend_on_the_order_of_forecasts_at_one_distance():
    fit = fit_sweep(*stack(surface_sweep(BUDGETS)))
    first, *_ = fit.scorecard
    held, missed = (
        dataclasses.replace(first, decades=0.5 + tiny, held=yes) for tiny, yes in ((0, True), (1e-12, False))
    )
    assert credible_decades([held, missed], 0.9) == credible_decades([missed, held], 0.9) == 0.0
    near = dataclasses.replace(first, decades=0.3, held=True)
    assert credible_decades([missed, held, near], 0.9) == 0.3


def test_a_loss_is_as_uncertain_as_its_two_laws_differ():
    columns = surface_sweep(BUDGETS)
    noisy = columns[3] * np.exp(np.random.default_rng(7).normal(0, 0.002, len(columns[3])))
    (target,) = fit_sweep(*columns[:3], noisy, targets=[1e23]).targets
    low, high = target.loss_ci
    statistical = np.ptp(target.loss_ci_statistical) / 2
    assert target.loss_model_error > 0
    assert (high - low) / 2 == pytest.approx(math.hypot(statistical, target.loss_model_error))


def test_a_row_without_a_stated_error_has_that_of_the_others():
    budget, n_params, n_tokens, loss = surface_sweep((1e18, 1e20), n_sizes=8)
    se = np.tile([0.002, 0.01, 0.0, 0.0], 4)
    rows = sort_rows(budget, n_params, n_tokens, loss, loss_se=se)
    residual = np.resize([0.01, 0.01, -0.01, -0.01], 16)
    weights = read_noise(rows, residual, 16).weights
    typical = (0.002**2 + 0.01**2) / 2
    unknown = rows.loss_se == 0
    assert np.ptp(weights[unknown]) == 0
    assert weights[~unknown].min() < weights[unknown][0] < weights[~unknown].max()
    filled = sort_rows(budget, n_params, n_tokens, loss, loss_se=np.where(se > 0, se, typical**0.5))
    assert weights == pytest.approx(read_noise(filled, residual, 16).weights)
