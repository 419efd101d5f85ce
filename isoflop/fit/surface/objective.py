"""The surface on log loss under Huber's loss, with exact derivatives, for a batch of weightings of the same rows."""

import numpy as np
from numpy.typing import NDArray

from isoflop.fit.newton import Curvature, Mask
from isoflop.fit.parabola import Array

# Exponents outside are no scaling law; a fit that ends here says so.
LOWEST_EXPONENT, HIGHEST_EXPONENT = 1e-3, 3.0
# A part this far (natural log) below the largest at the centre of the data has no influence that a float could see.
_LOWEST_LOG = -60.0
N_PARAMETERS = 5


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

    def evaluate(self, theta: Array, rows: NDArray[np.intp]) -> tuple[Array, tuple[Array, ...]]:
        """Objectives; residuals (b, n) and shares (b, 3, n)."""
        log_prediction, shares = predict(theta, self._x, self._z)
        residual = self._log_loss - log_prediction
        size = np.abs(residual)
        inner = np.minimum(size, self._delta)
        return (self._rows(rows) * inner * (size - inner / 2)).sum(axis=1), (residual, shares)

    def curvature(self, theta: Array, state: tuple[Array, ...], rows: NDArray[np.intp]) -> Curvature:
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

    def _rows(self, rows: NDArray[np.intp]) -> Array:
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
