"""The skewed valley that all budgets share: one formula, what its derivatives are, and how flat it is.

At v, the natural logarithm of size above the optimum, the loss lies above the floor by e^s h(v), with

    h(v) = (e^(-below v) - 1) / below + (e^(above v) - 1) / above

`below` and `above` are the exponents of the loss on the side of small and of large sizes: equal ones make a symmetric
valley, tiny equal ones a parabola. s is the logarithm of the depth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from isoflop.fit.arrays import Array

LN10 = math.log(10)
# Second derivatives of e^s h by (v, s, ln below, ln above) in the order that `Heights.bends` lists them.
BENDS = ("vv", "vs", "va", "vb", "ss", "sa", "sb", "aa", "bb")
# Nearer to v = 0 than this (times the exponent) the series has more digits than the difference from 1.
_SERIES_BELOW = 1e-5
# A valley of two equal exponents this small is a parabola over any range of sizes in use.
_SYMMETRIC = 1e-2
# Natural logarithms of size from the optimum that are looked at: 26 decades.
_FARTHEST, _LARGEST_LOG = 60.0, 30.0
_STEPS, _CLOSE = 60, 1e-12
# Nearer than this (times the exponents) both sides are one parabola to more digits than the difference of exponentials.
_SYMMETRIC_BELOW = 1e-5

_Number = TypeVar("_Number", float, Array)


def height(v: _Number, below: float, above: float, expm1: Callable[[_Number], _Number]) -> _Number:
    """h(v); `expm1` is math's for a number, numpy's for an array."""
    return expm1(-below * v) / below + expm1(above * v) / above


@dataclass(frozen=True)
class Heights:
    """h(v) and its derivatives for a batch of valleys, from exponentials that are taken once.

    A solver needs the exponentials for the derivatives anyway; `height` would take as many again, and round otherwise.

    Attributes:
        v: (b, n).
        below, above: (b, 1).
    """

    v: Array
    below: Array
    above: Array

    @cached_property
    def _exponentials(self) -> tuple[Array, Array]:
        return np.exp(-self.below * self.v), np.exp(self.above * self.v)

    @cached_property
    def _sides(self) -> tuple[Array, Array]:
        down, up = self._exponentials
        return self._side(down, self.below, -1), self._side(up, self.above, 1)

    def _side(self, exponential: Array, exponent: Array, sign: int) -> Array:
        """(e^(sign exponent v) - 1) / exponent, without loss of digits near v = 0."""
        v = self.v
        small = np.abs(exponent * v) < _SERIES_BELOW
        return np.where(small, sign * v * (1 + sign * exponent * v / 2), (exponential - 1) / exponent)

    @property
    def value(self) -> Array:
        """h (b, n)."""
        left, right = self._sides
        return left + right

    @property
    def slope(self) -> Array:
        """dh / dv (b, n)."""
        down, up = self._exponentials
        return up - down

    @property
    def by_exponents(self) -> tuple[Array, Array]:
        """dh / d ln below and dh / d ln above, (b, n) each."""
        (down, up), (left, right) = self._exponentials, self._sides
        return -self.v * down - left, self.v * up - right

    def bends(self) -> Array:
        """Second derivatives of e^s h, over e^s, in the order of `BENDS`: (b, 9, n)."""
        v, below, above, (down, up) = self.v, self.below, self.above, self._exponentials
        slope_left, slope_right = self.by_exponents
        second = (
            below * down + above * up, self.slope, below * v * down, above * v * up,
            self.value, slope_left, slope_right,
            below * v * v * down - slope_left, above * v * v * up - slope_right,
        )  # fmt: skip
        return np.stack(second, axis=1)


@dataclass(frozen=True)
class ValleyShape:
    """One valley at any budget.

    Attributes:
        below, above: exponents, see the module.
        log_depth, decay: s = log_depth - decay (log10 C - log_c_mean).
    """

    below: float
    above: float
    log_depth: float
    decay: float
    log_c_mean: float

    @classmethod
    def of_parabola(cls, curvature: float) -> "ValleyShape":
        """That of parabolas of one curvature, nats per decade^2."""
        return cls(_SYMMETRIC, _SYMMETRIC, math.log(curvature / (_SYMMETRIC * LN10**2)), 0.0, 0.0)

    def depth(self, log_c: Array) -> Array:
        """e^s (n,) at log10 budgets (n,), nats."""
        depth: Array = np.exp(self.log_depth - self.decay * (log_c - self.log_c_mean))
        return depth

    def above_floor(self, v: Array, log_c: Array) -> Array:
        """Loss above the floor (n,), nats; infinite where a float cannot hold it."""
        with np.errstate(over="ignore"):
            return self.depth(log_c) * height(v, self.below, self.above, np.expm1)

    def rise(self, n_params: float, n_opt: float, log_c: float) -> float:
        """Loss above the floor of one size at log10 C, nats; infinite where a float cannot hold it."""
        depth = math.exp(self.log_depth - self.decay * (log_c - self.log_c_mean))
        try:
            return depth * height(math.log(n_params / n_opt), self.below, self.above, math.expm1)
        except OverflowError:
            return math.inf

    def within(self, nats: float, log_c: float) -> tuple[float, float]:
        """How far below and above the optimum, in decades, sizes lose less than `nats`."""
        return self._distance(-1.0, nats, log_c) / LN10, self._distance(1.0, nats, log_c) / LN10

    def _distance(self, sign: float, nats: float, log_c: float) -> float:
        """Newton's method in the logarithm of the margin, which bends the other way: every step stays short of it."""
        below, above = self.below, self.above
        margin = math.log(nats) - self.log_depth + self.decay * (log_c - self.log_c_mean)
        distance = math.exp(min(margin - math.log(below + above) + math.log(2), 2 * _LARGEST_LOG) / 2)
        if distance * (below + above) < _SYMMETRIC_BELOW:
            return distance
        for _ in range(_STEPS):
            distance = min(distance, _FARTHEST)
            v = sign * distance
            value, slope = height(v, below, above, math.expm1), sign * (math.exp(above * v) - math.exp(-below * v))
            step = (math.log(value) - margin) * value / slope
            distance = max(distance - step, distance / 4)
            if abs(step) < _CLOSE * distance:
                break
        return distance
