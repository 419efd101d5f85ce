"""The frontier as CSV, for a spreadsheet or a plot of one's own: the recommended one, the parabola's and the floors."""

import csv
import io

from isoflop.fit.intervals import Interval
from isoflop.fit.results.profile import Frontier, Profile
from isoflop.fit.results.target import Target
from isoflop.report.summary import Summary

COLUMNS = (
    "budget_flops", "n_opt_recommended", "n_opt_recommended_low", "n_opt_recommended_high", "d_opt_recommended",
    "d_opt_recommended_low", "d_opt_recommended_high", "n_opt_parabola", "d_opt_parabola", "n_points", "vertex",
    "n_opt", "n_opt_low", "n_opt_high", "d_opt", "d_opt_low", "d_opt_high", "loss_opt", "curvature", "rmse",
    "frontier_n_opt", "frontier_d_opt", "param_count", "simulated",
)  # fmt: skip


def render_frontier_csv(summary: Summary) -> str:
    """One line per budget: the recommended frontier, the parabola's (by two names) and the budget's own floor.

    Intervals of the recommended frontier are those of the targets, statistical and model error together. Empty where
    there is no number.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    found = summary.fit.estimators.recommended
    readings = {reading.budget_flops: reading for reading in found.readings} if found else {}
    constants = (summary.source.param_count, "true" if summary.simulated else "false")
    for profile in summary.fit.profiles:
        recommended = _recommended(readings.get(profile.budget_flops))
        parabola = _parabola(summary.fit.frontier, profile.budget_flops)
        writer.writerow((profile.budget_flops, *recommended, *parabola, *_floor(profile), *parabola, *constants))
    return text.getvalue()


def _recommended(reading: Target | None) -> tuple[float | None, ...]:
    if reading is None:
        return (None,) * 6
    return reading.n_opt, *_ends(reading.n_opt_ci), reading.d_opt, *_ends(reading.d_opt_ci)


def _floor(profile: Profile) -> tuple[object, ...]:
    return (
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


def _parabola(frontier: Frontier | None, budget_flops: float) -> tuple[float | None, float | None]:
    if frontier is None:
        return None, None
    return (
        frontier.coef_n * budget_flops**frontier.exponent_a,
        frontier.coef_d * budget_flops**frontier.exponent_b,
    )
