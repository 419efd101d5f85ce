"""The law of the loss along the frontier and its errors: scipy's own fit, finite differences, simulated floors."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from isoflop.fit.estimators.loss_law import SurfaceLoss, fit_floor_law
from isoflop.fit.estimators.surface import LEAST_SQUARES, solve_surface
from isoflop.fit.rows import SIX, TokenCost
from tests.fit.known_sweeps import CHINCHILLA, surface_sweep

E, DEPTH, GAMMA = 1.8, 0.9, 0.15
LOG_C = np.linspace(18.0, 21.0, 7)
NOISE = 2e-4


def law(log_c, e=E, depth=DEPTH, gamma=GAMMA):
    return e + depth * 10 ** (-gamma * (log_c - LOG_C.mean()))


def noisy_floors(*seed):
    return law(LOG_C) + np.random.default_rng(seed).normal(0, NOISE, len(LOG_C))


def variance_by_differences(value, constants, covariance, steps):
    """g' S g, the gradient of `value` by central differences in its constants."""
    gradient = []
    for index, step in enumerate(steps):
        up, down = (np.array(constants, dtype=float) for _ in range(2))
        up[index] += step
        down[index] -= step
        gradient.append((value(up) - value(down)) / (2 * step))
    return float(np.array(gradient) @ covariance @ np.array(gradient))


def test_the_law_through_floors_and_its_covariance_are_those_that_scipy_finds():
    floors = noisy_floors(1)
    found = fit_floor_law(LOG_C, floors)
    expected, covariance = curve_fit(law, LOG_C, floors, p0=(E, DEPTH, GAMMA), xtol=1e-14, ftol=1e-14)
    assert (found.e, found.depth, found.gamma) == pytest.approx(expected, rel=1e-6)
    assert found.covariance == pytest.approx(covariance, rel=1e-3)
    assert found.degrees_of_freedom == len(floors) - 3
    assert found.log_k == pytest.approx(math.log(found.depth * 10 ** (found.gamma * LOG_C.mean())))


@pytest.mark.parametrize("log_c", [16.0, 18.0, 19.7, 21.0, 23.0])
def test_the_variance_of_a_loss_is_that_of_its_constants_by_finite_differences(log_c):
    found = fit_floor_law(LOG_C, noisy_floors(2))
    constants = (found.e, found.depth, found.gamma)
    expected = variance_by_differences(lambda at: law(log_c, *at), constants, found.covariance, (1e-6,) * 3)
    loss, variance = found.at(log_c)
    assert loss == pytest.approx(law(log_c, *constants), rel=1e-12)
    assert variance == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_the_variance_of_a_loss_is_how_far_it_scatters_between_simulated_sweeps():
    at = (18.0, 19.5, 22.0)
    readings = np.array([[fit_floor_law(LOG_C, noisy_floors(3, i)).at(log_c) for log_c in at] for i in range(300)])
    scatter, stated = readings[:, :, 0].var(axis=0, ddof=1), readings[:, :, 1].mean(axis=0)
    # 300 variances with 4 degrees of freedom each: their mean is known to 4 %, the scatter to 8 %
    assert stated == pytest.approx(scatter, rel=0.25)


@pytest.mark.parametrize(
    "floors",
    [np.full(7, 2.0), law(LOG_C, depth=-0.5), law(LOG_C)[:3], np.zeros(7)],
    ids=["equal", "rising", "three", "zero"],
)
def test_floors_that_do_not_fall_have_no_law(floors):
    assert fit_floor_law(LOG_C[: len(floors)], floors) is None


def test_a_law_whose_floor_would_lie_below_zero_ends_at_zero():
    floors = law(LOG_C, e=-0.3, depth=2.0, gamma=0.1)
    found = fit_floor_law(LOG_C, floors)
    (depth, gamma), _ = curve_fit(lambda log_c, *at: law(log_c, 0.0, *at), LOG_C, floors, p0=(2.0, 0.1))
    assert found.e == 0
    assert (found.depth, found.gamma) == pytest.approx((depth, gamma), rel=1e-5)


@pytest.fixture(scope="module")
def solution():
    _, n_params, n_tokens, loss = surface_sweep()
    loss = loss * np.exp(np.random.default_rng(4).normal(0, 1e-3, len(loss)))
    return solve_surface(np.log(n_params), np.log(n_tokens), loss, delta=LEAST_SQUARES)


COVARIANCE = np.diag([1e-4, 2e-3, 3e-3, 2e-4, 1e-4]) + 2e-5
COSTS = pytest.mark.parametrize("cost", [SIX, TokenCost(2.3, 0.9)], ids=["6 N D", "another cost"])
STEPS = (1e-5,) * 5


@COSTS
@pytest.mark.parametrize("log_c", [17.0, 19.0, 23.0])
def test_the_variance_of_a_surface_loss_lets_the_optimum_move_with_its_constants(solution, cost, log_c):
    def lowest(theta):
        """The lowest loss of the surface with these constants at the cost, by brute force over sizes."""
        at = dataclasses.replace(solution, theta=theta)
        log_n = at.law.optimum(log_c, cost)[0] * math.log(10) + np.linspace(-0.02, 0.02, 4001)
        log_d = log_c * math.log(10) - cost.offset - cost.slope * log_n
        return float(np.exp(at.log_loss(log_n, log_d)).min())

    loss, variance = SurfaceLoss(solution, COVARIANCE, cost).at(log_c)
    assert loss == pytest.approx(lowest(solution.theta), rel=1e-12)
    assert variance == pytest.approx(variance_by_differences(lowest, solution.theta, COVARIANCE, STEPS), rel=1e-4)


@COSTS
def test_a_surface_along_its_frontier_is_a_power_law_with_the_constants_it_states(solution, cost):
    reader = SurfaceLoss(solution, COVARIANCE, cost)
    e, log_k, gamma, gradient = reader.constants()
    for log_c in (16.0, 20.0, 24.0):
        assert e + math.exp(log_k - gamma * log_c * math.log(10)) == pytest.approx(reader.at(log_c)[0], rel=1e-12)

    def gamma_of(theta):
        return SurfaceLoss(dataclasses.replace(solution, theta=theta), COVARIANCE, cost).constants()[2]

    expected = variance_by_differences(gamma_of, solution.theta, COVARIANCE, STEPS)
    assert gradient @ COVARIANCE @ gradient == pytest.approx(expected, rel=1e-6)


def test_the_exponent_of_the_published_surface_is_the_published_one():
    # gamma = alpha beta / (alpha + beta) at C = 6 N D (Hoffmann et al. 2022, equation 4)
    _, n_params, n_tokens, loss = surface_sweep()
    exact = solve_surface(np.log(n_params), np.log(n_tokens), loss, delta=LEAST_SQUARES)
    gamma = SurfaceLoss(exact, COVARIANCE, SIX).constants()[2]
    expected = CHINCHILLA.alpha * CHINCHILLA.beta / (CHINCHILLA.alpha + CHINCHILLA.beta)
    assert gamma == pytest.approx(expected, rel=1e-4)
