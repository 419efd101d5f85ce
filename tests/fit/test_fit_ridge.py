"""Floors that scatter about the ridge: the random effect and its degrees of freedom, by simulation and by scipy."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import chi2, kstest

from isoflop.fit.estimators.choice import choose
from isoflop.fit.estimators.joint_objective import Axis
from isoflop.fit.estimators.joint_valley import allow_for_scatter
from isoflop.fit.lines import Line
from isoflop.fit.rows import sort_rows
from tests.fit.known_sweeps import surface_sweep

N_SIZES = 9
# Loss by position of the floor, nats per decade, of the sizes of one budget: their squares add up to 6.
SLOPES = np.array([-1.0, -1.0, -0.7, -0.1, 0.0, 0.1, 0.7, 1.0, 1.0])
INFORMATION = float(SLOPES @ SLOPES)
MEAN = 19.5


def budgets(n_floors):
    """Levers of budgets that are not evenly spaced, about their mean."""
    lever = np.array([0.0, 0.4, 1.0, 1.3, 2.2, 3.0, 3.1, 4.0])[:n_floors]
    return lever - lever.mean()


def sweep_of(steps, generator, noise):
    """The arguments of `allow_for_scatter` where floors lie `steps` decades off a ridge at 0, noise taken out nowhere.

    Of the rows of a budget's own noise, the level and the floor are what a fit takes up; the rest is left.
    """
    n_floors = len(steps)
    residual = generator.normal(0, noise, (n_floors, N_SIZES)) + np.outer(steps, SLOPES)
    residual -= residual.mean(axis=1, keepdims=True)
    t, group = np.repeat(budgets(n_floors), N_SIZES), np.repeat(np.arange(n_floors), N_SIZES)
    weights, slopes = np.ones(t.size), np.tile(SLOPES, n_floors)
    # the joint fit has taken the line through the floors out of the residuals
    own = np.array([SLOPES @ of_budget / INFORMATION for of_budget in residual])
    line = np.polyval(np.polyfit(budgets(n_floors), own, 1), budgets(n_floors))
    residual = (residual - np.outer(line, SLOPES)).ravel()
    freedom = t.size - n_floors - 2
    axis = Axis(np.zeros(t.size), t, np.zeros(t.size), weights, group, MEAN)
    return axis, slopes, residual, (float(residual @ residual) / freedom, freedom)


def allowed(steps, generator, noise, ridge=None):
    covariance = (
        noise**2 / INFORMATION * np.diag([1 / len(steps), 1 / float(budgets(len(steps)) @ budgets(len(steps)))])
    )
    ridge = ridge or Line(0.0, 0.0, tuple(map(tuple, covariance.tolist())), MEAN)
    return allow_for_scatter(ridge, *sweep_of(steps, generator, noise))


@pytest.mark.slow
@pytest.mark.parametrize("n_floors", [3, 4, 7])
def test_the_chance_of_as_much_scatter_is_uniform_where_there_is_none(n_floors):
    # a chance with one degree of freedom too many or too few would be below a half in 35 % or 67 % of 4 floors
    generator = np.random.default_rng(n_floors)
    chances = [allowed(np.zeros(n_floors), generator, 0.01)[1].p_value for _ in range(1000)]
    # rows estimate their own noise with a few dozen degrees of freedom, which moves the chances by little
    assert kstest(chances, "uniform").statistic < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("n_floors", [4, 6])
def test_scatter_has_as_many_degrees_of_freedom_as_there_are_floors_less_a_line(n_floors):
    generator = np.random.default_rng([1, n_floors])
    variances = np.array([allowed(generator.normal(0, 0.1, n_floors), generator, 1e-4)[1].sd ** 2 for _ in range(1000)])
    # a variance with f degrees of freedom has the mean of the truth, and 2/f of its square as variance
    assert variances.mean() == pytest.approx(0.1**2, rel=0.08)
    assert 2 * variances.mean() ** 2 / variances.var() == pytest.approx(n_floors - 2, rel=0.2)


@pytest.mark.parametrize("n_floors", [3, 5, 8])
def test_scatter_is_what_brings_cochrans_q_to_its_degrees_of_freedom(n_floors):
    steps = np.random.default_rng(2).normal(0, 0.05, n_floors)
    axis, slopes, residual, (variance, freedom) = sweep_of(steps, np.random.default_rng(3), 0.01)
    by_budget = residual.reshape(n_floors, N_SIZES)
    own_steps = by_budget @ SLOPES / INFORMATION
    # noise about floors of their own: rows less a level and a position each
    left = by_budget - np.outer(own_steps, SLOPES)
    own = float((left**2).sum()) / (n_floors * (N_SIZES - 2)) / INFORMATION

    def q_less_freedom(excess):
        line = np.polyval(np.polyfit(budgets(n_floors), own_steps, 1), budgets(n_floors))
        return float(((own_steps - line) ** 2).sum()) / (own + excess) - (n_floors - 2)

    line = Line(1.0, 0.5, ((1e-6, 0.0), (0.0, 1e-6)), MEAN)
    ridge, scatter = allow_for_scatter(line, axis, slopes, residual, (variance, freedom))
    excess = brentq(q_less_freedom, 0.0, 1.0, xtol=1e-16)
    assert scatter.sd == pytest.approx(math.sqrt(excess), rel=1e-6)
    assert scatter.p_value == pytest.approx(chi2.sf(q_less_freedom(0.0) + n_floors - 2, n_floors - 2), rel=1e-6)
    # floors of equal errors: the line stays, and its middle and slope gain the variance of a mean and of a slope
    lever = budgets(n_floors)
    assert (ridge.middle, ridge.slope) == pytest.approx((1.0, 0.5), abs=1e-12)
    expected = excess * np.diag([1 / n_floors, 1 / float(lever @ lever)])
    assert np.array(scatter.covariance) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert np.array(ridge.covariance) == pytest.approx(expected + 1e-6 * np.eye(2), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("noise", [(0.0, 20), (-1.0, 20)])
def test_without_noise_nothing_is_scatter(noise):
    axis, slopes, residual, _ = sweep_of(np.array([0.1, -0.1, 0.2, 0.0]), np.random.default_rng(4), 0.01)
    line = Line(1.0, 0.5, ((1e-6, 0.0), (0.0, 1e-6)), MEAN)
    ridge, scatter = allow_for_scatter(line, axis, slopes, residual, noise)
    assert ridge == line
    assert (scatter.sd, scatter.p_value) == (0.0, 1.0)


def test_two_floors_lie_on_one_line_always():
    _, scatter = allowed(np.array([0.1, -0.1]), np.random.default_rng(5), 0.01)
    assert (scatter.sd, scatter.p_value) == (0.0, 1.0)


def scattered_fit(n_floors, scatter, noise):
    log_budgets = np.linspace(18, 21, n_floors)
    budget, n_params, _, loss = surface_sweep(10**log_budgets, n_sizes=N_SIZES)
    generator = np.random.default_rng([6, n_floors])
    n_params = n_params * 10 ** np.repeat(generator.normal(0, scatter, n_floors), N_SIZES)
    loss = loss * np.exp(generator.normal(0, noise, len(loss)))
    return choose(sort_rows(budget, n_params, budget / (6 * n_params), loss)).joint


@pytest.mark.parametrize(("n_floors", "noise"), [(4, 1e-5), (5, 1e-3), (8, 4e-3)])
def test_the_exponent_has_the_degrees_of_freedom_with_which_the_sum_of_its_two_variances_scatters(n_floors, noise):
    fit = scattered_fit(n_floors, 0.05, noise)
    generator = np.random.default_rng(7)
    total = 0.0
    for variance, freedom in (
        (fit.valley.line.covariance[1][1], n_floors * (N_SIZES - 1) - 6),
        (fit.valley.scatter.covariance[1][1], n_floors - 2),
    ):
        assert variance > 0
        total = total + variance * generator.chisquare(freedom, 200_000) / freedom
    # a variance with f degrees of freedom has 2/f of its squared mean as variance
    assert fit.degrees_of_freedom == pytest.approx(2 * total.mean() ** 2 / total.var(), rel=0.03)


@pytest.mark.parametrize("n_floors", [4, 5])
def test_without_scatter_the_exponent_has_the_degrees_of_freedom_of_the_rows(n_floors):
    fit = scattered_fit(n_floors, 0.0, 1e-3)
    assert fit.valley.scatter.sd == 0
    assert fit.degrees_of_freedom == n_floors * N_SIZES - n_floors - 6


def test_an_error_of_two_parts_has_more_degrees_of_freedom_than_the_poorer_and_fewer_than_both():
    fit = scattered_fit(8, 0.015, 0.004)
    assert 0 < fit.valley.scatter.sd < 0.05
    assert 8 - 2 < fit.degrees_of_freedom < 8 - 2 + fit.valley.degrees_of_freedom
