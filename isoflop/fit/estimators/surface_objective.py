"""The surface on log loss under Huber's loss, with exact derivatives, for a batch of weightings; and where to start."""

import numpy as np

from isoflop.fit.arrays import Array, Indices, Mask
from isoflop.fit.newton import Curvature

# Exponents outside are no scaling law; a fit that ends here says so.
LOWEST_EXPONENT, HIGHEST_EXPONENT = 1e-3, 3.0
# A part this far (natural log) below the largest at the centre of the data has no influence that a float could see.
_LOWEST_LOG = -60.0
N_PARAMETERS = 5
# (alpha, beta) of published language-model fits lie between 0.1 and 0.7; the grid is generous either side.
GRID = np.geomspace(0.03, 1.6, 20)
# The coefficients of an exponent pair that leaves one column no part are started this far below the others.
_ABSENT = 1e-6
# Natural logarithms of a column beyond which its squares would leave the range of a float.
_FARTHEST = 150.0

_PAIRS = ((0, 1), (0, 2), (1, 2))


class SurfaceObjective:
    """sum_i w_i huber_delta(ln L_i - ln(E + A' e^(-alpha x_i) + B' e^(-beta z_i))), a `newton.Problem`.

    huber_d(r) = r^2 / 2 for |r| <= d, else d (|r| - d / 2). x, z (n,) are ln N, ln D about their means; parameters are
    (ln E, ln A', ln B', alpha, beta), with A' = A e^(-alpha mean ln N) and B' likewise.

    Args:
        weights: (b, n) of the b problems, or (1, n) for all.
    """

    def __init__(self, x: Array, z: Array, log_loss: Array, weights: Array, delta: float) -> None:
        self._x, self._z, self._log_loss, self._delta = x, z, log_loss, delta
        self._weights = weights
        self._powers = tuple(np.stack([np.ones_like(v), v, v * v], axis=1) for v in (x, z))

    def evaluate(self, theta: Array, rows: Indices) -> tuple[Array, tuple[Array, ...]]:
        """Objectives; residuals (b, n) and shares (b, 3, n)."""
        log_prediction, shares = predict(theta, self._x, self._z)
        residual = self._log_loss - log_prediction
        size = np.abs(residual)
        inner = np.minimum(size, self._delta)
        return (self._rows(rows) * inner * (size - inner / 2)).sum(axis=1), (residual, shares)

    def curvature(self, theta: Array, state: tuple[Array, ...], rows: Indices) -> Curvature:
        """Gradient, exact piecewise Hessian, and the majoriser of iteratively reweighted least squares."""
        residual, shares = state
        weights = self._rows(rows)
        size = np.abs(residual)
        psi = weights * np.minimum(np.maximum(residual, -self._delta), self._delta)
        jacobian = log_jacobian(shares, self._x, self._z)
        transposed = jacobian.transpose(0, 2, 1)
        hessian = np.matmul(jacobian * (weights * (size <= self._delta) + psi)[:, None, :], transposed)
        self._subtract_bend(hessian, psi, shares)
        convex = np.matmul(jacobian * (weights * (self._delta / np.maximum(size, self._delta)))[:, None, :], transposed)
        return Curvature(-np.matmul(jacobian, psi[:, :, None])[..., 0], hessian, convex)

    def clip(self, theta: Array) -> Array:
        """Exponents within their bounds, no part of the loss below what a float could see."""
        theta[:, :3] = np.maximum(theta[:, :3], _lowest(theta))
        theta[:, 3:] = np.minimum(np.maximum(theta[:, 3:], LOWEST_EXPONENT), HIGHEST_EXPONENT)
        return theta

    def at_bound(self, theta: Array, gradient: Array) -> Mask:
        """See `newton.Problem`."""
        held = np.empty(theta.shape, dtype=bool)
        held[:, :3] = (theta[:, :3] <= _lowest(theta)) & (gradient[:, :3] > 0)
        exponents, slopes = theta[:, 3:], gradient[:, 3:]
        held[:, 3:] = ((exponents <= LOWEST_EXPONENT) & (slopes > 0)) | ((exponents >= HIGHEST_EXPONENT) & (slopes < 0))
        return held

    def _rows(self, rows: Indices) -> Array:
        return self._weights if len(self._weights) == 1 else self._weights[rows]

    def _subtract_bend(self, hessian: Array, psi: Array, shares: Array) -> None:
        """Take off sum_i psi_i sum_j p_ij l_ij l_ij', l_ij the gradient of the logarithm of part j at row i."""
        hessian[:, 0, 0] -= (psi * shares[:, 0]).sum(axis=1)
        for part, powers in enumerate(self._powers, start=1):
            level, slope = part, part + 2
            moments = (psi * shares[:, part]) @ powers
            hessian[:, level, level] -= moments[:, 0]
            hessian[:, level, slope] += moments[:, 1]
            hessian[:, slope, level] += moments[:, 1]
            hessian[:, slope, slope] -= moments[:, 2]


def predict(theta: Array, x: Array, z: Array) -> tuple[Array, Array]:
    """ln loss (b, n) at `theta` (b, 5), and the shares (b, 3, n) of E, of size and of data in the loss."""
    logs = np.empty((len(theta), 3, len(x)))
    logs[:, 0] = theta[:, :1]
    logs[:, 1] = theta[:, 1:2] - theta[:, 3:4] * x
    logs[:, 2] = theta[:, 2:3] - theta[:, 4:5] * z
    peak = logs.max(axis=1, keepdims=True)
    shares = np.exp(logs - peak)
    total = shares.sum(axis=1, keepdims=True)
    return (peak + np.log(total))[:, 0], shares / total


def log_jacobian(shares: Array, x: Array, z: Array) -> Array:
    """d ln loss / d theta, (b, 5, n)."""
    out = np.empty((len(shares), N_PARAMETERS, len(x)))
    out[:, :3] = shares
    np.multiply(shares[:, 1], -x, out=out[:, 3])
    np.multiply(shares[:, 2], -z, out=out[:, 4])
    return out


def _lowest(theta: Array) -> Array:
    lowest: Array = theta[:, :3].max(axis=1, keepdims=True) + _LOWEST_LOG
    return lowest


def grid_starts(x: Array, z: Array, loss: Array, weights: Array) -> tuple[Array, Array]:
    """Parameters (g, 5) at each grid point, as the objective takes them, with their weighted squared errors (g,).

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
    solution: Array = np.linalg.solve(scaled, (moments * scale)[..., None])[..., 0] * scale
    return solution, np.einsum("gi,gi->g", solution, moments)
