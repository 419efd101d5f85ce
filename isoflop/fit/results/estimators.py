"""Of one estimator: its exponents and floors, and what is its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from isoflop.fit.intervals import Interval, log_interval, student_quantile, ten_to
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.lines import Line, PowerLaw
from isoflop.fit.results.target import Target


@dataclass(frozen=True)
class Estimate:
    """One estimator's frontier; all numbers None where it found none.

    Attributes:
        exponent_a, exponent_b: N_opt ~ C^a and D_opt ~ C^b, each from its own fit; statistical intervals.
        n_opt, n_opt_ci: at the budget of each listed profile: its own floor for estimators by budget (None unless
            inside), the frontier there for those of the whole sweep.
        n_used: rows that enter.
    """

    exponent_a: float | None
    exponent_a_ci: Interval | None
    exponent_b: float | None
    exponent_b_ci: Interval | None
    n_opt: tuple[float | None, ...]
    n_opt_ci: tuple[Interval | None, ...]
    n_used: int


def law_estimate(
    laws: tuple[PowerLaw, PowerLaw], degrees_of_freedom: float, budgets: Sequence[float], level: float, n_used: int
) -> Estimate:
    """Two power laws, of N_opt and of D_opt, as an estimate: read at each budget."""
    quantile = student_quantile(level, degrees_of_freedom)
    read = [laws[0].at(math.log10(budget)) for budget in budgets]
    (a, a_ci), (b, b_ci) = (exponent_interval(law, quantile) for law in laws)
    return Estimate(
        exponent_a=a,
        exponent_a_ci=a_ci,
        exponent_b=b,
        exponent_b_ci=b_ci,
        n_opt=tuple(ten_to(value) for value, _ in read),
        n_opt_ci=tuple(log_interval(value, quantile * math.sqrt(variance)) for value, variance in read),
        n_used=n_used,
    )


def exponent_interval(law: PowerLaw, quantile: float) -> tuple[float, Interval]:
    """The exponent of a power law, and its interval of `quantile` standard errors to either side."""
    value, variance = law.exponent
    half = quantile * math.sqrt(max(0.0, variance))  # rounding, where losses are all equal
    return value, (value - half, value + half)


@dataclass(frozen=True)
class SurfaceEstimate:
    """L = E + A N^-alpha + B D^-beta (N parameters, D tokens) and its frontier.

    Attributes:
        estimate: the frontier; C / D as the rows have it, which is 6 N for most.
        law: the surface itself.
        residuals: `huber`, `squares` or `absolute`: what of the residuals of log loss is minimised.
        objective: its sum over rows.
        lack_of_fit_f, lack_of_fit_p: F of least squares against the joint valley, which has a floor per budget and a
            ridge of its own, and the chance of as much under the law; None where that valley is not determined.
        at_bound: whether an exponent ended at the edge of what was searched.
        e_ci, a_ci, b_ci, alpha_ci, beta_ci: statistical intervals of E, A, B (by their logarithms), alpha and beta;
            None beyond the range of a float.
    """

    estimate: Estimate
    law: SurfaceLaw
    residuals: str
    objective: float
    lack_of_fit_f: float | None
    lack_of_fit_p: float | None
    at_bound: bool
    e_ci: Interval | None = None
    a_ci: Interval | None = None
    b_ci: Interval | None = None
    alpha_ci: Interval | None = None
    beta_ci: Interval | None = None


@dataclass(frozen=True)
class JointEstimate:
    """The joint skewed valley shrunk towards the surface.

    Attributes:
        valley_weight: of the valley against the surface, 0 to 1.
        exponent_a_valley, exponent_a_surface: what is mixed.
        below, above: exponents of the loss on the side of small and of large sizes; equal in a symmetric valley.
        floor_scatter: decades, of the floors about the ridge beyond their errors.
        residual_sd: nats.
    """

    estimate: Estimate
    valley_weight: float
    exponent_a_valley: float
    exponent_a_surface: float
    below: float
    above: float
    floor_scatter: float
    residual_sd: float


@dataclass(frozen=True)
class LossLaw:
    """L_opt(C) = e + k C^-gamma, nats per token.

    Attributes:
        log_k: natural logarithm of k, which a float may not hold.
        source: `floors` of the joint valley, or the `surface`.
    """

    e: float
    log_k: float
    gamma: float
    gamma_ci: Interval | None
    source: str


@dataclass(frozen=True)
class Recommended:
    """The estimate to act on.

    Attributes:
        estimator: `joint`, `parabola` or `surface`.
        reason: why this one, in one sentence.
        window_decades: rows farther than this from their budget's best run were left out; None without a window.
        outliers: positions, in the caller's columns, of rows that no smooth valley explains.
        n_line, d_line: log10 N_opt and log10 D_opt over log10 C, with their errors.
        degrees_of_freedom: of their intervals.
        fitted_budgets: the smallest and the largest with rows in it, FLOPs.
        readings: at each budget with rows in it.
        loss_law: None where none could be fitted.
    """

    estimator: str
    reason: str
    estimate: Estimate
    window_decades: float | None
    outliers: tuple[int, ...]
    n_line: Line
    d_line: Line
    degrees_of_freedom: float
    fitted_budgets: tuple[float, float]
    readings: tuple[Target, ...]
    loss_law: LossLaw | None


@dataclass(frozen=True)
class Estimators:
    """Every estimator on the same rows, side by side; None where the rows do not determine one.

    Attributes:
        envelope: of the runs' last points (approach 1); None without training curves.
        envelope_unannealed: of points on the way, whose schedule had not ended: to look at, in no verdict.
        surface_squares: the surface by least squares of the rows that it explains, where no budget has a valley.
    """

    parabola: Estimate
    robust: Estimate
    cubic: Estimate
    surface: SurfaceEstimate | None
    joint: JointEstimate | None
    recommended: Recommended | None
    envelope: Estimate | None = None
    envelope_unannealed: Estimate | None = None
    surface_squares: SurfaceEstimate | None = None
