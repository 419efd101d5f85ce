"""The frontier: power laws N_opt(C) and D_opt(C) through the floors of the profiles."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from isoflop.fit.intervals import Interval, Noise, student_quantile, ten_to
from isoflop.fit.line import Line, as_covariance
from isoflop.fit.parabola import Array, Floor
from isoflop.fit.results.profile import Frontier

MIN_PROFILES = 2


class BudgetFloor(NamedTuple):
    """The floor of one budget's valley on log10 N and on log10 D."""

    budget_flops: float
    on_params: Floor
    on_tokens: Floor


def fit_frontier(floors: Sequence[BudgetFloor], noise: Noise | None, level: float) -> Frontier | None:
    """The frontier through `floors`, cheapest first, or None.

    Unweighted least squares of log10 N_opt, and of log10 D_opt, on log10 C (Hoffmann et al. 2022, arXiv 2203.15556,
    approach 2). None with fewer than 2 budgets, or where they lie so close together that coef_n or coef_d would leave
    the range of a float.
    """
    lines = fit_lines(floors, noise)
    if lines is None or noise is None:
        return None
    n_line, d_line = lines
    mean = n_line.log_c_mean
    coef_n, coef_d = (ten_to(line.middle - line.slope * mean) for line in lines)
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
        n_profiles=len(floors),
        log_c_mean=mean,
        log_n_covariance=n_line.covariance,
        log_d_covariance=d_line.covariance,
        degrees_of_freedom=noise.degrees_of_freedom,
    )


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


def _slope_interval(line: Line, quantile: float) -> Interval:
    half_width = quantile * math.sqrt(line.covariance[1][1])
    return line.slope - half_width, line.slope + half_width
