"""The panel of valleys: loss against model size, one parabola per budget."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from isoflop.fit.types import Profile, SweepFit, Vertex
from isoflop.report.axis_ticks import label_counts
from isoflop.report.csv_points import Point
from isoflop.report.fit_tables import VERTEX
from isoflop.report.wording import percent
from isoflop.units import format_flops

Color = tuple[float, float, float, float]

# The last tenth of viridis is too pale for thin lines on white.
_COLORMAP, _PALEST = "viridis", 0.9

# More budgets make a legend that nobody reads.
_LEGEND_BUDGETS = 16

_CURVE_POINTS = 100


def draw_valleys(ax: Axes, fit: SweepFit, points: Sequence[Point], *, loss_label: str) -> None:
    """Nothing; `ax` shows the rows and the parabola of each budget: hollow and dashed without a floor inside."""
    colors = _colors({point.budget_flops for point in points})
    profiles = {profile.budget_flops: profile for profile in fit.profiles}
    for budget, color in colors.items():
        _draw_budget(ax, [point for point in points if point.budget_flops == budget], profiles.get(budget), color)
    ax.set(xscale="log", xlabel="parameters N", ylabel=loss_label)
    ax.set_title(f"Loss at equal compute; diamonds: floors with {percent(fit.level)} intervals")
    label_counts(ax.xaxis)
    if len(colors) <= _LEGEND_BUDGETS:
        ax.legend(title="training FLOPs", loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)


def _colors(budgets: set[float]) -> dict[float, Color]:
    """A colour per budget, ascending, from dark to light with log C: near budgets look near."""
    ordered = sorted(budgets)
    low, high = math.log10(ordered[0]), math.log10(ordered[-1])
    span = high - low or 1.0
    palette = mpl.colormaps[_COLORMAP]
    return {budget: palette(_PALEST * (math.log10(budget) - low) / span) for budget in ordered}


def _draw_budget(ax: Axes, rows: Sequence[Point], profile: Profile | None, color: Color) -> None:
    inside = profile is not None and profile.vertex is Vertex.INSIDE
    sizes = [row.n_params for row in rows]
    ax.scatter(
        sizes,
        [row.loss for row in rows],
        s=16,
        facecolors=[color] if inside else "none",
        edgecolors=[color],
        linewidths=0.9,
        label=_label(rows[0].budget_flops, profile),
    )
    if profile is not None:
        _draw_parabola(ax, profile, sizes, color)
        _draw_floor(ax, profile, sizes, color)


def _label(budget_flops: float, profile: Profile | None) -> str:
    aside = "" if profile is None or profile.vertex is Vertex.INSIDE else f" ({VERTEX[profile.vertex]})"
    return format_flops(budget_flops) + aside


def _draw_parabola(ax: Axes, profile: Profile, sizes: Sequence[float], color: Color) -> None:
    if profile.coefficients is None or profile.x_mean is None:
        return
    x = np.linspace(math.log10(min(sizes)), math.log10(max(sizes)), _CURVE_POINTS)
    loss = np.polynomial.polynomial.polyval(x - profile.x_mean, profile.coefficients)
    ax.plot(10**x, loss, color=color, linewidth=1.2, linestyle="-" if profile.vertex is Vertex.INSIDE else "--")


def _draw_floor(ax: Axes, profile: Profile, sizes: Sequence[float], color: Color) -> None:
    if profile.n_opt is None or profile.loss_opt is None:
        return
    if profile.n_opt_ci is not None:
        # An interval far beyond the sizes trained must not stretch the panel.
        ends = [min(max(end, min(sizes)), max(sizes)) for end in profile.n_opt_ci]
        ax.plot(ends, [profile.loss_opt] * 2, color="black", linewidth=1.4, solid_capstyle="butt")
    ax.plot(profile.n_opt, profile.loss_opt, marker="D", markersize=5, color=color, markeredgecolor="black")
