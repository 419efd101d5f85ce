"""What a fit returns: frozen values, each number with its unit. Intervals are (low, high) or None."""

import math
from dataclasses import dataclass
from enum import StrEnum

from isoflop.finding import Finding
from isoflop.fit.line import Covariance, Line
from isoflop.fit.surface.law import SurfaceLaw

Interval = tuple[float, float]


class Vertex(StrEnum):
    """Where the floor of a profile lies among its sizes. Only `inside` enters a frontier.

    The parabola on log10 N decides. Where it says inside and the parabola on log10 D does not, the verdict is the
    latter's, told from the side of N: a floor above the largest token count is one below the smallest size.
    """

    INSIDE = "inside"
    BELOW = "below"  # the minimum lies below the smallest size: add smaller models
    ABOVE = "above"  # the minimum lies above the largest size: add larger models
    CONCAVE = "concave"  # no minimum at all: noise or an untrained edge bends the valley
    TOO_FEW = "too_few"  # fewer than 4 completed runs, or fewer than 3 distinct sizes (or token counts)


@dataclass(frozen=True)
class Profile:
    """One budget's valley: the OLS parabola of loss (nats) on log10 N, and its own on log10 D.

    Attributes:
        budget_flops: planned FLOPs, the grouping key.
        n_points: rows, replicates counted separately.
        vertex: see `Vertex`.
        n_opt, d_opt: floor of the parabola in parameters and of the D-parabola in tokens; None unless inside.
        n_opt_ci, d_opt_ci: statistical intervals, same units; None too where an end is beyond the range of a float.
        loss_opt: loss at the floor of the N-parabola, nats per token; None unless inside.
        curvature: second-order coefficient of the N-parabola, nats per decade^2; None if too few.
        rmse: sqrt(SSE / (n - 3)) of the N-parabola, nats; None if too few.
        coefficients: (c0, c1, c2) of loss = c0 + c1 x + c2 x^2, x = log10 N - x_mean; None if too few.
        x_mean: centre of x, decades.
        d_coefficients, d_mean: the same for log10 D.
    """

    budget_flops: float
    n_points: int
    vertex: Vertex
    n_opt: float | None
    n_opt_ci: Interval | None
    d_opt: float | None
    d_opt_ci: Interval | None
    loss_opt: float | None
    curvature: float | None
    rmse: float | None
    coefficients: tuple[float, float, float] | None
    x_mean: float | None
    d_coefficients: tuple[float, float, float] | None
    d_mean: float | None


@dataclass(frozen=True)
class Frontier:
    """N_opt(C) = coef_n C^exponent_a and D_opt(C) = coef_d C^exponent_b through the `inside` floors.

    Attributes:
        n_profiles: budgets used.
        log_c_mean: mean of log10 C over the used budgets.
        log_n_covariance, log_d_covariance: 2x2 covariance of (intercept, slope) of log10 N_opt (D_opt) on
            log10 C - log_c_mean, decades^2, from the residuals of this fit alone. For bands.
        degrees_of_freedom: of the pooled residual variance; at least 1 per budget used.
    """

    exponent_a: float
    exponent_a_ci: Interval
    exponent_b: float
    exponent_b_ci: Interval
    coef_n: float
    coef_d: float
    n_profiles: int
    log_c_mean: float
    log_n_covariance: Covariance
    log_d_covariance: Covariance
    degrees_of_freedom: int

    @property
    def n_line(self) -> Line:
        """log10 N_opt over log10 C, with its errors."""
        middle = math.log10(self.coef_n) + self.exponent_a * self.log_c_mean
        return Line(middle, self.exponent_a, self.log_n_covariance, self.log_c_mean)

    @property
    def d_line(self) -> Line:
        """log10 D_opt over log10 C, with its errors."""
        middle = math.log10(self.coef_d) + self.exponent_b * self.log_c_mean
        return Line(middle, self.exponent_b, self.log_d_covariance, self.log_c_mean)


@dataclass(frozen=True)
class Band:
    """The sizes whose predicted loss is within a margin of the optimum's: valleys are flat at the floor.

    Attributes:
        margin: `noise` (one standard deviation of a repeated run), or a share of the loss: `0.1 %`, `0.5 %`, `1 %`.
        nats: the same in nats per token.
        n_params: smallest and largest such size; None beyond the range of a float.
    """

    margin: str
    nats: float
    n_params: Interval | None


@dataclass(frozen=True)
class Target:
    """The recommended frontier read at one budget; every number None without one or beyond the range of a float.

    Attributes:
        n_opt_ci_statistical: from the residuals of this fit alone.
        n_opt_ci, d_opt_ci: statistical and model error together (docs/fitting.md).
        n_opt_model_error: half-width of the model error alone, decades.
        loss, loss_ci: nats per token; None while no loss law is fitted.
        estimator: whose numbers these are.
        extrapolation_decades: beyond the largest (or below the smallest) fitted budget; 0 inside.
        credible: whether the sweep's own scorecard reaches as far; None where it could not be made.
        bands: which sizes are nearly as good.
    """

    budget_flops: float
    n_opt: float | None
    n_opt_ci_statistical: Interval | None
    n_opt_ci: Interval | None
    n_opt_model_error: float | None
    d_opt: float | None
    d_opt_ci: Interval | None
    loss: float | None
    loss_ci: Interval | None
    tokens_per_param: float | None
    estimator: str
    extrapolation_decades: float | None
    credible: bool | None = None
    bands: tuple[Band, ...] = ()


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
    """

    estimate: Estimate
    law: SurfaceLaw
    residuals: str
    objective: float
    lack_of_fit_f: float | None
    lack_of_fit_p: float | None
    at_bound: bool


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
    degrees_of_freedom: int
    fitted_budgets: tuple[float, float]
    readings: tuple[Target, ...]
    loss_law: LossLaw | None


@dataclass(frozen=True)
class Forecast:
    """One line of the scorecard: a later budget predicted from the earlier ones.

    Attributes:
        n_fitted: how many budgets were fitted, the cheapest.
        budget_flops: the budget predicted.
        decades: from the largest fitted budget to it.
        n_opt, n_opt_ci: predicted, with the interval of statistical and model error.
        n_opt_seen: floor of that budget's own parabola.
        error_decades: log10 predicted - log10 seen.
        held: whether the interval, widened by that floor's own error, holds the floor that was seen.
        loss, loss_ci, loss_seen: likewise, nats per token.
    """

    n_fitted: int
    budget_flops: float
    decades: float
    n_opt: float
    n_opt_ci: Interval
    n_opt_seen: float
    error_decades: float
    held: bool
    loss: float | None
    loss_ci: Interval | None
    loss_seen: float


@dataclass(frozen=True)
class Suggestion:
    """A run worth training, after those suggested before it.

    Attributes:
        budget_flops: planned FLOPs of the run, the budget it belongs to.
        n_params, n_tokens: size, and the tokens that the budget buys at it.
        opens_budget: whether it belongs to a budget that the sweep does not have yet; its runs go together.
        half_width_before, half_width: of the interval of log10 N_opt at the target, statistical and model error,
            decades, without and with this run (with all runs of a budget that is opened).
        half_width_statistical: the statistical part with it.
    """

    budget_flops: float
    n_params: float
    n_tokens: float
    opens_budget: bool
    half_width_before: float
    half_width: float
    half_width_statistical: float


@dataclass(frozen=True)
class Estimators:
    """Every estimator on the same rows, side by side; None where the rows do not determine one."""

    parabola: Estimate
    robust: Estimate
    cubic: Estimate
    surface: SurfaceEstimate | None
    joint: JointEstimate | None
    recommended: Recommended | None


@dataclass(frozen=True)
class SweepFit:
    """Profiles, frontier, every estimator, targets and what to make of them.

    Attributes:
        level: nominal coverage of every interval.
        outlook: the recommended estimate at its largest budget and at ten times that, asked for or not.
        suggested: runs worth training next, in this order.
        credible_decades: how far beyond its budgets the scorecard shows the sweep to see; None without forecasts.
    """

    level: float
    profiles: tuple[Profile, ...]
    frontier: Frontier | None
    estimators: Estimators
    targets: tuple[Target, ...]
    outlook: tuple[Target, ...]
    scorecard: tuple[Forecast, ...]
    credible_decades: float | None
    suggested: tuple[Suggestion, ...]
    findings: tuple[Finding, ...]
