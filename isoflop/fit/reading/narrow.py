"""Two second opinions on a forecast: the estimate near the floors alone, and a slope shrunk towards published ones."""

import math
from dataclasses import dataclass

from isoflop.fit.estimators.choice import JOINT, Choice, choose_again
from isoflop.fit.intervals import ten_to
from isoflop.fit.rows import in_window

# The window of the second opinion, decades about each budget's best run: what `rows.in_window` was chosen with.
NARROW_DECADES = 0.6
# Exponents a of published sweeps lie about 0.5, with a standard deviation of 0.1 (docs/fitting.md, Second readings).
PUBLISHED_EXPONENT, PUBLISHED_SD = 0.5, 0.1
# What the slope beyond the largest budget differs by from that of the fitted ones, standard deviation: the model error.
SLOPE_ERROR = 0.08


def within_window(choice: Choice) -> Choice | None:
    """The same estimate from the runs near their budget's best; None where the grids reach no farther.

    Weights and runs set aside are those of `choice`, so that only the far sizes make a difference.
    """
    if choice.estimator != JOINT:
        return None
    near = in_window(choice.rows, NARROW_DECADES)
    return None if near.all() else choose_again(choice, near, near=choice)


@dataclass(frozen=True)
class Shrunk:
    """The optimum with the slope beyond the largest fitted budget shrunk; parameters and tokens."""

    n_opt: float | None = None
    d_opt: float | None = None


def read_shrunk(choice: Choice, log_c: float) -> Shrunk:
    """The optimum at log10 C by a slope that is the mean of the fit's and the published one, weighing by their errors.

    Up to the largest fitted budget the estimate is what it is, and there is nothing to say. Tokens move the other way,
    as far as the rows' cost of a token says.
    """
    beyond = log_c - math.log10(choice.fitted_budgets[1])
    if beyond <= 0:
        return Shrunk()
    slope, variance = choice.on_params.exponent
    moved = beyond * (shrunk_slope(slope, variance) - slope)
    log_n, log_d = choice.on_params.at(log_c)[0], choice.on_tokens.at(log_c)[0]
    return Shrunk(ten_to(log_n + moved), ten_to(log_d - choice.cost.slope * moved))


def shrunk_slope(slope: float, variance: float) -> float:
    """The posterior mean of an exponent whose prior is normal about the published one."""
    own, prior = variance + SLOPE_ERROR**2, PUBLISHED_SD**2
    return (slope * prior + PUBLISHED_EXPONENT * own) / (prior + own)
