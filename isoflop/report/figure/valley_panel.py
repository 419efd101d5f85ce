"""The panel of valleys: loss against model size, one parabola per budget."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from isoflop.fit.results.profile import Profile
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.report.figure.axis_ticks import label_counts
from isoflop.report.fit_wording import percent
from isoflop.report.loss_words import valley_title
from isoflop.report.valley_curves import (
    LEGEND_BUDGETS,
    budget_colors,
    budget_label,
    by_budget,
    is_inside,
    parabola,
    shown_interval,
    thinned,
)
from isoflop.sources.columns.loss_scale import LossScale
from isoflop.sources.source import Row

# With more runs than this the SVG holds their markers as an image: two megabytes per ten thousand otherwise.
MOST_VECTORS = 5_000
# With more of them markers, and curves, hide each other, and drawing them takes seconds.
MOST_DRAWN, MOST_CURVES = 10_000, 100


def draw_valleys(ax: Axes, fit: SweepFit, points: Sequence[Row], *, scale: LossScale) -> None:
    """Nothing; `ax` shows the rows and the parabola of each budget: hollow and dashed without a floor inside."""
    groups, profiles = by_budget(points), {profile.budget_flops: profile for profile in fit.profiles}
    colors = budget_colors(groups)
    many, drawn = len(points) > MOST_VECTORS, thinned(points, MOST_DRAWN)
    if len(groups) <= LEGEND_BUDGETS:
        for budget, rows in by_budget(drawn).items():
            _draw_runs(ax, rows, profiles, colors, label=budget_label(budget, profiles.get(budget)), rasterized=many)
        ax.legend(title="training FLOPs", loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    else:
        _draw_runs(ax, drawn, profiles, colors, label="runs", rasterized=many)
    curves = thinned(list(profiles.items()), MOST_CURVES)
    shown = [(len(drawn), len(points), "runs"), (len(curves), len(profiles), "valleys")]
    if said := [f"{some} of {every} {what}" for some, every, what in shown if some < every]:
        ax.text(0.99, 0.98, f"{' and '.join(said)} drawn", transform=ax.transAxes, ha="right", va="top", fontsize=8)
    for budget, profile in curves:
        sizes = [row.n_params for row in groups[budget]]
        _draw_parabola(ax, profile, sizes, colors[budget])
        _draw_floor(ax, profile, sizes, colors[budget])
    ax.set(xscale="log", xlabel="parameters N", ylabel=scale.axis)
    ax.set_title(f"{valley_title(scale)}; diamonds: floors with {percent(fit.level)} intervals")
    label_counts(ax.xaxis)


def _draw_runs(
    ax: Axes,
    rows: Sequence[Row],
    profiles: Mapping[float, Profile],
    colors: Mapping[float, str],
    *,
    label: str,
    rasterized: bool,
) -> None:
    inside = [is_inside(profiles.get(row.budget_flops)) for row in rows]
    ax.scatter(
        [row.n_params for row in rows],
        [row.loss for row in rows],
        s=16,
        facecolors=[colors[row.budget_flops] if filled else "none" for row, filled in zip(rows, inside, strict=True)],
        edgecolors=[colors[row.budget_flops] for row in rows],
        linewidths=0.9,
        label=label,
        rasterized=rasterized,
    )


def _draw_parabola(ax: Axes, profile: Profile, sizes: Sequence[float], color: str) -> None:
    curve = parabola(profile, sizes)
    if curve is not None:
        ax.plot(*curve, color=color, linewidth=1.2, linestyle="-" if is_inside(profile) else "--")


def _draw_floor(ax: Axes, profile: Profile, sizes: Sequence[float], color: str) -> None:
    if profile.n_opt is None or profile.loss_opt is None:
        return
    ends = shown_interval(profile, sizes)
    if ends is not None:
        ax.plot(ends, [profile.loss_opt] * 2, color="black", linewidth=1.4, solid_capstyle="butt")
    ax.plot(profile.n_opt, profile.loss_opt, marker="D", markersize=5, color=color, markeredgecolor="black")
