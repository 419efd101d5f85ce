"""The loss along the frontier, L_opt(C) = E + K C^-gamma: through the floors of valleys, or along the surface.

How far it may be believed beyond the budgets is not in the law: see `reading.target_reader.read_loss`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.loss_floors import LossFloors
from isoflop.fit.estimators.parabola import ROUNDING
from isoflop.fit.estimators.surface import SurfaceSolution
from isoflop.fit.intervals import pooled_freedom
from isoflop.fit.rows import TokenCost
from isoflop.fit.valley import LN10

# gamma of published fits lies between 0.04 and 0.3 (Hoffmann et al. 2022: 0.154 = 0.34 x 0.28 / 0.62).
_SMALLEST_GAMMA, _LARGEST_GAMMA = 0.005, 1.5
_GRID = 60
# Losses beyond this, or as far below one, have squares that a float cannot hold.
_LARGEST = 1e100
# As many as the law has constants: what the runs scatter about their own floors then tells the error.
MIN_FLOORS = 3
# Floors weigh as C to this power: those of the smallest budgets are often too high (untuned rates, a short warm-up,
# few steps) and would bend the law. On hold-outs 0.5 errs less than 0 (docs/decisions.md).
WEIGHT_POWER = 0.5
# Each round looks ten times closer.
_ROUNDS, _CLOSER = 9, 21


class LossReader(Protocol):
    """A law of the loss along the frontier."""

    def at(self, log_c: float) -> tuple[float, float]:
        """Loss at log10 C, nats, and its variance."""
        ...

    def decline(self, log_c: float) -> float:
        """By what power of C the loss falls at log10 C: -d ln L / d ln C."""
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

    def decline(self, log_c: float) -> float:
        """See `LossReader`."""
        e, _, gamma, _ = self.constants()
        return gamma * (1 - e / self.at(log_c)[0])

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
class DisputedLoss(SurfaceLoss):
    """The same where another surface of the same rows differs: its distance counts as a standard error."""

    rival: SurfaceLoss

    def at(self, log_c: float) -> tuple[float, float]:
        """See `LossReader`."""
        loss, variance = super().at(log_c)
        return loss, variance + (loss - self.rival.at(log_c)[0]) ** 2


@dataclass(frozen=True)
class FloorLaw:
    """The law through floors, about the mean budget: loss = e + depth 10^(-gamma (log10 C - log_c_mean)).

    Attributes:
        covariance: (3, 3) of (e, depth, gamma); nothing of an e that ended at zero.
        degrees_of_freedom: of that.
    """

    e: float
    depth: float
    gamma: float
    log_c_mean: float
    covariance: Array
    degrees_of_freedom: float

    def at(self, log_c: float) -> tuple[float, float]:
        """Loss, nats, and its variance."""
        lever = (log_c - self.log_c_mean) * LN10
        decay = math.exp(-self.gamma * lever)
        gradient = np.array([1.0, decay, -lever * self.depth * decay])
        return self.e + self.depth * decay, _variance(gradient, self.covariance)

    def decline(self, log_c: float) -> float:
        """See `LossReader`."""
        return self.gamma * (1 - self.e / self.at(log_c)[0])

    @property
    def log_k(self) -> float:
        """ln K of E + K C^-gamma."""
        return math.log(self.depth) + self.gamma * self.log_c_mean * LN10


def _variance(gradient: Array, covariance: Array) -> float:
    """By the delta method; infinite where a float cannot hold it."""
    with np.errstate(over="ignore", invalid="ignore"):
        variance = float(gradient @ covariance @ gradient)
    return max(variance, 0.0) if math.isfinite(variance) else math.inf


def fit_floor_law(floors: LossFloors | None) -> FloorLaw | None:
    """The law through floors by least squares with E >= 0, each weighing as C^1/2.

    None with fewer than three, without a degree of freedom of their runs, where one is not positive, or where they do
    not fall and flatten as a power law does.
    """
    if floors is None or len(floors) < MIN_FLOORS or floors.freedom.sum() < 1:
        return None
    if not 1 / _LARGEST < float(floors.loss.min()) <= float(floors.loss.max()) < _LARGEST:
        return None
    log_c = floors.log_c
    mean = float(log_c.mean())
    lever = (log_c - mean) * LN10
    weights = np.exp(WEIGHT_POWER * (lever - lever[-1]))
    weights /= weights.mean()
    grid = np.geomspace(_SMALLEST_GAMMA, _LARGEST_GAMMA, _GRID)
    best = int(np.argmin(_linear(lever, floors.loss, weights, grid)[2]))
    if best in (0, _GRID - 1):
        return None
    # squares have one valley in gamma: look closer about the best until it does not move
    for _ in range(_ROUNDS):
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], _CLOSER)
        best = int(np.argmin(_linear(lever, floors.loss, weights, grid)[2]))
    gamma = float(grid[best])
    e, depth, squares = (float(values[0]) for values in _linear(lever, floors.loss, weights, grid[best : best + 1]))
    decay = np.exp(-gamma * lever)
    if depth * (decay.max() - decay.min()) <= ROUNDING * float(floors.loss.max()):
        return None
    jacobian = np.column_stack([np.ones_like(lever) if e > 0 else np.zeros_like(lever), decay, -lever * depth * decay])
    covariance, freedom = _errors(floors, weights, jacobian, squares, 3 if e > 0 else 2)
    return FloorLaw(e, depth, gamma, mean, covariance, freedom)


def _errors(
    floors: LossFloors, weights: Array, jacobian: Array, squares: float, n_constants: int
) -> tuple[Array, float]:
    """Covariance (3, 3) of the constants and its degrees of freedom.

    A floor errs by the scatter of its runs and by what the floors, whose weighted squared residuals are `squares`,
    scatter about the law beyond that.
    """
    variance, freedom = floors.noise
    left = len(floors) - n_constants
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        own = variance * floors.spread**2
        expected = float((weights * own).mean())
        excess = max(squares / left - expected, 0.0) if left else 0.0
        of_constants = np.linalg.pinv(jacobian.T @ (weights[:, None] * jacobian), hermitian=True) @ (
            jacobian.T * weights
        )
        covariance = np.asarray((of_constants * (own + excess)) @ of_constants.T, dtype=np.float64)
    if excess > 0:
        freedom = pooled_freedom((expected, freedom), (excess, left))
    return covariance, freedom


def _linear(lever: Array, floors: Array, weights: Array, gammas: Array) -> tuple[Array, Array, Array]:
    """E >= 0, depth and weighted squared residuals (g,) of the best law with each gamma (g,); mean weight 1."""
    decay = np.exp(-np.outer(gammas, lever))
    middle, level = decay @ weights / len(lever), float(weights @ floors) / len(lever)
    centred = decay - middle[:, None]
    depth = centred @ (weights * (floors - level)) / (centred**2 @ weights)
    e = level - depth * middle
    depth = np.where(e < 0, decay @ (weights * floors) / (decay**2 @ weights), depth)
    e = np.maximum(e, 0.0)
    residual = floors - e[:, None] - depth[:, None] * decay
    return e, depth, residual**2 @ weights
