"""The ridge when floors scatter about a power law by more than the noise of their runs explains."""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from isoflop.fit.joint.objective import Axis
from isoflop.fit.line import Line, as_covariance
from isoflop.fit.parabola import Array

# Bisection of the scatter: enough halvings for double precision.
_HALVINGS = 60


@dataclass(frozen=True)
class Scatter:
    """How far floors lie off one power law.

    Attributes:
        sd: decades, of the floors about the line beyond their own errors; 0 where these explain it.
        p_value: chance of so much scatter under the errors alone (chi-squared of Cochran's Q).
    """

    sd: float
    p_value: float


def allow_for_scatter(ridge: Line, axis: Axis, slopes: Array, residual: Array, variance: float) -> tuple[Line, Scatter]:
    """`ridge` as the line through floors that lie off it by more than their errors, and how far they do.

    Each budget's own floor is one Newton step from the ridge, at the common shape: `slopes` (n,) are the derivatives of
    the loss by the floor's position (nats per decade), `residual` (n,) nats, `variance` that of a row of weight 1. A
    random effect per budget (Paule and Mandel 1982, J. Res. NBS 87) is estimated from the spread of these steps; the
    line is then fitted to all budgets more evenly, and its covariance gains what the scatter adds. Without excess
    scatter nothing changes.
    """
    weights, group = axis.weights, axis.group
    information = np.bincount(group, weights * slopes**2)
    if len(information) < 3 or variance <= 0 or (information <= 0).any():
        return ridge, Scatter(0.0, 1.0)
    step = np.bincount(group, weights * slopes * residual) / information
    lever = np.array([axis.t[group == k][0] for k in range(len(information))])
    design = np.column_stack([np.ones(len(lever)), lever])
    own = variance / information
    excess = _excess(design, step, own)
    scatter = Scatter(float(np.sqrt(excess)), float(chdtrc(len(step) - 2, _spread(design, step, own))))
    if excess == 0:
        return ridge, scatter
    shift, covariance = _line(design, step, own + excess)
    _, without = _line(design, step, own)
    errors = np.array(ridge.covariance) + covariance - without
    line = Line(ridge.middle + shift[0], ridge.slope + shift[1], as_covariance(errors), ridge.log_c_mean)
    return line, scatter


def _line(design: Array, step: Array, variances: Array) -> tuple[Array, Array]:
    covariance: Array = np.asarray(np.linalg.inv((design / variances[:, None]).T @ design), dtype=np.float64)
    return covariance @ (design.T @ (step / variances)), covariance


def _spread(design: Array, step: Array, variances: Array) -> float:
    """Cochran's Q: weighted squares about the line."""
    coefficients, _ = _line(design, step, variances)
    return float(((step - design @ coefficients) ** 2 / variances).sum())


def _excess(design: Array, step: Array, own: Array) -> float:
    """The variance to add to each floor's own so that Q is what it should be, k - 2; 0 if it is no more already."""
    freedom = len(step) - 2
    if _spread(design, step, own) <= freedom:
        return 0.0
    low, high = 0.0, float(((step - step.mean()) ** 2).sum())
    while _spread(design, step, own + high) > freedom:
        high *= 4
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _spread(design, step, own + middle) > freedom else (low, middle)
    return high
