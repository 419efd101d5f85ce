"""Clouds of frontiers from resampled runs: to look at. Intervals are Student's (docs/fitting.md says why)."""

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.surface import NARROWING, SurfaceSolution, identified, surface_lines
from isoflop.fit.estimators.surface_objective import SurfaceObjective
from isoflop.fit.lines import Line
from isoflop.fit.newton import minimise
from isoflop.fit.results.sweep_fit import Cloud
from isoflop.fit.rows import Rows, TokenCost

_SEED = 0
# Refits are done this many at a time, so that the working arrays stay in the cache.
_CHUNK = 125


def refit_surface(solution: SurfaceSolution, log_n: Array, log_d: Array, loss: Array, weights: Array) -> Array:
    """Parameters (b, 5) of refits from `solution` with each of the `weights` (b, n), as of bootstrap resamples.

    Warm starts: from where the whole sample led, resamples end where their own multi-start fits do.
    """
    x, z, log_loss = log_n - solution.x_mean, log_d - solution.z_mean, np.log(loss)
    parts = []
    for chunk in np.array_split(weights, max(1, -(-len(weights) // _CHUNK))):
        problem = SurfaceObjective(x, z, log_loss, chunk, solution.delta or NARROWING[-1])
        parts.append(minimise(problem, np.tile(solution.theta, (len(chunk), 1)))[0])
    return np.concatenate(parts)


def bootstrap_frontiers(rows: Rows, solution: SurfaceSolution, cost: TokenCost, count: int) -> Cloud | None:
    """`count` frontiers by the pairs bootstrap (Efron and Tibshirani 1993, chapter 9); None of an open surface.

    Equal rows give equal clouds: the draws have a fixed seed. Resamples whose exponents end at a bound are left out.
    """
    if count < 1 or not identified(solution, rows.n_params, rows.n_tokens):
        return None
    n = len(rows)
    draws = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)
    thetas = refit_surface(solution, np.log(rows.n_params), np.log(rows.n_tokens), rows.loss, draws)
    log_c_mean = float(np.log10(rows.budget_flops).mean())
    known = thetas[np.isfinite(thetas).all(axis=1)]
    refits = [SurfaceSolution(theta, solution.x_mean, solution.z_mean, 0.0, solution.delta) for theta in known]
    found = [_lines(refit, cost, log_c_mean) for refit in refits if not refit.at_bound]
    lines = [pair for pair in found if pair is not None]
    return Cloud(tuple(n_line for n_line, _ in lines), tuple(d_line for _, d_line in lines)) if lines else None


def _lines(refit: SurfaceSolution, cost: TokenCost, log_c_mean: float) -> tuple[Line, Line] | None:
    no_errors: Array = np.zeros((len(refit.theta), len(refit.theta)))
    return surface_lines(refit, cost, no_errors, log_c_mean)
