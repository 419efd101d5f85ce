"""The interactive panel of valleys: every run a point, one parabola per budget, floors with their intervals."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from isoflop.fit.results.profile import Profile
from isoflop.report.loss_words import scale_of_losses, valley_title
from isoflop.report.page.hover import DrawnRun, drawn_runs, floor_text
from isoflop.report.page.plotly_plot import Axis, Plot, Trace, error_bars, plot
from isoflop.report.summary import Summary
from isoflop.report.ticks import count_tick, log_ticks
from isoflop.report.valley_curves import (
    LEGEND_BUDGETS,
    budget_colors,
    budget_label,
    by_budget,
    is_inside,
    parabola,
    scale_color,
    shown_interval,
    thinned,
)
from isoflop.units import format_flops

# Each point is an element of the page and each curve another: with more a browser answers slowly.
MOST_RUNS, MOST_CURVES = 4000, 200

# Few enough that the words beside the points stay readable.
_LABELLED_RUNS = 12

# Room left and right of the outermost run, as a share of what lies between.
_MARGIN = 0.04

# Plotly blends linearly between the stops of a scale; with nine viridis is exact to the eye.
_SCALE_STOPS = 9

Profiles = Mapping[float, Profile]
Colors = Mapping[float, str]


def valley_plot(summary: Summary) -> Plot:
    """Loss against size."""
    runs = drawn_runs(summary.source)
    sizes = [math.log10(run.n_params) for run in runs]
    room = _MARGIN * (max(sizes) - min(sizes)) or 1.0
    scale = scale_of_losses(summary.source)
    return plot(
        valley_title(scale),
        _traces(summary, runs),
        Axis("parameters N", (min(sizes) - room, max(sizes) + room), count_tick),
        Axis(scale.axis),
        legend={"title": {"text": "training FLOPs", "side": "top"}},
        simulated=summary.simulated,
    )


def _traces(summary: Summary, runs: Sequence[DrawnRun]) -> Iterator[Trace]:
    """Points, then curves and floors above them; while budgets are few, each has an entry in the legend."""
    profiles = {profile.budget_flops: profile for profile in summary.fit.profiles}
    colors = budget_colors(run.budget_flops for run in runs)
    fitted = thinned([run for run in runs if run.omission is None], MOST_RUNS)
    few = len(colors) <= LEGEND_BUDGETS
    if few:
        for budget, rows in by_budget(fitted).items():
            yield {**_points(rows, profiles, colors), **_entry(budget, profiles.get(budget))}
    else:
        yield {**_points(fitted, profiles, colors), "showlegend": False}
        yield _scale(colors)
    sizes = {budget: [row.n_params for row in rows] for budget, rows in by_budget(summary.source.rows).items()}
    what = scale_of_losses(summary.source).what
    for profile in thinned(tuple(profiles.values()), MOST_CURVES):
        budget = profile.budget_flops
        yield from _valley(profile, sizes[budget], colors[budget], summary.fit.level, what)
    outside = [run for run in runs if run.omission is not None]
    if outside:
        yield _outside(outside, colors)


def _points(rows: Sequence[DrawnRun], profiles: Profiles, colors: Colors) -> Trace:
    """Runs of the fit, hollow where their valley has no floor."""
    return {
        **_scatter(rows),
        "mode": "markers",
        "marker": {
            "size": 7,
            "color": [colors[row.budget_flops] for row in rows],
            "symbol": ["circle" if is_inside(profiles.get(row.budget_flops)) else "circle-open" for row in rows],
        },
    }


def _outside(rows: Sequence[DrawnRun], colors: Colors) -> Trace:
    """Completed runs that are not in the fit: hollow squares that say why."""
    return {
        **_scatter(rows),
        "mode": "markers+text" if len(rows) <= _LABELLED_RUNS else "markers",
        "text": [row.omission for row in rows],
        "textposition": "top center",
        "textfont": {"size": 10},
        "marker": {"size": 9, "symbol": "square-open", "color": [colors[row.budget_flops] for row in rows]},
        "name": "not in the fit",
    }


def _scatter(rows: Sequence[DrawnRun]) -> Trace:
    return {
        "type": "scatter",
        "x": [row.n_params for row in rows],
        "y": [row.loss for row in rows],
        "hoverinfo": "text",
        "hovertext": [row.hover for row in rows],
    }


def _entry(budget: float, profile: Profile | None) -> Trace:
    """A budget's entry in the legend; its curve and floor come and go with it."""
    return {"name": budget_label(budget, profile), "legendgroup": repr(budget)}


def _valley(profile: Profile, sizes: Sequence[float], color: str, level: float, what: str) -> Iterator[Trace]:
    """The parabola of one budget, and its floor."""
    group = {"type": "scatter", "legendgroup": repr(profile.budget_flops), "showlegend": False}
    curve = parabola(profile, sizes)
    if curve is not None:
        dash = "solid" if is_inside(profile) else "dash"
        line = {"color": color, "width": 1.5, "dash": dash}
        yield {**group, "mode": "lines", "x": curve[0], "y": curve[1], "line": line, "hoverinfo": "skip"}
    if profile.n_opt is not None and profile.loss_opt is not None:
        yield {
            **group,
            "mode": "markers",
            "x": [profile.n_opt],
            "y": [profile.loss_opt],
            "marker": {"symbol": "diamond", "size": 10, "color": color, "line": {"color": "black", "width": 1.2}},
            "error_x": {
                **error_bars([profile.n_opt], [shown_interval(profile, sizes)]), "color": "black", "thickness": 2,
            },
            "hoverinfo": "text",
            "hovertext": [floor_text(profile, level, what)],
        }  # fmt: skip


def _scale(colors: Colors) -> Trace:
    """No point, only the scale of colours: what a legend is for more budgets than anyone reads."""
    low, high = min(colors), max(colors)
    ticks = log_ticks(low, high)
    stops = [index / (_SCALE_STOPS - 1) for index in range(_SCALE_STOPS)]
    bar: dict[str, Any] = {
        "title": {"text": "training FLOPs", "side": "right"},
        "tickvals": [math.log10(tick) for tick in ticks],
        "ticktext": [format_flops(tick) for tick in ticks],
        "thickness": 12,
        "outlinewidth": 0,
    }
    return {
        "type": "scatter",
        "x": [None],
        "y": [None],
        "mode": "markers",
        "showlegend": False,
        "marker": {
            "color": [math.log10(low)],
            "cmin": math.log10(low),
            "cmax": math.log10(high),
            "colorscale": [[stop, scale_color(stop)] for stop in stops],
            "showscale": True,
            "colorbar": bar,
        },
    }
