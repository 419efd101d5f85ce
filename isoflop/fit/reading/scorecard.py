"""The scorecard: how well earlier budgets of this very sweep predicted its later ones."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoflop.fit.estimators.choice import SURFACE, Choice, choose_again, spread
from isoflop.fit.estimators.loss_floors import LossFloors
from isoflop.fit.estimators.parabola import Valley, budget_floors, pool_noise
from isoflop.fit.intervals import Noise, log_interval, model_half_width, student_quantile, ten_to
from isoflop.fit.reading.target_reader import read_loss
from isoflop.fit.results.target import Forecast

# Three floors are the fewest that test a power law; a fit of fewer predicts nothing.
MIN_FITTED = 3
# Budgets are fitted in at most this many cuts, evenly spread: more say the same again.
_MOST_CUTS = 6
# Decimals of decades to which steps of log C are alike.
_SAME_DISTANCE = 6
# One of five misses at 0.9 is half of one: 1 - 0.9 is a hair less than a tenth in a float.
_ROUNDING = 1e-9


def make_scorecard(whole: Choice, valleys: Sequence[Valley], level: float) -> tuple[Forecast, ...]:
    """Each later budget's floor as the cheaper budgets predicted it, by number of budgets fitted.

    Fitted are the rows of the estimate of the `whole` sweep with the weights that they have there: what it shows of
    bad runs and noise misleads no forecast. The floors seen are those of `valleys`, of all rows; only `inside` ones can
    be compared with.
    """
    noise = pool_noise(valleys)
    if noise is None or whole.estimator == SURFACE:
        return ()
    floors = list(itertools.accumulate(bool(valley.floors) for valley in valleys))
    cuts = [cut for cut in range(MIN_FITTED, len(valleys)) if floors[cut - 1] >= MIN_FITTED]
    if len(cuts) > _MOST_CUTS:
        cuts = [cuts[round(i)] for i in np.linspace(0, len(cuts) - 1, _MOST_CUTS)]
    forecasts: list[Forecast] = []
    choice: Choice | None = None
    for cut in cuts:
        if not spread(budget_floors(valleys[:cut])):
            continue
        choice = choose_again(whole, whole.rows.budget_flops <= valleys[cut - 1].budget_flops, near=choice)
        if choice is not None:
            made = [_forecast(choice, cut, valley, noise, level) for valley in valleys[cut:] if valley.floors]
            forecasts += [_with_loss(one, choice, whole.loss_floors, level) for one in made if one is not None]
    return tuple(forecasts)


def _forecast(choice: Choice, n_fitted: int, valley: Valley, noise: Noise, level: float) -> Forecast | None:
    assert valley.floors
    seen = valley.floors[0]
    log_c = math.log10(valley.budget_flops)
    decades = log_c - math.log10(choice.fitted_budgets[1])
    log_n, variance = choice.on_params.at(log_c)
    statistical = student_quantile(level, choice.degrees_of_freedom) * math.sqrt(variance)
    half = math.hypot(statistical, model_half_width(decades, level))
    # the floor that is seen has its own error: it could lie off the truth by as much
    own = noise.on_params * seen.spread * student_quantile(level, noise.degrees_of_freedom)
    n_opt, interval, n_seen = ten_to(log_n), log_interval(log_n, half), ten_to(seen.x)
    if n_opt is None or interval is None or n_seen is None:
        return None
    return Forecast(
        n_fitted=n_fitted,
        budget_flops=valley.budget_flops,
        decades=decades,
        n_opt=n_opt,
        n_opt_ci=interval,
        n_opt_seen=n_seen,
        error_decades=log_n - seen.x,
        held=abs(log_n - seen.x) <= math.hypot(half, own),
        loss=None,
        loss_ci=None,
        loss_seen=seen.loss,
    )


def _with_loss(forecast: Forecast, choice: Choice, floors: LossFloors | None, level: float) -> Forecast:
    """The forecast with that of the loss; where the near runs show a floor, `floors`, that is the loss seen."""
    log_c = math.log10(forecast.budget_flops)
    loss, seen = read_loss(choice, log_c, level), floors.at(forecast.budget_flops) if floors else None
    value, own = seen or (forecast.loss_seen, 0.0)
    forecast = replace(forecast, loss_seen=value)
    if floors is None or loss.value is None or loss.total is None:
        return forecast
    variance, freedom = floors.noise
    half = loss.total[1] - loss.value
    if freedom >= 1:
        half = math.hypot(half, student_quantile(level, freedom) * math.sqrt(variance) * own)
    return replace(
        forecast,
        loss=loss.value,
        loss_ci=loss.total,
        loss_model_error=loss.model_error,
        loss_held=abs(loss.value - value) <= half,
    )


def credible_decades(scorecard: Sequence[Forecast], level: float) -> float | None:
    """How far beyond its budgets this sweep has shown that it can see N_opt; None where nothing was predicted.

    The largest distance up to which, from the nearest on, no more intervals missed than `level` allows, to the nearest
    whole forecast: at 0.9 none of up to four, one of up to fourteen. Forecasts of one distance are judged together.
    """
    return _credible([(one.decades, one.held) for one in scorecard], level)


def loss_credible_decades(scorecard: Sequence[Forecast], level: float) -> float | None:
    """The same of the loss."""
    return _credible([(one.decades, one.loss_held) for one in scorecard if one.loss_held is not None], level)


def _credible(judged: Sequence[tuple[float, bool]], level: float) -> float | None:
    if not judged:
        return None
    reached, number, misses = 0.0, 0, 0
    for _, group in itertools.groupby(sorted(judged), key=lambda one: round(one[0], _SAME_DISTANCE)):
        alike = list(group)
        number, misses = number + len(alike), misses + sum(not held for _, held in alike)
        if misses <= _allowed(number, level):
            # as far as the farthest of them: the rounded distance can fall short of what was forecast
            reached = alike[-1][0]
    return reached


def _allowed(number: int, level: float) -> int:
    """How many of `number` intervals at `level` may miss, to the nearest whole one."""
    return math.floor((1 - level) * number + 0.5 + _ROUNDING)


def loss_widening(scorecard: Sequence[Forecast], level: float) -> float:
    """By what factor the model error of losses would have had to be larger for no more misses than `level` allows.

    1 where no more missed. A quantile of the scores of what was not fitted, as in split conformal prediction
    (Papadopoulos et al. 2002, ECML); but forecasts of one sweep share runs, so it carries no guarantee.
    """
    scores = sorted((_score(one) for one in scorecard if one.loss_held is not None), reverse=True)
    return scores[_allowed(len(scores), level)] if scores else 1.0


def _score(forecast: Forecast) -> float:
    """By what factor the model error would have had to be larger for the interval to hold the loss; 1 where it did."""
    if forecast.loss_held or not forecast.loss or not forecast.loss_ci or not forecast.loss_model_error:
        return 1.0
    half = (forecast.loss_ci[1] - forecast.loss_ci[0]) / 2
    beyond = (forecast.loss - forecast.loss_seen) ** 2 - half**2
    return math.sqrt(1 + max(beyond, 0.0) / forecast.loss_model_error**2)
