"""The interactive panels of the frontier: floors, power law with its band, targets."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from isoflop.report.fit_wording import percent
from isoflop.report.frontier_curves import (
    BAND,
    BESIDE,
    CLOUD,
    CONFIRM_LABEL,
    INK,
    PUBLISHED,
    TARGET,
    Law,
    Optimum,
    Reading,
    log_limits,
)
from isoflop.report.loss_words import scale_of_losses
from isoflop.report.page.hover import confirm_text, floor_text, target_text
from isoflop.report.page.plotly_plot import Axis, Plot, Trace, error_bars, plot
from isoflop.report.summary import Summary
from isoflop.report.ticks import count_tick, flops_tick

# Optima grow with compute: this corner is empty.
_LEGEND = {
    "x": 0.02, "y": 0.99, "xanchor": "left", "yanchor": "top", "bgcolor": "rgba(255, 255, 255, 0.7)",
    "font": {"size": 11},
}  # fmt: skip

_LINE = {"type": "scatter", "mode": "lines"}


def frontier_plot(optimum: Optimum, summary: Summary) -> Plot:
    """Compute-optimal parameters, or tokens, against training FLOPs; `optimum` has a floor or a law."""
    across, up = log_limits(optimum)
    return plot(
        f"{optimum.name} against compute",
        _traces(optimum, summary),
        Axis("training FLOPs C", across, flops_tick),
        Axis(f"{optimum.name}, {optimum.unit}", up, count_tick),
        legend=_LEGEND,
        simulated=summary.simulated,
    )


def _traces(optimum: Optimum, summary: Summary) -> Iterator[Trace]:
    level = summary.fit.level
    if optimum.law is not None:
        yield from _law(optimum, optimum.law, level)
    strands = list(optimum.strands())
    if strands:
        # one trace whose lines are parted by nulls
        yield {
            "type": "scatter",
            "mode": "lines",
            "hoverinfo": "skip",
            "x": [value for across, _ in strands for value in (*across, None)],
            "y": [value for _, up in strands for value in (*up, None)],
            "line": {"color": CLOUD, "width": 0.6},
            "opacity": 0.25,
            "name": f"surface, {len(strands)} resamples of the runs",
        }
    if optimum.parabola is not None:
        beside = optimum.parabola.along(optimum.budgets)
        yield {
            "type": "scatter",
            "mode": "lines",
            "hoverinfo": "skip",
            "x": beside.budgets.tolist(),
            "y": beside.optima.tolist(),
            "line": {"color": BESIDE, "width": 1.5, "dash": "dot"},
            "name": f"parabola: {optimum.parabola.name}",
        }
    if optimum.crowded:
        # an entry for all: each says its name when it is pointed at
        yield {**_LINE, "x": [None], "y": [None], "line": {"color": BESIDE, "width": 1.5, "dash": "dashdot"},
               "name": "published laws: point at one"}  # fmt: skip
    for color, (label, law) in zip(itertools.cycle(PUBLISHED), optimum.published, strict=False):
        curve = law.along(optimum.budgets)
        yield {
            **_LINE,
            "hoverinfo": "name",
            "hoverlabel": {"namelength": -1},
            "showlegend": not optimum.crowded,
            "x": curve.budgets.tolist(),
            "y": curve.optima.tolist(),
            "line": {"color": color, "width": 1.5, "dash": "dashdot"},
            "name": label,
        }
    what = scale_of_losses(summary.source).what
    floors = {profile.budget_flops: floor_text(profile, level, what) for profile in summary.fit.profiles}
    yield _readings(optimum.floors, floors, INK, "diamond", "floors of the profiles")
    if optimum.targets:
        targets = {target.budget_flops: target_text(target, level) for target in summary.targets}
        yield _readings(optimum.targets, targets, TARGET, "circle", f"targets, {percent(level)} with model error")
    if optimum.confirmed:
        texts = {one.prediction.budget_flops: confirm_text(one) for one in summary.confirmations}
        trace = _readings(optimum.confirmed, texts, "black", "star-open", CONFIRM_LABEL)
        yield {**trace, "marker": {"symbol": "star-open", "size": 13, "color": "black", "line": {"width": 1.5}}}


def _law(optimum: Optimum, law: Law, level: float) -> Iterator[Trace]:
    """Two edges with the band between them, and the line, dashed beyond the fitted budgets."""
    everywhere, fitted = law.along(optimum.budgets), law.along(optimum.fitted)
    line = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
    edge = {**line, "x": everywhere.budgets.tolist(), "line": {"width": 0}, "legendgroup": "band"}
    yield {**edge, "y": everywhere.low.tolist(), "showlegend": False}
    band = {"fill": "tonexty", "fillcolor": BAND, "name": f"{percent(level)} statistical"}
    yield {**edge, "y": everywhere.high.tolist(), **band}
    for curve, dash in ((everywhere, "dash"), (fitted, "solid")):
        yield {
            **line,
            "x": curve.budgets.tolist(),
            "y": curve.optima.tolist(),
            "line": {"color": INK, "width": 1.7, "dash": dash},
            "name": f"{optimum.name} = {law.name}",
            "legendgroup": "law",
            "showlegend": curve is fitted,
        }


def _readings(readings: Sequence[Reading], texts: Mapping[float, str], color: str, symbol: str, name: str) -> Trace:
    optima = [reading.optimum for reading in readings]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [reading.budget_flops for reading in readings],
        "y": optima,
        "error_y": {**error_bars(optima, [reading.bounds for reading in readings]), "color": color, "thickness": 1.5},
        "marker": {"symbol": symbol, "size": 8, "color": color},
        "hoverinfo": "text",
        "hovertext": [texts[reading.budget_flops] for reading in readings],
        "name": name,
    }
