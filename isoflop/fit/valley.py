"""How flat the valley is: which sizes lose no more than a margin."""

import math
from dataclasses import dataclass

from isoflop.fit.estimators.joint_valley import JointValley
from isoflop.fit.estimators.surface import SurfaceSolution
from isoflop.fit.lines import Line
from isoflop.fit.rows import TokenCost

_LN10 = math.log(10)
# A valley of two equal exponents this small is a parabola over any range of sizes in use.
_SYMMETRIC = 1e-2
# Natural logarithms of size from the optimum that are looked at: 26 decades.
_FARTHEST, _LARGEST_LOG = 60.0, 30.0
_STEPS, _CLOSE = 60, 1e-12
# Nearer than this (times the exponents) both sides are one parabola to more digits than the difference of exponentials.
_SYMMETRIC_BELOW = 1e-5


@dataclass(frozen=True)
class ValleyShape:
    """Loss above the floor at v, ln size above the optimum: e^s [(e^(-below v) - 1)/below + (e^(above v) - 1)/above].

    Attributes:
        log_depth, decay: s = log_depth - decay (log10 C - log_c_mean).
    """

    below: float
    above: float
    log_depth: float
    decay: float
    log_c_mean: float

    @classmethod
    def of_valley(cls, valley: JointValley) -> "ValleyShape":
        """That of the joint valley."""
        _, _, depth, decay, below, above = valley.theta.tolist()
        return cls(math.exp(below), math.exp(above), depth, decay, valley.ridge.log_c_mean)

    @classmethod
    def of_surface(cls, solution: SurfaceSolution, cost: TokenCost, n_line: Line) -> "ValleyShape":
        """That of the surface along lines of equal cost: alpha A N_opt^-alpha deep, falling as C^-(alpha a)."""
        law = solution.law
        depth = math.log(law.alpha) + law.log_a - law.alpha * n_line.middle * _LN10
        decay = law.alpha * n_line.slope * _LN10
        return cls(law.alpha, cost.slope * law.beta, depth, decay, n_line.log_c_mean)

    @classmethod
    def of_parabola(cls, curvature: float) -> "ValleyShape":
        """That of parabolas of one curvature, nats per decade^2."""
        return cls(_SYMMETRIC, _SYMMETRIC, math.log(curvature / (_SYMMETRIC * _LN10**2)), 0.0, 0.0)

    def within(self, nats: float, log_c: float) -> tuple[float, float]:
        """How far below and above the optimum, in decades, sizes lose less than `nats`."""
        return self._side(-1.0, nats, log_c) / _LN10, self._side(1.0, nats, log_c) / _LN10

    def _side(self, sign: float, nats: float, log_c: float) -> float:
        """Newton's method in the logarithm of the margin, which bends the other way: every step stays short of it."""
        margin = math.log(nats) - self.log_depth + self.decay * (log_c - self.log_c_mean)
        near, far = (self.below, self.above) if sign < 0 else (self.above, self.below)
        distance = math.exp(min(margin - math.log(self.below + self.above) + math.log(2), 2 * _LARGEST_LOG) / 2)
        if distance * (near + far) < _SYMMETRIC_BELOW:
            return distance
        for _ in range(_STEPS):
            distance = min(distance, _FARTHEST)
            value = math.expm1(near * distance) / near + math.expm1(-far * distance) / far
            slope = math.exp(near * distance) - math.exp(-far * distance)
            step = (math.log(value) - margin) * value / slope
            distance = max(distance - step, distance / 4)
            if abs(step) < _CLOSE * distance:
                break
        return distance
