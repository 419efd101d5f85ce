"""The law of the loss along the frontier and its errors: scipy's own fit, finite differences, simulated floors."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from isoflop.fit.estimators.choice import choose
from isoflop.fit.estimators.loss_floors import LossFloors, read_loss_floors
from isoflop.fit.estimators.loss_law import SurfaceLoss, fit_floor_law
from isoflop.fit.estimators.surface import LEAST_SQUARES, solve_surface
from isoflop.fit.intervals import pooled_freedom
from isoflop.fit.rows import SIX, TokenCost, sort_rows
from tests.fit.known_sweeps import CHINCHILLA, known_sweep, surface_sweep, with_noise

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


def floors_at(log_c, loss, sd=0.0, freedom=4.0):
    """Floors that err by `sd` (nats) each, known with so many degrees of freedom each."""
    alike = np.ones(len(log_c))
    return LossFloors(10**log_c, np.asarray(loss), alike, freedom * sd**2 * alike, freedom * alike)


@pytest.mark.parametrize("sd", [0.0, 0.5 * NOISE, 3 * NOISE], ids=["exact runs", "quiet runs", "noisy runs"])
def test_the_law_through_floors_and_its_errors_are_those_that_scipy_finds(sd):
    """Weights C^1/2; each floor errs by its runs, and by what floors scatter about the law beyond that."""
    loss = noisy_floors(1)
    found = fit_floor_law(floors_at(LOG_C, loss, sd))
    weights = np.sqrt(10**LOG_C / np.mean(10 ** (LOG_C / 2)) ** 2)
    expected, _ = curve_fit(law, LOG_C, loss, p0=(E, DEPTH, GAMMA), sigma=weights**-0.5, xtol=1e-14, ftol=1e-14)
    assert (found.e, found.depth, found.gamma) == pytest.approx(expected, rel=1e-6)
    jacobian = np.column_stack(
        [(law(LOG_C, *(expected + step)) - law(LOG_C, *(expected - step))) / 2e-6 for step in np.eye(3) * 1e-6]
    )
    squares = float(weights @ (loss - law(LOG_C, *expected)) ** 2) / 4
    excess = max(squares - sd**2, 0.0)
    of_constants = np.linalg.solve(jacobian.T @ (weights[:, None] * jacobian), jacobian.T * weights)
    assert found.covariance == pytest.approx((sd**2 + excess) * of_constants @ of_constants.T, rel=1e-3)
    freedom = pooled_freedom((sd**2, 28), (excess, 4)) if excess else 28
    assert found.degrees_of_freedom == pytest.approx(freedom, rel=1e-3)
    assert found.log_k == pytest.approx(math.log(found.depth * 10 ** (found.gamma * LOG_C.mean())))


@pytest.mark.parametrize("log_c", [16.0, 18.0, 19.7, 21.0, 23.0])
def test_the_variance_of_a_loss_is_that_of_its_constants_by_finite_differences(log_c):
    found = fit_floor_law(floors_at(LOG_C, noisy_floors(2), NOISE))
    constants = (found.e, found.depth, found.gamma)
    expected = variance_by_differences(lambda at: law(log_c, *at), constants, found.covariance, (1e-6,) * 3)
    loss, variance = found.at(log_c)
    assert loss == pytest.approx(law(log_c, *constants), rel=1e-12)
    assert variance == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_the_variance_of_a_loss_is_how_far_it_scatters_between_simulated_sweeps():
    at = (18.0, 19.5, 22.0)
    laws = [fit_floor_law(floors_at(LOG_C, noisy_floors(3, i), NOISE)) for i in range(300)]
    readings = np.array([[found.at(log_c) for log_c in at] for found in laws])
    scatter, stated = readings[:, :, 0].var(axis=0, ddof=1), np.median(readings[:, :, 1], axis=0)
    # the scatter of 300 is known to 8 %; what floors scatter beyond their errors is never counted as less than nothing
    assert (stated >= 0.85 * scatter).all()
    assert (stated <= 1.3 * scatter).all()


@pytest.mark.parametrize(
    "floors",
    [np.full(7, 2.0), law(LOG_C, depth=-0.5), law(LOG_C)[:2], np.zeros(7), law(LOG_C) - 2.5],
    ids=["equal", "rising", "two", "zero", "negative"],
)
def test_floors_that_do_not_fall_have_no_law(floors):
    assert fit_floor_law(floors_at(LOG_C[: len(floors)], floors)) is None


def test_three_floors_have_a_law_whose_errors_are_those_of_their_runs():
    log_c = LOG_C[[0, 3, 6]]
    assert fit_floor_law(floors_at(log_c, law(log_c), NOISE, freedom=0.0)) is None
    found = fit_floor_law(floors_at(log_c, law(log_c), NOISE))
    assert (found.e, found.depth, found.gamma) == pytest.approx((E, DEPTH, GAMMA), rel=1e-4)
    assert found.degrees_of_freedom == 12
    # a law through three floors misses each of them by the error of that floor
    assert [found.at(at)[1] for at in log_c] == pytest.approx([NOISE**2] * 3, rel=1e-3)


def test_a_law_whose_floor_would_lie_below_zero_ends_at_zero():
    floors = law(LOG_C, e=-0.3, depth=2.0, gamma=0.1)
    found = fit_floor_law(floors_at(LOG_C, floors))
    (depth, gamma), _ = curve_fit(
        lambda log_c, *at: law(log_c, 0.0, *at), LOG_C, floors, p0=(2.0, 0.1), sigma=10 ** (-LOG_C / 4)
    )
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


@pytest.mark.parametrize("log_c", [17.0, 20.0, 23.0])
def test_a_law_declines_as_finite_differences_say(solution, log_c):
    for reader in (fit_floor_law(floors_at(LOG_C, noisy_floors(5))), SurfaceLoss(solution, COVARIANCE, SIX)):
        up, down = (math.log(reader.at(log_c + step)[0]) for step in (1e-4, -1e-4))
        assert reader.decline(log_c) == pytest.approx((down - up) / (2e-4 * math.log(10)), rel=1e-6)


def test_the_floors_of_losses_are_those_of_the_runs_near_the_best():
    columns = known_sweep(offsets=np.linspace(-0.55, 0.55, 7), floor=2.5)
    far = tuple(np.concatenate([column, extra]) for column, extra in zip(columns, _far_rows(), strict=True))
    near, all_rows = (read_loss_floors(sort_rows(*rows)) for rows in (columns, far))
    assert near.loss == pytest.approx([2.5] * 3)
    assert all_rows.loss == pytest.approx(near.loss, rel=1e-12)
    assert all_rows.freedom.tolist() == [4, 4, 4]


def _far_rows():
    """A run far from the floor at each budget, on no parabola."""
    budgets, sizes, tokens, _ = known_sweep(offsets=[1.4])
    return budgets, sizes, tokens, np.full(3, 9.0)


def test_a_floor_scatters_between_simulated_budgets_as_its_spread_says():
    columns = known_sweep(budgets=[1e18], offsets=np.linspace(-0.4, 0.3, 7))
    generator = np.random.default_rng(8)
    drawn = [read_loss_floors(sort_rows(*with_noise(columns, generator, 0.002))) for _ in range(400)]
    scatter = np.std([floors.loss[0] for floors in drawn])
    assert scatter == pytest.approx(0.002 * np.mean([floors.spread[0] for floors in drawn]), rel=0.12)
    variance = np.mean([floors.noise[0] for floors in drawn])
    assert variance == pytest.approx(0.002**2, rel=0.12)


def test_rows_that_weigh_more_make_a_floor_that_errs_less():
    rows = sort_rows(*with_noise(known_sweep(), np.random.default_rng(9), 0.002))
    plain, weighed = read_loss_floors(rows), read_loss_floors(rows, np.where(rows.group == 0, 4.0, 1.0))
    assert weighed.loss.tolist() == plain.loss.tolist()
    assert weighed.spread / plain.spread == pytest.approx([0.5, 1.0, 1.0])
    assert weighed.squares / plain.squares == pytest.approx([4.0, 1.0, 1.0])


def test_a_scorecard_reads_its_law_through_no_later_floor():
    budgets = (1e18, 3e18, 1e19, 3e19, 1e20)
    floors = choose(sort_rows(*with_noise(surface_sweep(budgets), np.random.default_rng(2), 0.002))).loss_floors
    assert floors.up_to(1e19).budget_flops.tolist() == [1e18, 3e18, 1e19]
    assert floors.up_to(1e17) is None
    assert floors.at(3e19) == (floors.loss[3], floors.spread[3])
    assert floors.at(2e19) is None
