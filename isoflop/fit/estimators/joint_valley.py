"""The joint skewed valley fitted from where the surface lies, with a ridge that allows for scattered floors."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.joint_objective import N_PARAMETERS, Axis, JointObjective
from isoflop.fit.lines import NO_ERRORS, Covariance, Line, as_covariance
from isoflop.fit.newton import minimise
from isoflop.fit.noise import inverse_information
from isoflop.fit.valley import LN10, ValleyShape

# Prior standard deviation of ln al and ln be about the surface's, and the range these are first brought into.
PRIOR_SD = 0.5
_LOWEST_ANCHOR, _HIGHEST_ANCHOR = 0.03, 2.0
_ONE = np.arange(1)
# Newton steps to the scatter, and how close (relative) is close enough.
_STEPS, _CLOSE = 100, 1e-10
# Floors whose variances differ by more than this are known or unknown: there is no scatter to speak of.
_MOST_UNEQUAL = 1e12


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
class Scatter:
    """How far floors lie off one power law.

    Attributes:
        sd: decades, of the floors about the line beyond their own errors; 0 where these explain it.
        p_value: chance of so much scatter under the errors alone (chi-squared of Cochran's Q).
        covariance: 2x2, decades^2, what the scatter adds to the errors of a line's middle and slope.
    """

    sd: float
    p_value: float
    covariance: Covariance = NO_ERRORS


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

    @property
    def shape(self) -> ValleyShape:
        """How the loss rises from the floor of any budget."""
        _, _, log_depth, decay, below, above = self.theta.tolist()
        return ValleyShape(math.exp(below), math.exp(above), log_depth, decay, self.line.log_c_mean)

    def above_floor(self, log_n: Array, log_c: Array) -> Array:
        """Loss above the floor (n,), nats, at log10 sizes and log10 budgets (n,)."""
        p, q = self.theta[:2].tolist()
        return self.shape.above_floor(LN10 * (log_n - p - q * (log_c - self.line.log_c_mean)), log_c)

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
    # A row far outside the valley may lie where the slopes of its walls leave floating point, though not its height.
    with np.errstate(over="ignore", invalid="ignore"):
        jacobian = problem.jacobian(thetas, _ONE)[0]
    if not np.isfinite(jacobian).all():
        return None
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


def allow_for_scatter(
    ridge: Line, axis: Axis, slopes: Array, residual: Array, noise: tuple[float, int]
) -> tuple[Line, Scatter]:
    """`ridge` as the line through floors that lie off it by more than their errors, and how far they do.

    Each budget's own floor is one Newton step from the ridge, at the common shape: `slopes` (n,) are the derivatives of
    the loss by the floor's position (nats per decade), `residual` (n,) nats, `noise` the variance of a row of weight 1
    and its degrees of freedom. A random effect per budget (Paule and Mandel 1982, J. Res. NBS 87) is estimated from the
    spread of these steps; the line is then fitted to all budgets more evenly, and its covariance gains what the scatter
    adds. Without excess scatter nothing changes.
    """
    weights, group = axis.weights, axis.group
    information = np.bincount(group, weights * slopes**2)
    if len(information) < 3 or noise[0] <= 0 or (information <= 0).any():
        return ridge, Scatter(0.0, 1.0)
    step = np.bincount(group, weights * slopes * residual) / information
    lever = axis.t[np.unique(group, return_index=True)[1]]
    squares, between = float(weights @ residual**2), float(information @ step**2)
    own = _within(noise, squares, between, len(step)) / information
    if own.max() > _MOST_UNEQUAL * own.min():
        return ridge, Scatter(0.0, 1.0)
    excess = _excess(lever, step, own)
    _, without, residual_steps = _line(lever, step, own)
    p_value = float(chdtrc(len(step) - 2, float((residual_steps**2 / own).sum())))
    if excess == 0:
        return ridge, Scatter(0.0, p_value)
    (middle, slope), covariance, _ = _line(lever, step, own + excess)
    added = as_covariance(covariance - without)
    line = Line(ridge.middle + middle, ridge.slope + slope, ridge.covariance, ridge.log_c_mean).plus(added)
    return line, Scatter(math.sqrt(excess), p_value, added)


def _within(noise: tuple[float, int], squares: float, between: float, n_floors: int) -> float:
    """The variance of rows about floors of their own: what scatters the floors is no noise of the rows."""
    variance, degrees_of_freedom = noise
    left = degrees_of_freedom - (n_floors - 2)
    if left < 1:
        return variance
    return float(np.clip((squares - between) / left, variance / _MOST_UNEQUAL, variance))


def _line(lever: Array, step: Array, variances: Array) -> tuple[tuple[float, float], Array, Array]:
    """The weighted line through `step` (k,) over `lever`: middle and slope, their covariance, residuals (k,)."""
    w = 1 / variances
    total, first, second = float(w.sum()), float(w @ lever), float(w @ lever**2)
    level, slant = float(w @ step), float(w @ (lever * step))
    determinant = total * second - first**2
    middle, slope = (second * level - first * slant) / determinant, (total * slant - first * level) / determinant
    residual = step - middle - slope * lever
    covariance = np.array([[second, -first], [-first, total]]) / determinant
    return (middle, slope), covariance, residual


def _excess(lever: Array, step: Array, own: Array) -> float:
    """The variance to add to each floor's own so that Q is what it should be, k - 2; 0 if it is no more already."""
    excess, freedom = 0.0, len(step) - 2
    for _ in range(_STEPS):
        variances = own + excess
        squares = _line(lever, step, variances)[2] ** 2
        over = float((squares / variances).sum()) - freedom
        if over <= _CLOSE * freedom:
            break
        # Q falls and flattens with the excess: Newton's steps from below stay below
        excess += over / float((squares / variances**2).sum())
    return excess
