"""One skewed valley for all budgets: squared errors with exact derivatives, for a batch of weightings."""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array, Indices, Mask
from isoflop.fit.newton import Curvature
from isoflop.fit.valley import BENDS, LN10, Heights

N_PARAMETERS = 6
# v = ... - ln10 (p + q t), s = k - kappa t: each parameter acts through one of the four, with a factor and power of t.
_THROUGH = (("v", -LN10, 0), ("v", -LN10, 1), ("s", 1.0, 0), ("s", -1.0, 1), ("a", 1.0, 0), ("b", 1.0, 0))
# Which second derivative an element of the Hessian comes from, with its factor and power of t.
_CHAIN = {
    (i, j): (BENDS.index(other + one), factor * other_factor, power + other_power)
    for i, (one, factor, power) in enumerate(_THROUGH)
    for j, (other, other_factor, other_power) in enumerate(_THROUGH)
    if other + one in BENDS and j <= i
}
# The valley's two exponents stay within these.
_LOWEST_LOG, _HIGHEST_LOG = math.log(1e-3), math.log(10.0)
# Depth and its decay stay where the exponential of either is a float.
_DEEPEST = 200.0


@dataclass(frozen=True)
class Axis:
    """The rows along one axis: of parameters, or of tokens.

    Attributes:
        x, t: (n,) log10 size (or tokens), and log10 budget about `log_c_mean`.
        loss: (n,) nats.
        weights: (n,) inverse variances about 1.
        group: (n,) number of each row's budget, 0 .. n_budgets - 1, ascending.
    """

    x: Array
    t: Array
    loss: Array
    weights: Array
    group: Indices
    log_c_mean: float

    @property
    def n_budgets(self) -> int:
        """Budgets with rows."""
        return int(self.group.max()) + 1


class JointObjective:
    """Half the squared errors of L_i = l_k + e^(s_i) [(e^(-al v_i) - 1)/al + (e^(be v_i) - 1)/be], a `newton.Problem`.

    v_i = ln 10 (x_i - p - q t_i) is how far size i lies from the ridge, s_i = k - kappa t_i how deep the valley is
    there; l_k is free for each budget (taken out by centring within it). Exact for an additive surface, but does not
    tie ridge, depth and floors to al and be. Parameters are (p, q, k, kappa, ln al, ln be); a penalty
    strength/2 ((ln al - anchor_0)^2 + (ln be - anchor_1)^2) holds the shape near the surface's.

    Args:
        axis: the rows.
        anchor: (2,) ln al, ln be of the surface.
        strength: of the penalty.
        weights: (b, n) of b problems; by default the axis's own, of one.
    """

    def __init__(self, axis: Axis, anchor: Array, strength: float, weights: Array | None = None) -> None:
        self._x, self._t, self._loss = axis.x, axis.t, axis.loss
        self._anchor, self._strength = anchor, strength
        self._weights = axis.weights[None] if weights is None else weights
        self._t_powers = np.stack([np.ones_like(axis.t), axis.t, axis.t**2], axis=1)
        self._counts = np.bincount(axis.group)
        self._starts = np.concatenate([[0], np.cumsum(self._counts)[:-1]])

    def evaluate(self, theta: Array, rows: Indices) -> tuple[Array, tuple[Array, ...]]:
        """Objectives; residuals about the budgets' floors (b, n)."""
        with np.errstate(over="ignore", invalid="ignore"):
            residual = self.centre(self._loss - self.valley(theta), rows)
            squares = (self._rows(rows) * residual * residual).sum(axis=1)
            penalty = self._strength * ((theta[:, 4:] - self._anchor) ** 2).sum(axis=1)
            return (squares + penalty) / 2, (residual,)

    def valley(self, theta: Array) -> Array:
        """Loss above the floor of each row's budget (b, n)."""
        depth, heights = self._parts(theta)
        return depth * heights.value

    def centre(self, values: Array, rows: Indices) -> Array:
        """`values` (b, n) less their weighted mean within each budget; budgets without weight keep theirs."""
        return self._centre(values, self._rows(rows))

    def jacobian(self, theta: Array, rows: Indices) -> Array:
        """d (loss above floor, centred) / d theta, (b, 6, n)."""
        return self._centre(self.slopes(theta), self._rows(rows)[:, None])

    def _centre(self, values: Array, weights: Array) -> Array:
        totals = np.add.reduceat(weights, self._starts, axis=-1)
        sums = np.add.reduceat(weights * values, self._starts, axis=-1)
        means = sums / np.where(totals > 0, totals, 1.0)
        centred: Array = values - np.repeat(means, self._counts, axis=-1)
        return centred

    def curvature(self, theta: Array, state: tuple[Array, ...], rows: Indices) -> Curvature:
        """Gradient, exact Hessian, and its Gauss-Newton part."""
        (residual,) = state
        weights = self._rows(rows)
        with np.errstate(over="ignore", invalid="ignore"):
            jacobian = self.jacobian(theta, rows)
            weighted = weights * residual
            gradient = -np.matmul(jacobian, weighted[:, :, None])[..., 0]
            gradient[:, 4:] += self._strength * (theta[:, 4:] - self._anchor)
            convex = np.matmul(jacobian * weights[:, None], jacobian.transpose(0, 2, 1))
            convex[:, 4, 4] += self._strength
            convex[:, 5, 5] += self._strength
            return Curvature(gradient, convex - self._bend(theta, weighted), convex)

    def clip(self, theta: Array) -> Array:
        """Exponents and depth within their bounds."""
        theta[:, 4:] = np.minimum(np.maximum(theta[:, 4:], _LOWEST_LOG), _HIGHEST_LOG)
        theta[:, 2:4] = np.minimum(np.maximum(theta[:, 2:4], -_DEEPEST), _DEEPEST)
        return theta

    def at_bound(self, theta: Array, gradient: Array) -> Mask:
        """See `newton.Problem`."""
        held = np.zeros(theta.shape, dtype=bool)
        shape, slope = theta[:, 4:], gradient[:, 4:]
        held[:, 4:] = ((shape <= _LOWEST_LOG) & (slope > 0)) | ((shape >= _HIGHEST_LOG) & (slope < 0))
        return held

    def _rows(self, rows: Indices) -> Array:
        return self._weights if len(self._weights) == 1 else self._weights[rows]

    def _parts(self, theta: Array) -> tuple[Array, Heights]:
        """Depth e^s (b, n), and the heights over it."""
        p, q, k, kappa = (theta[:, i : i + 1] for i in range(4))
        al, be = np.exp(theta[:, 4:5]), np.exp(theta[:, 5:6])
        v = LN10 * (self._x - p - q * self._t)
        return np.exp(k - kappa * self._t), Heights(v, al, be)

    def slopes(self, theta: Array) -> Array:
        """d (loss above floor) / d theta, (b, 6, n), floors held."""
        depth, heights = self._parts(theta)
        along, above = -LN10 * depth * heights.slope, depth * heights.value
        by_al, by_be = heights.by_exponents
        return np.stack((along, self._t * along, above, -self._t * above, depth * by_al, depth * by_be), axis=1)

    def _bend(self, theta: Array, weighted: Array) -> Array:
        """sum_i w_i r_i d2 (loss above floor)_i / d theta2, (b, 6, 6): chain rule through v, s, ln al, ln be."""
        depth, heights = self._parts(theta)
        moments = heights.bends() * (weighted * depth)[:, None] @ self._t_powers
        out = np.zeros((len(theta), N_PARAMETERS, N_PARAMETERS))
        for (i, j), (pair, factor, power) in _CHAIN.items():
            out[:, i, j] = out[:, j, i] = factor * moments[:, pair, power]
        return out
