"""What all interactive panels share. A plot is plain data for plotly.js; plotly's Python side stays unused."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoflop.report.ticks import tick_choices
from isoflop.wording import SIMULATED

Trace = dict[str, Any]
Plot = dict[str, Any]


# Every digit more makes the page larger, and six are finer than any screen.
_DIGITS = 6

_INK, _PAPER = "#1c1e21", "#ffffff"

_AXIS = {
    "automargin": True, "gridcolor": "#e8e8e8", "linecolor": _INK, "showline": True, "ticks": "outside",
    "zeroline": False,
}  # fmt: skip

_WATERMARK = {
    "text": SIMULATED, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False, "textangle": -25,
    "font": {"size": 44, "color": "#cc3399"}, "opacity": 0.2,
}  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes:
        title: what it counts, with the unit.
        log_range: begin and end in decades of a logarithmic axis; None for a linear one that finds its own.
        label: how a tick of a logarithmic axis is written.
    """

    title: str
    log_range: tuple[float, float] | None = None
    label: Callable[[float], str] = str

    def layout(self) -> dict[str, Any]:
        """What plotly wants to know of it."""
        log = {} if self.log_range is None else {"type": "log", "range": list(self.log_range), "tickmode": "array"}
        return {**_AXIS, **log, "title": {"text": self.title, "standoff": 12}}

    def ticks(self) -> list[list[tuple[float, str]]]:
        """Choices of ticks from dense to sparse; none for a linear axis, where plotly's own read well."""
        if self.log_range is None:
            return []
        low, high = (10**end for end in self.log_range)
        return tick_choices(low, high, self.label)


def plot(
    title: str, traces: Iterable[Trace], xaxis: Axis, yaxis: Axis, *, legend: Mapping[str, Any], simulated: bool
) -> Plot:
    """Traces, layout and choices of ticks of one panel."""
    mark = f"{SIMULATED}: " if simulated else ""
    layout = {
        "title": {"text": f"<b>{mark}{title}</b>", "x": 0.01, "xanchor": "left", "font": {"size": 14}},
        "xaxis": xaxis.layout(),
        "yaxis": yaxis.layout(),
        "legend": legend,
        "annotations": [_WATERMARK] if simulated else [],
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": _INK},
        "hoverlabel": {"align": "left", "bgcolor": _PAPER, "font": {"color": _INK}},
        "hovermode": "closest",
        "margin": {"l": 60, "r": 20, "t": 44, "b": 52},
        "paper_bgcolor": _PAPER,
        "plot_bgcolor": _PAPER,
    }
    return {
        "data": _rounded(list(traces)),
        "layout": _rounded(layout),
        "ticks": _rounded({"xaxis": xaxis.ticks(), "yaxis": yaxis.ticks()}),
    }


def error_bars(middles: Sequence[float], bounds: Sequence[tuple[float, float] | None]) -> dict[str, Any]:
    """Bars from the first to the second of `bounds` around `middles`; none where there are no bounds."""
    ends = [pair or (middle, middle) for middle, pair in zip(middles, bounds, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - middle for middle, (_, high) in zip(middles, ends, strict=True)],
        "arrayminus": [middle - low for middle, (low, _) in zip(middles, ends, strict=True)],
        "width": 0,
    }


def _rounded(value: Any) -> Any:
    """`value` with `_DIGITS` significant digits in every float; None, a gap, for what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
