"""The ridge when floors scatter about a power law by more than the noise of their runs explains."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from isoflop.fit.joint.objective import Axis
from isoflop.fit.line import NO_ERRORS, Covariance, Line, as_covariance
from isoflop.fit.parabola import Array

# Newton steps to the scatter, and how close (relative) is close enough.
_STEPS, _CLOSE = 100, 1e-10
# Floors whose variances differ by more than this are known or unknown: there is no scatter to speak of.
_MOST_UNEQUAL = 1e12


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
