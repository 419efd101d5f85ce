"""The loss along the frontier, L_opt(C) = E + K C^-gamma: through the floors of valleys, or along the surface."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.surface import SurfaceSolution
from isoflop.fit.rows import TokenCost
from isoflop.fit.valley import LN10

# gamma of published fits lies between 0.04 and 0.3 (Hoffmann et al. 2022: 0.154 = 0.34 x 0.28 / 0.62).
_SMALLEST_GAMMA, _LARGEST_GAMMA = 0.005, 1.5
_GRID = 60
# Losses beyond this, or as far below one, have squares that a float cannot hold.
_LARGEST = 1e100
# One floor more than the law has constants.
MIN_FLOORS = 4
# Each round looks ten times closer.
_ROUNDS, _CLOSER = 9, 21


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
        log_n, log_d = (np.array([log * LN10]) for log in self.solution.law.optimum(log_c, self.cost))
        with np.errstate(over="ignore", invalid="ignore"):
            loss = float(np.exp(self.solution.log_loss(log_n, log_d))[0])
            gradient = loss * self.solution.jacobian(log_n, log_d)[0]
        return loss, _variance(gradient, self.covariance)

    def constants(self) -> tuple[float, float, float, Array]:
        """E, ln K and gamma of E + K C^-gamma, and the gradient (5,) of gamma by the scaled parameters.

        With FLOPs per token e^k N^r both parts of the loss fall as C^-gamma, gamma = alpha beta / (alpha + r beta).
        """
        law, r = self.solution.law, self.cost.slope
        total = law.alpha + r * law.beta
        gamma = law.alpha * law.beta / total
        log_n, log_d = (log * LN10 for log in law.optimum(0.0, self.cost))
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
        lever = (log_c - self.log_c_mean) * LN10
        decay = math.exp(-self.gamma * lever)
        gradient = np.array([1.0, decay, -lever * self.depth * decay])
        return self.e + self.depth * decay, _variance(gradient, self.covariance)

    @property
    def log_k(self) -> float:
        """ln K of E + K C^-gamma."""
        return math.log(self.depth) + self.gamma * self.log_c_mean * LN10


def _variance(gradient: Array, covariance: Array) -> float:
    """By the delta method; infinite where a float cannot hold it."""
    with np.errstate(over="ignore", invalid="ignore"):
        variance = float(gradient @ covariance @ gradient)
    return max(variance, 0.0) if math.isfinite(variance) else math.inf


def fit_floor_law(log_c: Array, floors: Array) -> FloorLaw | None:
    """The law through floors (k,), nats, at log10 budgets (k,), by least squares with E >= 0.

    None with fewer than four, or where the floors do not fall and flatten as a power law does.
    """
    if len(floors) < MIN_FLOORS or not 1 / _LARGEST < float(np.abs(floors).max()) < _LARGEST:
        return None
    mean = float(log_c.mean())
    lever = (log_c - mean) * LN10
    grid = np.geomspace(_SMALLEST_GAMMA, _LARGEST_GAMMA, _GRID)
    best = int(np.argmin(_linear(lever, floors, grid)[2]))
    if best in (0, _GRID - 1):
        return None
    # squares have one valley in gamma: look closer about the best until it does not move
    for _ in range(_ROUNDS):
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], _CLOSER)
        best = int(np.argmin(_linear(lever, floors, grid)[2]))
    gamma = float(grid[best])
    e, depth, squares = (float(values[0]) for values in _linear(lever, floors, grid[best : best + 1]))
    if depth <= 0:
        return None
    decay = np.exp(-gamma * lever)
    jacobian = np.column_stack([np.ones_like(lever), decay, -lever * depth * decay])
    freedom = len(floors) - 3
    inverse = np.linalg.pinv(jacobian.T @ jacobian, hermitian=True)
    covariance = np.asarray(squares / freedom * inverse, dtype=np.float64)
    return FloorLaw(e, depth, gamma, mean, covariance, freedom)


def _linear(lever: Array, floors: Array, gammas: Array) -> tuple[Array, Array, Array]:
    """E >= 0, depth and squared residuals (g,) of the best law with each gamma (g,)."""
    decay = np.exp(-np.outer(gammas, lever))
    centred = decay - decay.mean(axis=1, keepdims=True)
    depth = centred @ floors / (centred**2).sum(axis=1)
    e = floors.mean() - depth * decay.mean(axis=1)
    depth = np.where(e < 0, decay @ floors / (decay**2).sum(axis=1), depth)
    e = np.maximum(e, 0.0)
    residual = floors - e[:, None] - depth[:, None] * decay
    return e, depth, (residual**2).sum(axis=1)
