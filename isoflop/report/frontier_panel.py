"""The panels of the frontier: compute-optimal parameters and tokens against training FLOPs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from isoflop.fit.intervals import student_quantile
from isoflop.fit.types import Covariance, Frontier, Interval, SweepFit, Target
from isoflop.report.axis_ticks import label_counts, label_flops
from isoflop.report.wording import percent, power_law

_INK, _BAND, _TARGET = "#31688e", "#c5d7e3", "#b5367a"

_CURVE_POINTS = 100

# Room left and right of the outermost budget, and the most that a wild interval may stretch the panel: decades.
_MARGIN, _STRETCH = 0.15, 1.5


class _Reading(NamedTuple):
    """An optimum at one budget, with its interval."""

    budget_flops: float
    optimum: float
    bounds: Interval | None


class _Optimum(NamedTuple):
    """All that one panel shows: of parameters or of tokens."""

    name: str
    unit: str
    floors: Sequence[_Reading]
    targets: Sequence[_Reading]


class _Law(NamedTuple):
    """optimum = coefficient C^exponent; `covariance` of its logarithm as in `Frontier`."""

    coefficient: float
    exponent: float
    covariance: Covariance


def draw_params(ax: Axes, fit: SweepFit, targets: Sequence[Target]) -> None:
    """Nothing; `ax` shows N_opt against C: floors, power law with its band, targets."""
    floors = [_Reading(p.budget_flops, p.n_opt, p.n_opt_ci) for p in fit.profiles if p.n_opt is not None]
    readings = [_Reading(t.budget_flops, t.n_opt, t.n_opt_ci) for t in targets if t.n_opt is not None]
    frontier = fit.frontier
    law = _Law(frontier.coef_n, frontier.exponent_a, frontier.log_n_covariance) if frontier else None
    _draw(ax, _Optimum("N_opt", "parameters", floors, readings), law, fit)


def draw_tokens(ax: Axes, fit: SweepFit, targets: Sequence[Target]) -> None:
    """Nothing; `ax` shows D_opt against C: floors, power law with its band, targets."""
    floors = [_Reading(p.budget_flops, p.d_opt, p.d_opt_ci) for p in fit.profiles if p.d_opt is not None]
    readings = [_Reading(t.budget_flops, t.d_opt, t.d_opt_ci) for t in targets if t.d_opt is not None]
    frontier = fit.frontier
    law = _Law(frontier.coef_d, frontier.exponent_b, frontier.log_d_covariance) if frontier else None
    _draw(ax, _Optimum("D_opt", "tokens", floors, readings), law, fit)


def _draw(ax: Axes, optimum: _Optimum, law: _Law | None, fit: SweepFit) -> None:
    ax.set(xscale="log", yscale="log", xlabel="training FLOPs C", ylabel=f"compute-optimal {optimum.unit}")
    ax.set_title(f"{optimum.name} against compute")
    if not optimum.floors:
        ax.set(xticks=[], yticks=[])
        ax.text(0.5, 0.5, "no floor inside the sizes trained", transform=ax.transAxes, ha="center", va="center")
        return
    if law is not None and fit.frontier is not None:
        _draw_law(ax, optimum, law, fit.frontier, fit.level)
    _draw_readings(ax, optimum.floors, "D", _INK, "floors of the profiles")
    _draw_readings(ax, optimum.targets, "o", _TARGET, f"targets, {percent(fit.level)} with model error")
    _set_limits(ax, optimum)
    label_flops(ax.xaxis)
    label_counts(ax.yaxis)
    ax.legend(loc="upper left", fontsize=8)


def _draw_law(ax: Axes, optimum: _Optimum, law: _Law, frontier: Frontier, level: float) -> None:
    """The line, dashed beyond the fitted budgets, and its statistical band."""
    everywhere, fitted = (
        np.linspace(*_log_range(readings), _CURVE_POINTS)
        for readings in ([*optimum.floors, *optimum.targets], optimum.floors)
    )
    half = student_quantile(level, frontier.degrees_of_freedom) * _standard_error(law, everywhere - frontier.log_c_mean)
    line = _log_optimum(law, everywhere)
    ax.fill_between(
        10**everywhere, 10 ** (line - half), 10 ** (line + half), color=_BAND, label=f"{percent(level)} statistical"
    )
    ax.plot(10**everywhere, 10**line, color=_INK, linewidth=1.2, linestyle="--")
    name = f"{optimum.name} = {power_law(law.coefficient, law.exponent)}"
    ax.plot(10**fitted, 10 ** _log_optimum(law, fitted), color=_INK, linewidth=1.4, label=name)


def _log_optimum(law: _Law, log_c: NDArray[np.float64]) -> NDArray[np.float64]:
    return math.log10(law.coefficient) + law.exponent * log_c


def _standard_error(law: _Law, lever: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the line's logarithm at `lever` decades from the mean budget, decades."""
    (var_middle, cov), (_, var_slope) = law.covariance
    return np.sqrt(np.maximum(var_middle + 2 * cov * lever + var_slope * lever**2, 0.0))


def _draw_readings(ax: Axes, readings: Sequence[_Reading], marker: str, color: str, label: str) -> None:
    if not readings:
        return
    for reading in readings:
        if reading.bounds is not None:
            ax.plot([reading.budget_flops] * 2, reading.bounds, color=color, linewidth=1.2)
    ax.plot(
        [reading.budget_flops for reading in readings],
        [reading.optimum for reading in readings],
        marker=marker,
        markersize=5,
        color=color,
        linestyle="none",
        label=label,
    )


def _set_limits(ax: Axes, optimum: _Optimum) -> None:
    readings = [*optimum.floors, *optimum.targets]
    low, high = _log_range(readings)
    ax.set_xlim(10 ** (low - _MARGIN), 10 ** (high + _MARGIN))
    optima = [math.log10(reading.optimum) for reading in readings]
    bottom, top = (math.log10(limit) for limit in ax.get_ylim())
    ax.set_ylim(10 ** max(bottom, min(optima) - _STRETCH), 10 ** min(top, max(optima) + _STRETCH))


def _log_range(readings: Sequence[_Reading]) -> tuple[float, float]:
    budgets = [math.log10(reading.budget_flops) for reading in readings]
    return min(budgets), max(budgets)
