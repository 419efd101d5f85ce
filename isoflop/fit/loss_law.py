"""The loss along the frontier, L_opt(C) = E + K C^-gamma: through the floors of valleys, or along the surface."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isoflop.fit.cost import TokenCost
from isoflop.fit.parabola import Array
from isoflop.fit.surface.solve import SurfaceSolution

# gamma of published fits lies between 0.04 and 0.3 (Hoffmann et al. 2022: 0.154 = 0.34 x 0.28 / 0.62).
_SMALLEST_GAMMA, _LARGEST_GAMMA = 0.005, 1.5
_GRID = 60
# One floor more than the law has constants.
MIN_FLOORS = 4
_HALVINGS = 60
_LN10 = math.log(10)


class LossReader(Protocol):
    """A law of the loss along the frontier."""

    def at(self, log_c: float) -> tuple[float, float]:
        """Loss at log10 C, nats, and its variance."""
        ...


@dataclass(frozen=True)
class SurfaceLoss:
    """The surface's loss along its own frontier."""

    solution: SurfaceSolution
    covariance: Array
    cost: TokenCost

    def at(self, log_c: float) -> tuple[float, float]:
        """See `LossReader`; at the optimum the loss does not change with N, so N's own error does not count."""
        log_n, log_d = (np.array([log * _LN10]) for log in self.solution.law.optimum(log_c, self.cost))
        loss = float(np.exp(self.solution.log_loss(log_n, log_d))[0])
        gradient = loss * self.solution.jacobian(log_n, log_d)[0]
        return loss, max(float(gradient @ self.covariance @ gradient), 0.0)

    def constants(self) -> tuple[float, float, float, Array]:
        """E, ln K and gamma of E + K C^-gamma, and the gradient (5,) of gamma by the scaled parameters.

        With FLOPs per token e^k N^r both parts of the loss fall as C^-gamma, gamma = alpha beta / (alpha + r beta).
        """
        law, r = self.solution.law, self.cost.slope
        total = law.alpha + r * law.beta
        gamma = law.alpha * law.beta / total
        log_n, log_d = (log * _LN10 for log in law.optimum(0.0, self.cost))
        log_k = float(np.logaddexp(law.log_a - law.alpha * log_n, law.log_b - law.beta * log_d))
        gradient = np.array([0.0, 0.0, 0.0, r * law.beta**2 / total**2, law.alpha**2 / total**2])
        return math.exp(law.log_e), log_k, gamma, gradient


@dataclass(frozen=True)
class FloorLaw:
    """The law through floors, about the mean budget: loss = e + depth 10^(-gamma (log10 C - log_c_mean)).

    Attributes:
        covariance: (3, 3) of (e, depth, gamma).
        degrees_of_freedom: floors less three.
    """

    e: float
    depth: float
    gamma: float
    log_c_mean: float
    covariance: Array
    degrees_of_freedom: int

    def at(self, log_c: float) -> tuple[float, float]:
        """Loss, nats, and its variance."""
        lever = (log_c - self.log_c_mean) * _LN10
        decay = math.exp(-self.gamma * lever)
        gradient = np.array([1.0, decay, -lever * self.depth * decay])
        return self.e + self.depth * decay, max(float(gradient @ self.covariance @ gradient), 0.0)

    @property
    def log_k(self) -> float:
        """ln K of E + K C^-gamma."""
        return math.log(self.depth) + self.gamma * self.log_c_mean * _LN10


def fit_floor_law(log_c: Array, floors: Array) -> FloorLaw | None:
    """The law through floors (k,), nats, at log10 budgets (k,), by least squares with E >= 0.

    None with fewer than four, or where the floors do not fall and flatten as a power law does.
    """
    if len(floors) < MIN_FLOORS:
        return None
    mean = float(log_c.mean())
    lever = (log_c - mean) * _LN10
    grid = np.geomspace(_SMALLEST_GAMMA, _LARGEST_GAMMA, _GRID)
    errors = np.array([_linear(lever, floors, gamma)[2] for gamma in grid])
    best = int(np.argmin(errors))
    if best in (0, _GRID - 1):
        return None
    gamma = _golden(lambda g: _linear(lever, floors, g)[2], float(grid[best - 1]), float(grid[best + 1]))
    e, depth, squares = _linear(lever, floors, gamma)
    if depth <= 0:
        return None
    decay = np.exp(-gamma * lever)
    jacobian = np.column_stack([np.ones_like(lever), decay, -lever * depth * decay])
    freedom = len(floors) - 3
    inverse = np.linalg.pinv(jacobian.T @ jacobian, hermitian=True)
    covariance = np.asarray(squares / freedom * inverse, dtype=np.float64)
    return FloorLaw(e, depth, gamma, mean, covariance, freedom)


def _linear(lever: Array, floors: Array, gamma: float) -> tuple[float, float, float]:
    """E >= 0, depth and squared residuals of the best law with this gamma."""
    decay = np.exp(-gamma * lever)
    centred = decay - decay.mean()
    depth = float(centred @ floors / (centred @ centred))
    e = float(floors.mean() - depth * decay.mean())
    if e < 0:
        e, depth = 0.0, float(decay @ floors / (decay @ decay))
    residual = floors - e - depth * decay
    return e, depth, float(residual @ residual)


def _golden(function: Callable[[float], float], low: float, high: float) -> float:
    """The minimum of a function with one valley between `low` and `high`."""
    ratio = (math.sqrt(5) - 1) / 2
    inner, outer = high - ratio * (high - low), low + ratio * (high - low)
    at_inner, at_outer = function(inner), function(outer)
    for _ in range(_HALVINGS):
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - ratio * (high - low)
            at_inner = function(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + ratio * (high - low)
            at_outer = function(outer)
    return (low + high) / 2
