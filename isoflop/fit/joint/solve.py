"""The joint skewed valley fitted from where the surface lies."""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.fit.joint.objective import LN10, N_PARAMETERS, Axis, JointObjective
from isoflop.fit.joint.ridge import Scatter, allow_for_scatter
from isoflop.fit.line import Line, as_covariance
from isoflop.fit.newton import minimise
from isoflop.fit.noise import inverse_information
from isoflop.fit.parabola import Array

# Prior standard deviation of ln al and ln be about the surface's, and the range these are first brought into.
PRIOR_SD = 0.5
_LOWEST_ANCHOR, _HIGHEST_ANCHOR = 0.03, 2.0
_ONE = np.arange(1)


@dataclass(frozen=True)
class Start:
    """Where a surface puts the valley: its ridge, ln depth at the mean budget, and its exponents on either side.

    Attributes:
        ridge: log10 optimum over log10 C.
        log_depth: ln(al A N_opt^-al), nats, at `ridge.log_c_mean`.
        below, above: exponents of the loss at too small and at too large sizes (or token counts).
    """

    ridge: Line
    log_depth: float
    below: float
    above: float


@dataclass(frozen=True)
class JointValley:
    """The valley at its optimum.

    Attributes:
        theta: (6,) see `JointObjective`.
        line: log10 optimum over log10 C as the rows determine it, with the errors of their noise.
        ridge: the same allowing for scattered floors.
        scatter: of the floors about the ridge.
        residual: (n,) about the budgets' floors, nats.
        floors: (k,) loss at the ridge of each budget, nats.
        sse: weighted squared residuals plus the penalty of the shape, nats^2.
        degrees_of_freedom: rows less budgets less six.
        strength: of the penalty that holds the shape near the surface's, nats^2.
    """

    theta: Array
    line: Line
    ridge: Line
    scatter: Scatter
    residual: Array
    floors: Array
    sse: float
    degrees_of_freedom: int
    strength: float

    def about(self, log_c_mean: float) -> Array:
        """`theta` for budgets about another mean."""
        theta = self.theta.copy()
        moved = log_c_mean - self.line.log_c_mean
        theta[0] += theta[1] * moved
        theta[2] -= theta[3] * moved
        return theta


def solve_valley(
    axis: Axis, start: Start, *, correlation: Array | None = None, near: JointValley | None = None
) -> JointValley | None:
    """The valley through the rows of `axis`; None where there are too few, or no finite optimum.

    `correlation` (n, n) of the rows' errors, where they share trunks; `near`, the valley of nearly the same rows.
    """
    degrees_of_freedom = len(axis.x) - axis.n_budgets - N_PARAMETERS
    if degrees_of_freedom < 1:
        return None
    theta = _first(start)
    free = JointObjective(axis, theta[4:], 0.0)
    misfit = 2 * float(free.evaluate(theta[None], _ONE)[0][0])
    if not math.isfinite(misfit):
        return None
    strength = misfit / (degrees_of_freedom + 2) / PRIOR_SD**2
    problem = JointObjective(axis, theta[4:], strength)
    thetas, values = minimise(problem, near.about(axis.log_c_mean)[None] if near else theta[None])
    if not np.isfinite(values).all():
        return None
    residual = problem.evaluate(thetas, _ONE)[1][0][0]
    variance = 2 * float(values[0]) / degrees_of_freedom
    jacobian = problem.jacobian(thetas, _ONE)[0]
    covariance = variance * inverse_information(
        jacobian * np.sqrt(axis.weights), correlation, strength * np.diag([0, 0, 0, 0, 1.0, 1.0])
    )
    p, q = thetas[0, :2].tolist()
    line = Line(p, q, as_covariance(covariance[:2, :2]), axis.log_c_mean)
    ridge, scatter = allow_for_scatter(line, axis, jacobian[0], residual, (variance, degrees_of_freedom))
    above = axis.loss - residual - problem.valley(thetas)[0]
    floors = np.bincount(axis.group, above) / np.bincount(axis.group)
    return JointValley(
        theta=thetas[0],
        line=line,
        ridge=ridge,
        scatter=scatter,
        residual=residual,
        floors=floors,
        sse=2 * float(values[0]),
        degrees_of_freedom=degrees_of_freedom,
        strength=strength,
    )


def _first(start: Start) -> Array:
    below, above = np.clip([start.below, start.above], _LOWEST_ANCHOR, _HIGHEST_ANCHOR)
    # Along the ridge of an additive surface the depth falls as N_opt^-al, for C = 6 N D as C^-(al be / (al + be)).
    decay = LN10 * below * start.ridge.slope
    return np.array([start.ridge.middle, start.ridge.slope, start.log_depth, decay, math.log(below), math.log(above)])
