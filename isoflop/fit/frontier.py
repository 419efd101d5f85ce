"""The frontier: power laws N_opt(C) and D_opt(C) through the floors of the profiles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.fit.intervals import Noise, student_quantile, ten_to
from isoflop.fit.parabola import Array, Floor
from isoflop.fit.profile import Valley
from isoflop.fit.types import Covariance, Frontier, Interval

MIN_PROFILES = 2


@dataclass(frozen=True)
class _Line:
    """log10 of an optimum = middle + slope (log10 C - mean); covariance of (middle, slope) in decades^2."""

    middle: float
    slope: float
    covariance: Covariance


def fit_frontier(valleys: Sequence[Valley], noise: Noise | None, level: float) -> Frontier | None:
    """The frontier through the `inside` valleys, or None.

    Unweighted least squares of log10 N_opt, and of log10 D_opt, on log10 C (Hoffmann et al. 2022, arXiv 2203.15556,
    approach 2). None with fewer than 2 such budgets, or where they lie so close together that coef_n or coef_d would
    leave the range of a float.
    """
    inside = [(math.log10(valley.budget_flops), *valley.floors) for valley in valleys if valley.floors]
    if noise is None or len(inside) < MIN_PROFILES or inside[0][0] == inside[-1][0]:
        return None
    log_c, n_floors, d_floors = zip(*inside, strict=True)
    mean = float(np.mean(log_c))
    lever = np.array(log_c) - mean
    n_line = _fit_line(lever, n_floors, noise.on_params)
    d_line = _fit_line(lever, d_floors, noise.on_tokens)
    coef_n, coef_d = (ten_to(line.middle - line.slope * mean) for line in (n_line, d_line))
    if coef_n is None or coef_d is None:
        return None
    quantile = student_quantile(level, noise.degrees_of_freedom)
    return Frontier(
        exponent_a=n_line.slope,
        exponent_a_ci=_slope_interval(n_line, quantile),
        exponent_b=d_line.slope,
        exponent_b_ci=_slope_interval(d_line, quantile),
        coef_n=coef_n,
        coef_d=coef_d,
        n_profiles=len(inside),
        log_c_mean=mean,
        log_n_covariance=n_line.covariance,
        log_d_covariance=d_line.covariance,
        degrees_of_freedom=noise.degrees_of_freedom,
    )


def _fit_line(lever: Array, floors: Sequence[Floor], residual_sd: float) -> _Line:
    """The unweighted line through the floors at `lever` (k,), decades about their mean.

    Its errors are those of the floors, propagated: middle and slope are weighted sums of independent positions.
    """
    x = np.array([floor.x for floor in floors])
    sd = residual_sd * np.array([floor.spread for floor in floors])
    weights = np.stack([np.full(len(x), 1 / len(x)), lever / (lever @ lever)])
    middle, slope = (weights @ x).tolist()
    (var_middle, cov), (_, var_slope) = (weights * sd**2 @ weights.T).tolist()
    return _Line(middle, slope, ((var_middle, cov), (cov, var_slope)))


def _slope_interval(line: _Line, quantile: float) -> Interval:
    half_width = quantile * math.sqrt(line.covariance[1][1])
    return line.slope - half_width, line.slope + half_width
