"""The frontier read at one budget, with both kinds of error."""

import math
from dataclasses import dataclass

from isoflop.fit.estimators.choice import NONE, Choice
from isoflop.fit.estimators.loss_law import LossReader
from isoflop.fit.intervals import (
    LOSS_MODEL_ERROR_PER_DECADE,
    Interval,
    decades_beyond,
    log_interval,
    model_half_width,
    normal_quantile,
    student_quantile,
    ten_to,
)
from isoflop.fit.noise import replicate_noise
from isoflop.fit.reading.narrow import read_shrunk
from isoflop.fit.results.target import Band, Target
from isoflop.fit.rows import Rows
from isoflop.fit.valley import LN10, ValleyShape

# Distances that differ by less, decades, are one: the logarithm of a ratio is rounded.
_SAME_DISTANCE = 1e-6
# Shares of the loss that a reader may be willing to give up.
SHARES = (0.001, 0.005, 0.01)
# Standard deviation of the loss over the distance of two laws: at 90 % the interval reaches from one to the other.
_SD_PER_DISTANCE = 0.5 / normal_quantile(0.9)


@dataclass(frozen=True)
class Reach:
    """What the scorecard says of targets.

    Attributes:
        decades, loss_decades: how far N_opt and the loss may be believed beyond the budgets; None without forecasts.
        loss_widening: what multiplies the model error of losses.
    """

    decades: float | None = None
    loss_decades: float | None = None
    loss_widening: float = 1.0

    def holds(self, beyond: float) -> bool | None:
        """Whether an N_opt that many decades beyond the budgets may be believed."""
        return None if self.decades is None else beyond <= self.decades + _SAME_DISTANCE

    def holds_loss(self, beyond: float) -> bool | None:
        """Whether a loss may be."""
        return None if self.loss_decades is None else beyond <= self.loss_decades + _SAME_DISTANCE


def read_target(choice: Choice, budget_flops: float, level: float, *, noise_sd: float, reach: Reach) -> Target:
    """N_opt, D_opt and loss at `budget_flops`, with intervals at `level`.

    The full intervals add, in quadrature, the t-interval of the estimate and the normal interval of the model error.
    `noise_sd` is what a repeated run differs by, nats.
    """
    log_c = math.log10(budget_flops)
    beyond = decades_beyond(choice.fitted_budgets, log_c)
    quantile = student_quantile(level, choice.degrees_of_freedom)
    (log_n, n_variance), (log_d, d_variance) = choice.on_params.at(log_c), choice.on_tokens.at(log_c)
    n_half, d_half = quantile * math.sqrt(n_variance), quantile * math.sqrt(d_variance)
    model_half = model_half_width(beyond, level)
    loss = read_loss(choice, log_c, level, reach.loss_widening)
    shape = choice.shape if ten_to(log_n) is not None else None
    shrunk = read_shrunk(choice, log_c)
    return Target(
        budget_flops=budget_flops,
        n_opt=ten_to(log_n),
        n_opt_ci_statistical=log_interval(log_n, n_half),
        n_opt_ci=log_interval(log_n, math.hypot(n_half, model_half)),
        n_opt_model_error=model_half,
        d_opt=ten_to(log_d),
        d_opt_ci=log_interval(log_d, math.hypot(d_half, model_half)),
        loss=loss.value,
        loss_ci_statistical=loss.statistical,
        loss_ci=loss.total,
        loss_model_error=loss.model_error,
        tokens_per_param=ten_to(log_d - log_n),
        estimator=choice.estimator,
        extrapolation_decades=beyond,
        credible=reach.holds(beyond),
        bands=flat_bands(shape, log_n, log_c, loss.value, noise_sd) if shape else (),
        loss_credible=None if loss.value is None else reach.holds_loss(beyond),
        n_opt_shrunk=shrunk.n_opt,
        d_opt_shrunk=shrunk.d_opt,
    )


@dataclass(frozen=True)
class LossReading:
    """Loss at one budget, nats per token; all None without a law of the loss.

    Attributes:
        statistical: its interval from the errors of the law's constants.
        total: the same and the model error, in quadrature.
        model_error: half-width of the model error alone.
    """

    value: float | None = None
    statistical: Interval | None = None
    total: Interval | None = None
    model_error: float | None = None


def read_loss(choice: Choice, log_c: float, level: float, widening: float = 1.0) -> LossReading:
    """Loss at log10 C with both kinds of error; `widening` multiplies the model error.

    Beyond the largest budget it lies half-way between the law and the power law, E = 0, that has the law's loss and
    decline there: floors of published sweeps fall below the law, whose E small budgets push up, and above a power law.
    At 90 % the model error reaches from the one to the other.
    """
    law = choice.loss
    if law is None:
        return LossReading()
    largest = math.log10(choice.fitted_budgets[1])
    bent, variance = law.at(log_c)
    straight = _power_law(law, largest, log_c) if log_c > largest else bent
    value, half = (bent + straight) / 2, student_quantile(level, choice.loss_freedom) * math.sqrt(variance)
    per_decade = LOSS_MODEL_ERROR_PER_DECADE * decades_beyond(choice.fitted_budgets, log_c) * abs(value)
    model_half = widening * normal_quantile(level) * math.hypot((bent - straight) * _SD_PER_DISTANCE, per_decade)
    total = math.hypot(half, model_half)
    if not math.isfinite(value) or not math.isfinite(total):
        return LossReading()
    return LossReading(value, (value - half, value + half), (value - total, value + total), model_half)


def _power_law(law: LossReader, largest: float, log_c: float) -> float:
    """Loss at log10 C of the power law that touches `law` at log10 `largest`, nats."""
    return law.at(largest)[0] * math.exp(-law.decline(largest) * (log_c - largest) * LN10)


def unanswered_target(budget_flops: float) -> Target:
    """The target of a fit without a frontier: the question, and None for every answer."""
    return Target(
        budget_flops=budget_flops,
        n_opt=None,
        n_opt_ci_statistical=None,
        n_opt_ci=None,
        n_opt_model_error=None,
        d_opt=None,
        d_opt_ci=None,
        loss=None,
        loss_ci_statistical=None,
        loss_ci=None,
        loss_model_error=None,
        tokens_per_param=None,
        estimator=NONE,
        extrapolation_decades=None,
    )


class TargetReader:
    """Reads the chosen estimate at budgets."""

    def __init__(self, rows: Rows, choice: Choice | None, level: float, reach: Reach) -> None:
        self._choice, self._level, self.reach = choice, level, reach
        self.replicates = replicate_noise(rows)
        # What a run differs by from another of its size and tokens, nats; 0 where the rows do not say.
        self.noise_sd = self.replicates.sd if self.replicates else choice.residual_sd if choice else 0.0

    def read(self, budget_flops: float) -> Target:
        """The target at one budget; all None without an estimate."""
        if self._choice is None:
            return unanswered_target(budget_flops)
        return read_target(self._choice, budget_flops, self._level, noise_sd=self.noise_sd, reach=self.reach)


def flat_bands(shape: ValleyShape, log_n: float, log_c: float, loss: float | None, noise_sd: float) -> tuple[Band, ...]:
    """The sizes about log10 N_opt at log10 C within the noise, and within shares of the loss where that is known."""
    margins = [("noise", noise_sd)] if noise_sd > 0 else []
    if loss is not None and loss > 0:
        margins += [(f"{100 * share:g} %", share * loss) for share in SHARES]
    return tuple(_band(shape, name, nats, log_n, log_c) for name, nats in margins)


def _band(shape: ValleyShape, name: str, nats: float, log_n: float, log_c: float) -> Band:
    below, above = shape.within(nats, log_c)
    low, high = ten_to(log_n - below), ten_to(log_n + above)
    return Band(name, nats, None if low is None or high is None else (low, high))
