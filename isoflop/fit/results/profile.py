"""Of one budget: its valley and floor; and the power law through floors."""

import math
from dataclasses import dataclass
from enum import StrEnum

from isoflop.fit.intervals import Interval
from isoflop.fit.lines import Covariance, Line


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
