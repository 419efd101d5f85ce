"""Clouds of frontiers from resampled runs: to look at. Intervals are Student's (docs/fitting.md says why)."""

from dataclasses import dataclass

import numpy as np

from isoflop.fit.cost import TokenCost
from isoflop.fit.line import Line
from isoflop.fit.parabola import Array
from isoflop.fit.rows import Rows
from isoflop.fit.surface.frontier import surface_lines
from isoflop.fit.surface.solve import SurfaceSolution, identified, refit_surface

_SEED = 0


@dataclass(frozen=True)
class Cloud:
    """Frontiers of the surface, each refitted to as many runs drawn with replacement.

    Attributes:
        n_lines, d_lines: log10 N_opt and log10 D_opt over log10 C, one per resample, without errors.
    """

    n_lines: tuple[Line, ...]
    d_lines: tuple[Line, ...]


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
