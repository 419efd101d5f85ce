"""The frontier read at one budget, with both kinds of error."""

import math

from isoflop.fit.intervals import log_interval, model_half_width, student_quantile, ten_to
from isoflop.fit.types import Covariance, Frontier, Target

ESTIMATOR = "parabola"


def read_target(frontier: Frontier, fitted_budgets: tuple[float, float], budget_flops: float, level: float) -> Target:
    """N_opt and D_opt at `budget_flops`, with intervals at `level`.

    `fitted_budgets` are the smallest and the largest budget of the frontier, FLOPs. The full intervals add, in
    quadrature, the t-interval of the line and the normal interval of the model error.
    """
    log_c, low, high = (math.log10(budget) for budget in (budget_flops, *fitted_budgets))
    beyond = max(low - log_c, log_c - high, 0.0)
    lever = log_c - frontier.log_c_mean
    log_n = math.log10(frontier.coef_n) + frontier.exponent_a * log_c
    log_d = math.log10(frontier.coef_d) + frontier.exponent_b * log_c
    quantile = student_quantile(level, frontier.degrees_of_freedom)
    n_half = quantile * _standard_error(frontier.log_n_covariance, lever)
    d_half = quantile * _standard_error(frontier.log_d_covariance, lever)
    model_half = model_half_width(beyond, level)
    return Target(
        budget_flops=budget_flops,
        n_opt=ten_to(log_n),
        n_opt_ci_statistical=log_interval(log_n, n_half),
        n_opt_ci=log_interval(log_n, math.hypot(n_half, model_half)),
        d_opt=ten_to(log_d),
        d_opt_ci=log_interval(log_d, math.hypot(d_half, model_half)),
        loss=None,
        loss_ci=None,
        tokens_per_param=ten_to(log_d - log_n),
        estimator=ESTIMATOR,
        extrapolation_decades=beyond,
    )


def unanswered_target(budget_flops: float) -> Target:
    """The target of a fit without a frontier: the question, and None for every answer."""
    return Target(
        budget_flops=budget_flops,
        n_opt=None,
        n_opt_ci_statistical=None,
        n_opt_ci=None,
        d_opt=None,
        d_opt_ci=None,
        loss=None,
        loss_ci=None,
        tokens_per_param=None,
        estimator=ESTIMATOR,
        extrapolation_decades=None,
    )


def _standard_error(covariance: Covariance, lever: float) -> float:
    """Of intercept + slope x lever, decades."""
    (var_middle, cov), (_, var_slope) = covariance
    # Rounding can take the sum a hair below zero where it nearly cancels.
    return math.sqrt(max(var_middle + 2 * cov * lever + var_slope * lever**2, 0.0))
