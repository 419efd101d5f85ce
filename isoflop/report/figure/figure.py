"""The figure of a report: the valleys and the two frontiers they make. Drawn without a display."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from isoflop.report.figure.frontier_panel import draw_law_legend, draw_params, draw_tokens
from isoflop.report.figure.valley_panel import draw_valleys
from isoflop.report.frontier_curves import confirmed_sizes
from isoflop.report.loss_words import scale_of_losses
from isoflop.report.summary import Summary
from isoflop.wording import SIMULATED, one_line

PNG_DPI = 160

_SETTINGS: Any = {  # matplotlib's own types spell out every name and value
    "svg.hashsalt": "isoflop",  # element ids are drawn at random otherwise
    "svg.fonttype": "path",  # the same letters wherever the file is opened
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


class Images(NamedTuple):
    """One figure in two formats."""

    svg: str
    png: bytes


def render_figure(summary: Summary) -> Images:
    """The figure of `summary`; equal summaries give equal SVG text."""
    title = one_line(f"{SIMULATED} {summary.title}" if summary.simulated else summary.title)
    with own_settings():
        return save_figure(_draw(summary), title)


def save_figure(figure: Figure, title: str) -> Images:
    """The figure in both formats, with `title` in their metadata."""
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", dpi=PNG_DPI, metadata={"Title": title, "Date": None})
    figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Title": title})
    return Images(svg.getvalue(), png.getvalue())


@contextmanager
def own_settings() -> Iterator[None]:
    """A block in which a person's matplotlibrc changes nothing."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def _draw(summary: Summary) -> Figure:
    figure = Figure(figsize=(10, 8.6), layout="constrained")
    figure.suptitle(one_line(summary.title), parse_math=False)
    # Two layouts: the legend beside the valleys must not narrow the panels below.
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.2, 1]).flat
    params, tokens = bottom.subplots(1, 2)
    draw_valleys(top.subplots(), summary.fit, summary.source.rows, scale=scale_of_losses(summary.source))
    n_confirmed, d_confirmed = confirmed_sizes(summary)
    draw_params(params, summary.fit, summary.targets, summary.laws, n_confirmed)
    draw_tokens(tokens, summary.fit, summary.targets, summary.laws, d_confirmed)
    draw_law_legend(bottom, params)
    if summary.simulated:
        figure.text(0.5, 0.5, SIMULATED, size=80, color="#cc3399", alpha=0.15, rotation=30, ha="center", va="center")
    return figure
