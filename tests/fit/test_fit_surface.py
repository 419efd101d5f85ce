"""The surface against an independent program's optima, exact surfaces, and its own derivatives."""

import json

import numpy as np
import pytest

from isoflop.fit.estimators.bootstrap import refit_surface
from isoflop.fit.estimators.surface import HUBER_DELTA, LEAST_SQUARES, solve_surface
from isoflop.fit.estimators.surface_objective import SurfaceObjective
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.newton import minimise
from tests.fit.known_sweeps import DATA, published

REFERENCE = json.loads((DATA / "reference_estimators.json").read_text())
LAW = SurfaceLaw.of(1.7, 400.0, 2000.0, 0.35, 0.37)


def _logs(name):
    _, n_params, n_tokens, loss = published(name)
    return np.log(n_params), np.log(n_tokens), loss


@pytest.mark.parametrize("loss", ["huber", "squares"])
@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_the_optimum_is_no_worse_than_the_reference(name, loss):
    expected = REFERENCE[name][f"surface_{loss}"]
    solution = solve_surface(*_logs(name), delta={"huber": HUBER_DELTA, "squares": LEAST_SQUARES}[loss])
    assert solution.objective <= expected["objective"] * (1 + 1e-9)
    assert solution.theta[3:] == pytest.approx([expected["alpha"], expected["beta"]], abs=1e-6)
    law = solution.law
    assert np.exp([law.log_a, law.log_b, law.log_e]) == pytest.approx(
        [expected["A"], expected["B"], expected["E"]], rel=1e-5
    )


def test_least_absolute_deviations_are_the_numbers_that_epoch_published():
    # Besiroglu et al. 2024 (arXiv 2404.10102): their fitted scale collapses, so their Huber fit is this one.
    solution = solve_surface(*_logs("epoch240"), delta=0.0)
    law = solution.law
    assert np.exp([law.log_a, law.log_b, law.log_e]) == pytest.approx([482.00572, 2085.4342, 1.81686], rel=1e-5)
    assert [law.alpha, law.beta] == pytest.approx([0.34781, 0.36585], rel=1.2e-5)
    assert solution.objective == pytest.approx(1.12949465, rel=1e-8)


@pytest.mark.parametrize("delta", [HUBER_DELTA, LEAST_SQUARES, 0.0], ids=["huber", "squares", "absolute"])
def test_an_exact_surface_is_recovered(delta):
    log_n, log_d = (axis.ravel() for axis in np.meshgrid(np.linspace(16, 23, 7), np.linspace(21, 27, 7)))
    solution = solve_surface(log_n, log_d, np.exp(LAW.log_loss(log_n, log_d)), delta=delta)
    law = solution.law
    assert [law.alpha, law.beta] == pytest.approx([LAW.alpha, LAW.beta], rel=1e-6)
    assert [law.log_e, law.log_a, law.log_b] == pytest.approx([LAW.log_e, LAW.log_a, LAW.log_b], rel=1e-6)


def test_warm_refits_of_resamples_end_where_fits_from_scratch_do():
    log_n, log_d, loss = _logs("epoch240")
    weights = np.random.default_rng(0).multinomial(len(loss), np.full(len(loss), 1 / len(loss)), 12).astype(float)
    refits = refit_surface(solve_surface(log_n, log_d, loss), log_n, log_d, loss, weights)
    for refit, counts in zip(refits, weights, strict=True):
        rows = np.repeat(np.arange(len(loss)), counts.astype(int))
        assert refit[3:] == pytest.approx(solve_surface(log_n[rows], log_d[rows], loss[rows]).theta[3:], abs=1e-6)


def test_the_bootstrap_has_the_spread_that_epoch_published():
    # Besiroglu et al. 2024, 4000 bootstraps: standard deviation of alpha 0.0154, of beta 0.0206.
    log_n, log_d, loss = _logs("epoch240")
    weights = np.random.default_rng(1).multinomial(len(loss), np.full(len(loss), 1 / len(loss)), 1000).astype(float)
    refits = refit_surface(solve_surface(log_n, log_d, loss), log_n, log_d, loss, weights)
    assert refits[:, 3:].std(axis=0) == pytest.approx([0.0154, 0.0206], rel=0.12)


@pytest.mark.parametrize("delta", [HUBER_DELTA, LEAST_SQUARES], ids=["huber", "squares"])
def test_derivatives_are_those_of_the_objective(delta):
    log_n, log_d, loss = _logs("llama3")
    x, z = log_n - log_n.mean(), log_d - log_d.mean()
    problem = SurfaceObjective(x, z, np.log(loss), np.ones((1, len(x))), delta)
    theta, one = solve_surface(log_n, log_d, loss, delta=delta).theta + 0.01, np.arange(1)

    def at(point):
        value, state = problem.evaluate(point[None], one)
        return value[0], problem.curvature(point[None], state, one)

    step = 1e-6 * np.eye(5)
    numeric = [(at(theta + e)[0] - at(theta - e)[0]) / 2e-6 for e in step]
    assert at(theta)[1].gradient[0] == pytest.approx(numeric, rel=1e-5, abs=1e-8)
    if delta == LEAST_SQUARES:  # Huber's second derivative jumps where a residual crosses delta
        numeric = [(at(theta + e)[1].gradient[0] - at(theta - e)[1].gradient[0]) / 2e-6 for e in step]
        assert at(theta)[1].hessian[0] == pytest.approx(np.array(numeric), rel=1e-4, abs=1e-7)


def test_an_optimum_is_stationary_from_far_away():
    log_n, log_d, loss = _logs("chinchilla_isoflop")
    solution = solve_surface(log_n, log_d, loss)
    x, z = log_n - log_n.mean(), log_d - log_d.mean()
    problem = SurfaceObjective(x, z, np.log(loss), np.ones((1, len(x))), HUBER_DELTA)
    generator = np.random.default_rng(3)
    starts = np.column_stack([generator.normal(0, 1, (40, 3)), generator.uniform(0.1, 0.8, (40, 2))])
    _, values = minimise(problem, starts)
    assert values.min() >= solution.objective * (1 - 1e-9)
