"""The panels of the frontier: compute-optimal parameters and tokens against training FLOPs."""

import itertools
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import SubFigure

from isoflop.fit.laws import PublishedLaw
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Target
from isoflop.report.figure.axis_ticks import label_counts, label_flops
from isoflop.report.fit_wording import percent
from isoflop.report.frontier_curves import (
    BAND,
    BESIDE,
    CLOUD,
    CONFIRM_LABEL,
    INK,
    MOST_LAWS_INSIDE,
    PUBLISHED,
    TARGET,
    Law,
    Optimum,
    Reading,
    log_limits,
    optimal_params,
    optimal_tokens,
)

# Opacity of all frontiers of a cloud on top of each other.
_CLOUD_INK = 20.0
# Marks the lines of published laws.
_LAW = "published-law"


def draw_params(
    ax: Axes,
    fit: SweepFit,
    targets: Sequence[Target],
    laws: Sequence[PublishedLaw] = (),
    confirmed: tuple[Reading, ...] = (),
) -> None:
    """Nothing; `ax` shows N_opt against C: floors, power law with its band, targets, confirm runs."""
    _draw(ax, optimal_params(fit, targets, laws, confirmed), fit.level)


def draw_tokens(
    ax: Axes,
    fit: SweepFit,
    targets: Sequence[Target],
    laws: Sequence[PublishedLaw] = (),
    confirmed: tuple[Reading, ...] = (),
) -> None:
    """Nothing; `ax` shows D_opt against C: floors, power law with its band, targets, confirm runs."""
    _draw(ax, optimal_tokens(fit, targets, laws, confirmed), fit.level)


def _draw(ax: Axes, optimum: Optimum, level: float) -> None:
    ax.set(xscale="log", yscale="log", xlabel="training FLOPs C", ylabel=f"compute-optimal {optimum.unit}")
    ax.set_title(f"{optimum.name} against compute")
    if not optimum.floors and optimum.law is None:
        ax.set(xticks=[], yticks=[])
        ax.text(0.5, 0.5, "no floor inside the sizes trained", transform=ax.transAxes, ha="center", va="center")
        return
    if optimum.law is not None:
        _draw_law(ax, optimum, optimum.law, level)
    strands = [list(zip(*strand, strict=True)) for strand in optimum.strands()]
    if strands:
        alpha = min(1.0, _CLOUD_INK / len(strands))
        label = f"surface, {len(strands)} resamples of the runs"
        ax.add_collection(LineCollection(strands, colors=CLOUD, linewidths=0.6, alpha=max(alpha, 0.05)))
        ax.plot([], [], color=CLOUD, linewidth=1.0, label=label)
    if optimum.parabola is not None:
        beside = optimum.parabola.along(optimum.budgets)
        label = f"parabola: {optimum.parabola.name}"
        ax.plot(beside.budgets, beside.optima, color=BESIDE, linewidth=1.1, linestyle=":", label=label)
    for color, (label, law) in zip(itertools.cycle(PUBLISHED), optimum.published, strict=False):
        curve = law.along(optimum.budgets)
        ax.plot(curve.budgets, curve.optima, color=color, linewidth=1.0, linestyle="-.", label=label, gid=_LAW)
    _draw_readings(ax, optimum.floors, "D", INK, "floors of the profiles")
    _draw_readings(ax, optimum.targets, "o", TARGET, f"targets, {percent(level)} with model error")
    if optimum.confirmed:
        points = [(reading.budget_flops, reading.optimum) for reading in optimum.confirmed]
        ax.plot(*zip(*points, strict=True), "k*", markersize=12, markerfacecolor="none", label=CONFIRM_LABEL)
    across, up = log_limits(optimum)
    ax.set_xlim(*(10**end for end in across))
    ax.set_ylim(*(10**end for end in up))
    label_flops(ax.xaxis)
    label_counts(ax.yaxis)
    inside = [handle for handle in ax.get_legend_handles_labels()[0] if not (optimum.crowded and _is_law(handle))]
    ax.legend(handles=inside, loc="upper left", fontsize=8)


def draw_law_legend(panels: SubFigure, ax: Axes) -> None:
    """Nothing; below its `panels`, the legend of published laws that `ax` and the others draw, if they are many."""
    laws = [handle for handle in ax.get_legend_handles_labels()[0] if _is_law(handle)]
    if len(laws) > MOST_LAWS_INSIDE:
        panels.legend(handles=laws, loc="outside lower center", ncols=3, fontsize=8)


def _is_law(handle: Artist) -> bool:
    return handle.get_gid() == _LAW


def _draw_law(ax: Axes, optimum: Optimum, law: Law, level: float) -> None:
    """The line, dashed beyond the fitted budgets, and its statistical band."""
    everywhere, fitted = law.along(optimum.budgets), law.along(optimum.fitted)
    ax.fill_between(
        everywhere.budgets, everywhere.low, everywhere.high, color=BAND, label=f"{percent(level)} statistical"
    )
    ax.plot(everywhere.budgets, everywhere.optima, color=INK, linewidth=1.2, linestyle="--")
    ax.plot(fitted.budgets, fitted.optima, color=INK, linewidth=1.4, label=f"{optimum.name} = {law.name}")


def _draw_readings(ax: Axes, readings: Sequence[Reading], marker: str, color: str, label: str) -> None:
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
