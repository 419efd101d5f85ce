"""Where to start: variable projection on a grid of exponents."""

import numpy as np
from numpy.typing import NDArray

from isoflop.fit.parabola import Array

# (alpha, beta) of published language-model fits lie between 0.1 and 0.7; the grid is generous either side.
GRID = np.geomspace(0.03, 1.6, 20)
# The coefficients of an exponent pair that leaves one column no part are started this far below the others.
_ABSENT = 1e-6
# Natural logarithms of a column beyond which its squares would leave the range of a float.
_FARTHEST = 150.0

_PAIRS = ((0, 1), (0, 2), (1, 2))


def grid_starts(x: Array, z: Array, loss: Array, weights: Array) -> tuple[Array, Array]:
    """Parameters (g, 5) at each grid point, as `solve` takes them, with their weighted squared errors (g,).

    `x`, `z` (n,) are ln N and ln D about their means, `loss` (n,) > 0, `weights` (n,) counts of rows. Given the
    exponents the law is linear in (E, A, B): least squares of the relative error with all three not negative,
    solved in closed form from the Gram entries of the whole grid, which are one matrix product.
    """
    decays_x, decays_z = (np.exp(np.clip(-np.outer(GRID, axis), -_FARTHEST, _FARTHEST)) for axis in (x, z))
    middle = float(np.exp(np.log(loss).mean()))
    relative = loss / middle
    gram, moments = _normal_equations(decays_x, decays_z, weights / relative**2, relative)
    coefficients, explained = _non_negative(gram, moments)
    total = float(weights.sum())
    alpha, beta = (grid.ravel() for grid in np.meshgrid(GRID, GRID, indexing="ij"))
    floor = _ABSENT * coefficients.max(axis=1, keepdims=True)
    logs = np.log(np.maximum(coefficients, floor)) + np.log(middle)
    starts = np.column_stack([logs, alpha, beta])
    return starts, total - explained


def _normal_equations(decays_x: Array, decays_z: Array, weights: Array, loss: Array) -> tuple[Array, Array]:
    """Gram matrices (g, 3, 3) and moments (g, 3) of the columns 1, e^-alpha x, e^-beta z against `loss`."""
    k = len(GRID)
    columns = np.concatenate([np.ones((1, len(loss))), decays_x, decays_z])
    weighted = columns * weights
    products, against = weighted @ columns.T, weighted @ loss
    ax, az = slice(1, k + 1), slice(k + 1, 2 * k + 1)
    shape = (k, k)
    gram = np.empty((*shape, 3, 3))
    gram[..., 0, 0] = products[0, 0]
    gram[..., 0, 1] = gram[..., 1, 0] = products[0, ax][:, None]
    gram[..., 0, 2] = gram[..., 2, 0] = products[0, az][None, :]
    gram[..., 1, 1] = np.diagonal(products[ax, ax])[:, None]
    gram[..., 2, 2] = np.diagonal(products[az, az])[None, :]
    gram[..., 1, 2] = gram[..., 2, 1] = products[ax, az]
    moments = np.empty((*shape, 3))
    moments[..., 0], moments[..., 1], moments[..., 2] = against[0], against[ax][:, None], against[az][None, :]
    return gram.reshape(-1, 3, 3), moments.reshape(-1, 3)


def _non_negative(gram: Array, moments: Array) -> tuple[Array, Array]:
    """Non-negative coefficients (g, 3) and the sum of squares they explain (g,): all three, or the best pair.

    Of three columns a pair or a single one is the optimum where the free solution has a negative part; singles are
    left to the pairs (a pair with a negative part is cut to zero), for these are starts only.
    """
    best, explained = _solve(gram, moments)
    bad = (best < 0).any(axis=1) | ~np.isfinite(best).all(axis=1)
    explained = np.where(bad, -np.inf, explained)
    for pair in _PAIRS:
        columns = list(pair)
        part, gain = _solve(gram[bad][:, columns][:, :, columns], moments[bad][:, columns])
        feasible = (part >= 0).all(axis=1) & (gain > explained[bad])
        rows = np.flatnonzero(bad)[feasible]
        best[rows] = 0.0
        best[rows[:, None], columns] = part[feasible]
        explained[rows] = gain[feasible]
    lost = ~np.isfinite(explained)
    best[lost], explained[lost] = np.array([1.0, 0.0, 0.0]) * (moments[lost, :1] / gram[lost, 0, :1]), 0.0
    return np.maximum(best, 0.0), explained


def _solve(gram: Array, moments: Array) -> tuple[Array, Array]:
    """Solutions of symmetric systems of two or three, scaled to unit diagonals, and what they explain."""
    scale = 1 / np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    scaled = gram * scale[:, :, None] * scale[:, None, :]
    size = gram.shape[1]
    scaled += 1e-14 * np.eye(size)
    solution: NDArray[np.float64] = np.linalg.solve(scaled, (moments * scale)[..., None])[..., 0] * scale
    return solution, np.einsum("gi,gi->g", solution, moments)
