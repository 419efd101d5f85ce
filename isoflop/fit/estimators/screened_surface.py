"""The surface by least squares of the rows that it explains: the mask of outliers where there are no valleys.

From the rows near the robust surface on, least squares are fitted to what is kept, and a row is kept if its
studentised residual of log loss is within a Student-t quantile corrected for the number of rows (Bonferroni).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from isoflop.fit.arrays import Array, Mask
from isoflop.fit.estimators.surface import LEAST_SQUARES, ROWS_FOR_STARTS, SurfaceSolution, solve_surface
from isoflop.fit.estimators.surface_objective import N_PARAMETERS
from isoflop.fit.intervals import normal_spread
from isoflop.fit.noise import ROUNDING, relative_variance
from isoflop.fit.rows import Rows

# Rough first look: residuals of the robust surface beyond this many robust standard deviations are set aside.
_ROUGH_LIMIT = 4.0
_ROUNDS = 6
# Family-wise chance that a clean table loses any row to chance alone. A fifth of what valleys allow: no second law is
# there to tell misfit from bad runs, and on simulated ladders bad runs are found as surely (docs/fitting.md).
FALSE_ALARMS = 0.01
# Fewer leave no scale to judge a row by: two degrees of freedom beside its own.
_FEWEST_KEPT = N_PARAMETERS + 3
# Where more of the rows than this lie off the surface through the others, they are not bad runs but another law.
LARGEST_SHARE = 1 / 3


@dataclass(frozen=True)
class ScreenedSurface:
    """Least squares on log loss of some rows, and which.

    Attributes:
        keep: (n,) the rows that the surface explains.
        rows: those.
        solution: the optimum on them.
        weights: (k,) inverse variances about 1 of the kept rows.
        exhausted: whether more rows lie off than can be bad runs, so that none is set aside.
    """

    keep: Mask
    rows: Rows
    solution: SurfaceSolution
    weights: Array
    exhausted: bool = False

    @property
    def residual(self) -> Array:
        """Residuals (k,) of log loss."""
        return _residual(self.rows, self.solution)

    @property
    def degrees_of_freedom(self) -> int:
        """Kept rows less the five parameters."""
        return len(self.rows) - N_PARAMETERS

    @property
    def variance(self) -> float:
        """Of one row of weight 1, of log loss."""
        return float(self.weights @ self.residual**2) / self.degrees_of_freedom


def screen(rows: Rows, robust: SurfaceSolution) -> ScreenedSurface:
    """Which of `rows`, one more than the law has parameters at least, one surface explains; `robust` is Huber's of all.

    Rows are judged as if all were equally noisy, and once more if their errors are stated and differ.
    """
    found = _screen(rows, robust, np.ones(len(rows)))
    pooled = found.variance * float(found.rows.loss.mean()) ** 2
    noise = relative_variance(rows.loss_se, pooled)
    if np.ptp(noise) == 0:
        return found
    return _screen(rows, robust, 1 / noise)


def _screen(rows: Rows, robust: SurfaceSolution, weights: Array) -> ScreenedSurface:
    everything = np.ones(len(rows), dtype=bool)
    # rows that are set aside may have held the robust surface in a valley of its own: the search begins anew
    keep = _near(rows, robust, weights)
    near = _anew(rows, keep, weights)
    for _ in range(_ROUNDS):
        fitted = _fit(rows, keep, near, weights)
        judged = _judge(rows, fitted, weights)
        if (judged == keep).all():
            break
        keep, near = judged, fitted.solution
    if (fitted.keep != keep).any():
        fitted = _fit(rows, keep, near, weights)
    if len(rows) - len(fitted.rows) > LARGEST_SHARE * len(rows):
        whole = _fit(rows, everything, robust, weights)
        return ScreenedSurface(whole.keep, whole.rows, whole.solution, whole.weights, exhausted=True)
    return fitted


def _anew(rows: Rows, keep: Mask, weights: Array) -> SurfaceSolution | None:
    """Where to begin with more rows than a search needs: least squares of evenly spaced ones; None for fewer."""
    if keep.sum() <= ROWS_FOR_STARTS:
        return None
    some = np.zeros(len(rows), dtype=bool)
    some[np.flatnonzero(keep)[:: -(-int(keep.sum()) // ROWS_FOR_STARTS)]] = True
    return _fit(rows, some, None, weights).solution


def _fit(rows: Rows, keep: Mask, near: SurfaceSolution | None, weights: Array) -> ScreenedSurface:
    kept = rows.take(keep)
    own = weights[keep] / weights[keep].mean()
    solution = solve_surface(
        np.log(kept.n_params), np.log(kept.n_tokens), kept.loss, delta=LEAST_SQUARES, weights=own, near=near
    )
    return ScreenedSurface(keep, kept, solution, own)


def _near(rows: Rows, robust: SurfaceSolution, weights: Array) -> Mask:
    residual = np.abs(_residual(rows, robust)) * np.sqrt(weights)
    # a robust surface passes through as many rows as it has parameters: these say nothing of the noise
    scale = max(normal_spread(np.sort(residual)[N_PARAMETERS:]), ROUNDING)
    keep: Mask = residual <= _ROUGH_LIMIT * scale
    return keep | _smallest(residual)


def _smallest(residual: Array) -> Mask:
    """The rows (n,) with the smallest residuals, as many as stay whatever happens."""
    keep = np.zeros(len(residual), dtype=bool)
    keep[np.argsort(residual, kind="stable")[:_FEWEST_KEPT]] = True
    return keep


def _judge(rows: Rows, fitted: ScreenedSurface, weights: Array) -> Mask:
    """(n,): the rows within the limit of the surface through the kept ones."""
    freedom, keep = fitted.degrees_of_freedom, fitted.keep
    if freedom < 2:
        return keep
    jacobian = fitted.solution.jacobian(np.log(rows.n_params), np.log(rows.n_tokens)) * np.sqrt(weights)[:, None]
    # of columns next to dependent, rounding can take it below zero
    leverage = np.maximum(np.einsum("ij,jk,ik->i", jacobian, equilibrated_inverse(jacobian[keep]), jacobian), 0.0)
    scale = max(math.sqrt(float(weights[keep] @ fitted.residual**2) / freedom), ROUNDING)
    room = np.where(keep, np.maximum(1 - leverage, 1e-9), 1 + leverage)
    t = np.abs(_residual(rows, fitted.solution)) * np.sqrt(weights) / (scale * np.sqrt(room))
    # a kept row had its part in the scale: judge it by the scale of the others
    t = np.where(keep, t * np.sqrt((freedom - 1) / np.maximum(freedom - t**2, 1e-9)), t)
    limit = float(stdtrit(freedom - 1, 1 - FALSE_ALARMS / (2 * len(rows))))
    judged: Mask = t <= limit
    return judged | _smallest(t)


def equilibrated_inverse(jacobian: Array) -> Array:
    """(J'J)^-1 (p, p), by columns of equal length: a part that is next to nothing does not hide the others' errors."""
    lengths = np.linalg.norm(jacobian, axis=0)
    lengths = np.where(lengths > 0, lengths, 1.0)
    unit = jacobian / lengths
    return np.asarray(np.linalg.pinv(unit.T @ unit, hermitian=True) / np.outer(lengths, lengths), dtype=np.float64)


def _residual(rows: Rows, solution: SurfaceSolution) -> Array:
    """Residuals (n,) of log loss."""
    residual: Array = np.log(rows.loss) - solution.log_loss(np.log(rows.n_params), np.log(rows.n_tokens))
    return residual
