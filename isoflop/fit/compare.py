"""Two fits against each other: the difference of exponents, and of N_opt at a budget, with intervals."""

import math
from dataclasses import dataclass

from isoflop.fit.intervals import (
    Interval,
    decades_beyond,
    log_interval,
    model_half_width,
    pooled_freedom,
    student_quantile,
    ten_to,
)
from isoflop.fit.lines import Line
from isoflop.fit.results.estimators import Recommended
from isoflop.fit.results.sweep_fit import SweepFit


@dataclass(frozen=True)
class OptimumRatio:
    """N_opt of one fit over that of another at one budget.

    Attributes:
        ratio_ci_statistical: from the residuals of both fits.
        ratio_ci: with the model error of both.
    """

    budget_flops: float
    ratio: float | None
    ratio_ci_statistical: Interval | None
    ratio_ci: Interval | None


@dataclass(frozen=True)
class Comparison:
    """What one fit says less what another says, both by their recommended estimates.

    Attributes:
        exponent_a, exponent_b: differences, with statistical intervals (Welch's degrees of freedom).
        ratios: at each budget asked for.
    """

    exponent_a: float
    exponent_a_ci: Interval
    exponent_b: float
    exponent_b_ci: Interval
    ratios: tuple[OptimumRatio, ...]


def compare_fits(one: SweepFit, other: SweepFit, budgets: tuple[float, ...]) -> Comparison | None:
    """`one` against `other` at `budgets`, FLOPs; None where either has no recommended estimate.

    The runs of the two fits are taken to be independent. Intervals are at the level of `one`.
    """
    mine, theirs = one.estimators.recommended, other.estimators.recommended
    if mine is None or theirs is None:
        return None
    a, a_ci = _difference(mine.n_line, theirs.n_line, mine, theirs, one.level)
    b, b_ci = _difference(mine.d_line, theirs.d_line, mine, theirs, one.level)
    ratios = tuple(_ratio(mine, theirs, budget, one.level) for budget in budgets)
    return Comparison(a, a_ci, b, b_ci, ratios)


def common_budget(one: SweepFit, other: SweepFit) -> float | None:
    """The middle, in log C, of the budgets that both fits cover, or of the gap between them: where neither is far."""
    mine, theirs = one.estimators.recommended, other.estimators.recommended
    if mine is None or theirs is None:
        return None
    low = max(mine.fitted_budgets[0], theirs.fitted_budgets[0])
    high = min(mine.fitted_budgets[1], theirs.fitted_budgets[1])
    return math.exp((math.log(low) + math.log(high)) / 2)


def _difference(
    line: Line, other: Line, mine: Recommended, theirs: Recommended, level: float
) -> tuple[float, Interval]:
    (value, variance), (subtracted, other_variance) = line.exponent, other.exponent
    half = _half((variance, mine.degrees_of_freedom), (other_variance, theirs.degrees_of_freedom), level)
    difference = value - subtracted
    return difference, (difference - half, difference + half)


def _half(one: tuple[float, float], other: tuple[float, float], level: float) -> float:
    """Half-width of the interval of a difference of independent estimates: variances with degrees of freedom."""
    total = one[0] + other[0]
    if total == 0:
        return 0.0
    return student_quantile(level, pooled_freedom(one, other)) * math.sqrt(total)


def _ratio(mine: Recommended, theirs: Recommended, budget_flops: float, level: float) -> OptimumRatio:
    log_c = math.log10(budget_flops)
    (value, variance), (subtracted, other_variance) = mine.n_line.at(log_c), theirs.n_line.at(log_c)
    half = _half((variance, mine.degrees_of_freedom), (other_variance, theirs.degrees_of_freedom), level)
    model = math.hypot(
        *(model_half_width(decades_beyond(found.fitted_budgets, log_c), level) for found in (mine, theirs))
    )
    log_ratio = value - subtracted
    return OptimumRatio(
        budget_flops,
        ten_to(log_ratio),
        log_interval(log_ratio, half),
        log_interval(log_ratio, math.hypot(half, model)),
    )
