"""The floors and the frontier as CSV, for a spreadsheet or a plot of one's own."""

import csv
import io

from isoflop.fit.intervals import Interval
from isoflop.fit.results.profile import Profile
from isoflop.report.summary import Summary

COLUMNS = (
    "budget_flops", "n_points", "vertex", "n_opt", "n_opt_low", "n_opt_high", "d_opt", "d_opt_low", "d_opt_high",
    "loss_opt", "curvature", "rmse", "frontier_n_opt", "frontier_d_opt", "param_count", "simulated",
)  # fmt: skip


def render_frontier_csv(summary: Summary) -> str:
    """One line per budget: its own floor, and the frontier there. Empty where there is no number."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    constants = (summary.source.param_count, "true" if summary.simulated else "false")
    for profile in summary.fit.profiles:
        writer.writerow((*_floor(profile), *_frontier(summary, profile.budget_flops), *constants))
    return text.getvalue()


def _floor(profile: Profile) -> tuple[object, ...]:
    return (
        profile.budget_flops,
        profile.n_points,
        profile.vertex,
        profile.n_opt,
        *_ends(profile.n_opt_ci),
        profile.d_opt,
        *_ends(profile.d_opt_ci),
        profile.loss_opt,
        profile.curvature,
        profile.rmse,
    )


def _ends(bounds: Interval | None) -> tuple[float | None, float | None]:
    return bounds or (None, None)


def _frontier(summary: Summary, budget_flops: float) -> tuple[float | None, float | None]:
    frontier = summary.fit.frontier
    if frontier is None:
        return None, None
    return (
        frontier.coef_n * budget_flops**frontier.exponent_a,
        frontier.coef_d * budget_flops**frontier.exponent_b,
    )
