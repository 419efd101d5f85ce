"""The figure of a sweep that steered itself: the interval of N_opt at the target against the FLOPs spent."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from isoflop.report.figure.figure import Images, own_settings, save_figure
from isoflop.report.frontier_curves import BESIDE, INK, TARGET
from isoflop.report.summary import Summary
from isoflop.report.ticks import flops_tick
from isoflop.store import SteeringRound, Verdict
from isoflop.units import format_flops
from isoflop.wording import SIMULATED, one_line

# Factors that people say; as many of them as stay apart.
_FACTORS = (1.01, 1.02, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7, 10, 20, 50, 100, 1000)
_MOST_TICKS, _FEWEST_TICKS = 8, 3
# Room above and below the outermost factors, as a share of the axis.
_ROOM = 0.08


def render_growth(summary: Summary) -> Images:
    """The figure of the rounds of `summary` towards its latest target; equal summaries give equal SVG text."""
    title = f"How {one_line(summary.source.label)} grew"
    with own_settings():
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        ax = figure.subplots()
        _draw(ax, summary.rounds)
        if summary.simulated:
            figure.text(
                0.5, 0.5, SIMULATED, size=40, color="#cc3399", alpha=0.15, rotation=15, ha="center", va="center"
            )
        return save_figure(figure, f"{SIMULATED} {title}" if summary.simulated else title)


def _draw(ax: Axes, rounds: tuple[SteeringRound, ...]) -> None:
    last = rounds[-1]
    rounds = tuple(one for one in rounds if one.target_flops == last.target_flops)
    known = [(one.flops_spent, one.span, one) for one in rounds if one.span is not None]
    spent = [flops for flops, _, _ in known]
    ax.plot(spent, [span for _, span, _ in known], color=INK, marker="o", markersize=4, linewidth=1.3)
    if last.verdict is Verdict.MET:
        ax.plot(spent[-1:], [known[-1][1]], color=TARGET, marker="o", markersize=7, linestyle="none", label="goal met")
    for flops, span, one in known:
        if one.new_runs:
            ax.annotate(f"+{len(one.new_runs)}", (flops, span), textcoords="offset points", xytext=(5, 5), fontsize=7)
    for position, one in enumerate(one for one in rounds if one.span is None):
        label = None if position else "no interval yet"
        ax.axvline(one.flops_spent, color=BESIDE, linewidth=1, linestyle=":", label=label)
    ax.axhline(last.within, color=TARGET, linewidth=1, linestyle="--", label=f"goal: {last.within:g}")
    ax.set(yscale="log", xlabel="training FLOPs spent", ylabel="highest / lowest N_opt")
    ax.set_title(
        f"90 % statistical interval of N_opt at {format_flops(last.target_flops)} FLOPs; + runs of the next round"
    )
    _label_factors(ax, [last.within, *(span for _, span, _ in known)])
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: flops_tick(value) if value else "0"))
    ax.set_xlim(left=0)
    ax.legend(loc="upper right", fontsize=8)


def _label_factors(ax: Axes, factors: list[float]) -> None:
    """Nothing; the axis reaches a little beyond the factors and has round ones as ticks."""
    low, high = math.log(min(factors)), math.log(max(factors))
    room = max(_ROOM * (high - low), 0.01)
    ends = math.exp(max(low - room, 0.0)), math.exp(high + room)
    ax.set_ylim(*ends)
    ticks = factor_ticks(*ends)
    ax.yaxis.set_major_locator(FixedLocator(ticks) if len(ticks) >= _FEWEST_TICKS else MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def factor_ticks(low: float, high: float) -> list[float]:
    """Round factors between the ends of a logarithmic axis, ascending, each far enough from the one before."""
    apart = math.log(high / low) / _MOST_TICKS
    ticks: list[float] = []
    for factor in _FACTORS:
        if low <= factor <= high and (not ticks or math.log(factor / ticks[-1]) >= apart):
            ticks.append(factor)
    return ticks
