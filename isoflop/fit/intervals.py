"""What intervals are made of: pooled noise, quantiles, the model-error term, and the way out of the logarithm."""

import math
import sys
from dataclasses import dataclass

from scipy.special import ndtri, stdtrit

Interval = tuple[float, float]

# Standard deviation, in decades, of what the residuals of a sweep cannot show: at the edge of the fitted budgets,
# and per decade beyond it: from a study of 13 published sweeps, good to about 30 % (docs/decisions.md).
MODEL_ERROR_DECADES = 0.04
MODEL_ERROR_PER_DECADE = 0.08


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


def student_quantile(level: float, degrees_of_freedom: float) -> float:
    """Half-width, in standard errors, of a two-sided Student-t interval at `level`, 0 < level < 1."""
    # The lower tail keeps levels next to 1 finite.
    return -float(stdtrit(degrees_of_freedom, (1 - level) / 2))


def model_half_width(extrapolation_decades: float, level: float) -> float:
    """Half-width, decades, of the model error alone that far beyond the fitted budgets, at `level`."""
    sd = math.hypot(MODEL_ERROR_DECADES, MODEL_ERROR_PER_DECADE * extrapolation_decades)
    return -float(ndtri((1 - level) / 2)) * sd


def ten_to(decades: float) -> float | None:
    """10 to the power of `decades`; None where a float cannot hold it."""
    if not sys.float_info.min_10_exp <= decades <= sys.float_info.max_10_exp:
        return None
    return float(10.0**decades)


def log_interval(centre: float, half_width: float) -> Interval | None:
    """10 to the power of centre -+ half_width, both in decades; None where a float cannot hold an end."""
    low, high = ten_to(centre - half_width), ten_to(centre + half_width)
    return None if low is None or high is None else (low, high)
