"""Floors of valleys, and the straight lines of log10 optimum on log10 C through them, with their errors."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.intervals import Noise

Covariance = tuple[tuple[float, float], tuple[float, float]]
NO_ERRORS: Covariance = ((0.0, 0.0), (0.0, 0.0))
MIN_PROFILES = 2


class PowerLaw(Protocol):
    """An optimum as a power law of C, in decades."""

    def at(self, log_c: float) -> tuple[float, float]:
        """log10 of the optimum at log10 C, and its variance, decades^2."""
        ...

    @property
    def exponent(self) -> tuple[float, float]:
        """The slope and its variance."""
        ...


@dataclass(frozen=True)
class Line:
    """log10 optimum = middle + slope (log10 C - log_c_mean); covariance of (middle, slope), decades^2."""

    middle: float
    slope: float
    covariance: Covariance
    log_c_mean: float

    def at(self, log_c: float) -> tuple[float, float]:
        """See `PowerLaw`."""
        lever = log_c - self.log_c_mean
        (var_middle, cov), (_, var_slope) = self.covariance
        # Rounding can take the sum a hair below zero where it nearly cancels.
        variance = max(var_middle + 2 * cov * lever + var_slope * lever**2, 0.0)
        return self.middle + self.slope * lever, variance

    def plus(self, covariance: Covariance) -> "Line":
        """The same line with further errors, independent of its own."""
        errors = as_covariance(np.array(self.covariance) + np.array(covariance))
        return dataclasses.replace(self, covariance=errors)

    @property
    def exponent(self) -> tuple[float, float]:
        """See `PowerLaw`."""
        return self.slope, self.covariance[1][1]


@dataclass(frozen=True)
class Mixture:
    """(1 - weight) surface + weight valley: an estimate between two, whose error holds their disagreement."""

    surface: PowerLaw
    valley: PowerLaw
    weight: float

    def at(self, log_c: float) -> tuple[float, float]:
        """See `PowerLaw`."""
        return self._mix(self.surface.at(log_c), self.valley.at(log_c))

    @property
    def exponent(self) -> tuple[float, float]:
        """See `PowerLaw`."""
        return self._mix(self.surface.exponent, self.valley.exponent)

    def as_line(self, log_c_mean: float) -> Line:
        """The same as one line about `log_c_mean`: value and variance are a straight line and a parabola in log10 C."""
        (middle, variance), (above, at_above), (_, at_below) = (self.at(log_c_mean + step) for step in (0.0, 1.0, -1.0))
        # of exact data the difference is rounding, and may be below zero
        cov, var_slope = (at_above - at_below) / 4, max((at_above + at_below) / 2 - variance, 0.0)
        return Line(middle, above - middle, ((variance, cov), (cov, var_slope)), log_c_mean)

    def _mix(self, surface: tuple[float, float], valley: tuple[float, float]) -> tuple[float, float]:
        w = self.weight
        value = (1 - w) * surface[0] + w * valley[0]
        apart = surface[0] - valley[0]
        return value, (1 - w) * surface[1] + w * valley[1] + w * (1 - w) * apart**2


def as_covariance(matrix: np.ndarray) -> Covariance:
    """A 2x2 array as plain numbers."""
    (a, b), (c, d) = matrix.tolist()
    return (a, b), (c, d)


@dataclass(frozen=True)
class Floor:
    """The minimum of a convex parabola, wherever it lies.

    Attributes:
        x: decades.
        loss: nats.
        spread: standard error of `x` per unit of residual standard deviation, decades per nat.
        loss_spread: the same of `loss`.
    """

    x: float
    loss: float
    spread: float
    loss_spread: float


class BudgetFloor(NamedTuple):
    """The floor of one budget's valley on log10 N and on log10 D."""

    budget_flops: float
    on_params: Floor
    on_tokens: Floor


def fit_lines(floors: Sequence[BudgetFloor], noise: Noise | None) -> tuple[Line, Line] | None:
    """log10 N_opt and log10 D_opt over log10 C through `floors`; None with fewer than two distinct budgets."""
    log_c = np.array([math.log10(floor.budget_flops) for floor in floors])
    if noise is None or len(floors) < MIN_PROFILES or log_c[0] == log_c[-1]:
        return None
    mean = float(log_c.mean())
    n_line = _fit_line(log_c - mean, [floor.on_params for floor in floors], noise.on_params, mean)
    d_line = _fit_line(log_c - mean, [floor.on_tokens for floor in floors], noise.on_tokens, mean)
    return n_line, d_line


def _fit_line(lever: Array, floors: Sequence[Floor], residual_sd: float, log_c_mean: float) -> Line:
    """The unweighted line through the floors at `lever` (k,), decades about their mean.

    Its errors are those of the floors, propagated: middle and slope are weighted sums of independent positions.
    """
    x = np.array([floor.x for floor in floors])
    sd = residual_sd * np.array([floor.spread for floor in floors])
    weights = np.stack([np.full(len(x), 1 / len(x)), lever / (lever @ lever)])
    middle, slope = (weights @ x).tolist()
    return Line(middle, slope, as_covariance(weights * sd**2 @ weights.T), log_c_mean)
