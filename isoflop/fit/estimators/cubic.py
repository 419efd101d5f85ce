"""Profiles by cubics: unbiased where the valley is skewed, at the price of two to three times the noise."""

import math

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.parabola import ROUNDING
from isoflop.fit.intervals import Noise
from isoflop.fit.lines import BudgetFloor, Floor
from isoflop.fit.rows import LARGEST_LOSS, SMALLEST_LOSS, Rows

# One residual degree of freedom is left.
MIN_POINTS = 5
_MIN_SIZES = 4
# Columns nearer to dependence than this are rounding.
_RANK_TOLERANCE = 1e-10


def cubic_floors(rows: Rows) -> tuple[list[BudgetFloor], Noise | None]:
    """The local minima, strictly inside their sizes and token counts, of least-squares cubics of each budget.

    Returns them with the pooled noise of the cubics they come from; None without any.
    """
    floors, squares, freedom = [], np.zeros(2), 0
    for budget in rows.split():
        axes = [_fit_cubic(np.log10(column), budget.loss) for column in (budget.n_params, budget.n_tokens)]
        if axes[0] is None or axes[1] is None:
            continue
        floors.append(BudgetFloor(float(budget.budget_flops[0]), axes[0][0], axes[1][0]))
        squares += [axes[0][1], axes[1][1]]
        freedom += len(budget) - 4
    if not floors:
        return [], None
    on_params, on_tokens = np.sqrt(squares / freedom).tolist()
    return floors, Noise(on_params, on_tokens, freedom)


def _fit_cubic(x: Array, loss: Array) -> tuple[Floor, float] | None:
    """The minimum of the cubic with its squared residuals; None where there is none inside."""
    if len(x) < MIN_POINTS or len(np.unique(x)) < _MIN_SIZES:
        return None
    middle, half = (x.max() + x.min()) / 2, (x.max() - x.min()) / 2
    u = (x - middle) / half
    design = np.vander(u, 4, increasing=True)
    left, values, right = np.linalg.svd(design, full_matrices=False)
    if values[-1] <= _RANK_TOLERANCE * values[0]:
        return None
    peak = float(np.abs(loss).max())
    if not SMALLEST_LOSS < peak < LARGEST_LOSS:
        return None
    scale = float(np.abs(loss - loss.mean()).max())
    if scale <= ROUNDING * peak:
        return None
    coefficients = right.T @ (left.T @ ((loss - loss.mean()) / scale) / values)
    position = _minimum(coefficients)
    if position is None:
        return None
    c2, c3 = coefficients[2:].tolist()
    bend = 2 * c2 + 6 * c3 * position
    gradient = np.array([0.0, -1.0, -2 * position, -3 * position**2]) / bend
    spread = half * float(np.linalg.norm((right @ gradient) / values)) / scale
    residual = loss - loss.mean() - scale * (design @ coefficients)
    height = float(loss.mean() + scale * np.polynomial.polynomial.polyval(position, coefficients))
    loss_spread = float(np.linalg.norm((right @ position ** np.arange(4)) / values))
    return Floor(float(middle + half * position), height, spread, loss_spread), float(residual @ residual)


def _minimum(coefficients: Array) -> float | None:
    """Where in (-1, 1) c1 u + c2 u^2 + c3 u^3 has its local minimum."""
    _, c1, c2, c3 = coefficients.tolist()
    inside = c2 * c2 - 3 * c1 * c3
    if inside <= 0:
        return None
    # of the two stationary points this one has positive curvature, written so that c3 = 0 is no exception
    root = math.sqrt(inside)
    position = -c1 / (c2 + root) if c2 > 0 else (root - c2) / (3 * c3) if c3 else math.inf
    return position if -1 < position < 1 else None
