"""What intervals are made of: pooled noise, quantiles, the model-error term, and the way out of the logarithm."""

import math
import sys
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from isoflop.fit.arrays import Array

Interval = tuple[float, float]

# Standard deviation, in decades, of what the residuals of a sweep cannot show: at the edge of the fitted budgets,
# and per decade beyond it: from a study of 13 published sweeps, good to about 30 % (docs/decisions.md).
MODEL_ERROR_DECADES = 0.04
MODEL_ERROR_PER_DECADE = 0.08
# The same of a loss, as a share of it per decade beyond the fitted budgets, beside the distance of two laws: from
# hold-outs of six laboratories, 0.25 to 0.42 % whichever is left out but one (docs/decisions.md).
LOSS_MODEL_ERROR_PER_DECADE = 0.004
# log10 1.05: 5 % of N, less than half a step between the sizes of any grid: nobody would build otherwise for it.
FIVE_PERCENT = 0.0212
# Standard deviation of a normal law over its median absolute deviation.
_NORMAL_OVER_MEDIAN = 1.4826


@dataclass(frozen=True)
class Noise:
    """Residual standard deviation, nats, pooled over budgets with one parabola each.

    Attributes:
        on_params, on_tokens: of the parabolas on log10 N and on log10 D.
        degrees_of_freedom: rows less three per budget; at least 1.
    """

    on_params: float
    on_tokens: float
    degrees_of_freedom: int


def normal_spread(absolute: Array) -> float:
    """Standard deviation of a normal law whose absolute deviations (n,) have this median."""
    return _NORMAL_OVER_MEDIAN * float(np.median(absolute))


def student_quantile(level: float, degrees_of_freedom: float) -> float:
    """Half-width, in standard errors, of a two-sided Student-t interval at `level`, 0 < level < 1."""
    # The lower tail keeps levels next to 1 finite.
    return -float(stdtrit(degrees_of_freedom, (1 - level) / 2))


def pooled_freedom(*parts: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of independent variances, each given with its own.

    Satterthwaite 1946, Biometrics Bulletin 2; for a difference of two means Welch 1947, Biometrika 34.
    """
    total = math.fsum(variance for variance, _ in parts)
    if not 0 < total < math.inf:
        return min(freedom for _, freedom in parts)
    # a power of two, which changes no digit, keeps the squares within the range of a float
    _, scale = math.frexp(total)
    scaled = [(math.ldexp(variance, -scale), freedom) for variance, freedom in parts]
    return math.ldexp(total, -scale) ** 2 / math.fsum(variance**2 / freedom for variance, freedom in scaled)


def decades_beyond(fitted_budgets: tuple[float, float], log_c: float) -> float:
    """How far log10 C lies outside the smallest and the largest fitted budget, decades; 0 inside."""
    low, high = (math.log10(budget) for budget in fitted_budgets)
    return max(low - log_c, log_c - high, 0.0)


def normal_quantile(level: float) -> float:
    """Half-width, in standard deviations, of a two-sided normal interval at `level`, 0 < level < 1."""
    return -float(ndtri((1 - level) / 2))


def model_half_width(extrapolation_decades: float, level: float) -> float:
    """Half-width, decades, of the model error alone that far beyond the fitted budgets, at `level`."""
    sd = math.hypot(MODEL_ERROR_DECADES, MODEL_ERROR_PER_DECADE * extrapolation_decades)
    return normal_quantile(level) * sd


def ten_to(decades: float) -> float | None:
    """10 to the power of `decades`; None where a float cannot hold it."""
    if not sys.float_info.min_10_exp <= decades <= sys.float_info.max_10_exp:
        return None
    return float(10.0**decades)


def log_interval(centre: float, half_width: float) -> Interval | None:
    """10 to the power of centre -+ half_width, both in decades; None where a float cannot hold an end."""
    low, high = ten_to(centre - half_width), ten_to(centre + half_width)
    return None if low is None or high is None else (low, high)
