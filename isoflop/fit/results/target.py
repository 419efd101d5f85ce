"""Of one budget asked for: the frontier read there, forecasts checked, runs suggested."""

from dataclasses import dataclass

from isoflop.fit.intervals import Interval


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
        loss: nats per token; None while no loss law is fitted.
        loss_ci_statistical, loss_ci, loss_model_error: as of N_opt, nats per token.
        estimator: whose numbers these are.
        extrapolation_decades: beyond the largest (or below the smallest) fitted budget; 0 inside.
        credible: whether the sweep's own scorecard reaches as far; None where it could not be made.
        bands: which sizes are nearly as good.
        loss_credible: as `credible`, of the loss.
        n_opt_shrunk, d_opt_shrunk: a second reading, with the slope beyond the largest fitted budget shrunk towards
            published exponents (docs/fitting.md); None up to that budget.
    """

    budget_flops: float
    n_opt: float | None
    n_opt_ci_statistical: Interval | None
    n_opt_ci: Interval | None
    n_opt_model_error: float | None
    d_opt: float | None
    d_opt_ci: Interval | None
    loss: float | None
    loss_ci_statistical: Interval | None
    loss_ci: Interval | None
    loss_model_error: float | None
    tokens_per_param: float | None
    estimator: str
    extrapolation_decades: float | None
    credible: bool | None = None
    bands: tuple[Band, ...] = ()
    loss_credible: bool | None = None
    n_opt_shrunk: float | None = None
    d_opt_shrunk: float | None = None


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
        loss, loss_ci, loss_seen: likewise, nats per token; seen near that budget's best run.
        loss_model_error: half-width of the model error in `loss_ci` alone.
        loss_held: as `held`, of the loss; None without a forecast.
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
    loss_model_error: float | None = None
    loss_held: bool | None = None


@dataclass(frozen=True)
class Suggestion:
    """A run worth training, after those suggested before it.

    Attributes:
        target_flops: the budget that it is to tell of.
        budget_flops: planned FLOPs of the run, the budget it belongs to.
        n_params, n_tokens: size, and the tokens that the budget buys at it.
        opens_budget: whether it belongs to a budget that the sweep does not have yet; its runs go together.
        half_width_before, half_width: of the interval of log10 N_opt at the target, statistical and model error,
            decades, without and with this run (with all runs of a budget that is opened).
        half_width_statistical: the statistical part with it.
        device_hours: that it is estimated to take; None where no device is known.
    """

    target_flops: float
    budget_flops: float
    n_params: float
    n_tokens: float
    opens_budget: bool
    half_width_before: float
    half_width: float
    half_width_statistical: float
    device_hours: float | None = None
