"""The runs to train next as a table, with what they cost."""

import math
from collections.abc import Sequence

from isoflop.fit.results.target import Suggestion
from isoflop.plan.run_hours import SECONDS_PER_HOUR
from isoflop.report.fit_wording import percent
from isoflop.units import format_device_hours, format_flops, format_seconds
from isoflop.view.table import Column, Table
from isoflop.wording import count


def suggestion_table(suggested: Sequence[Suggestion], level: float) -> Table:
    """The runs to train next, one at least, and what they cost."""
    timed = all(one.device_hours is not None for one in suggested)
    return Table(
        title=f"Next runs, for N_opt at {format_flops(suggested[0].target_flops)} FLOPs",
        columns=(
            Column("FLOPs"),
            Column("N"),
            Column("D", spare=1),
            Column("budget", numeric=False, spare=2),
            *([Column("device time", spare=3)] if timed else []),
            Column("interval before"),
            Column("after"),
            Column("statistical", essential=False),
        ),
        rows=tuple(_suggestion_row(one, timed=timed) for one in suggested),
        note=f"The runs that narrow the interval of log10 N_opt there most per FLOP; {_together(suggested)}. "
        f"Intervals: half-width at {percent(level)}, decades, with model error; the runs of a new budget count "
        "together.",
    )


def _together(suggested: Sequence[Suggestion]) -> str:
    """What all of them cost."""
    flops = format_flops(math.fsum(one.budget_flops for one in suggested))
    hours = [one.device_hours for one in suggested if one.device_hours is not None]
    timed = f" and about {format_device_hours(math.fsum(hours))}" if len(hours) == len(suggested) else ""
    return f"together {flops} FLOPs{timed}"


def _suggestion_row(one: Suggestion, *, timed: bool) -> tuple[str, ...]:
    return (
        format_flops(one.budget_flops),
        count(one.n_params),
        count(one.n_tokens),
        "new" if one.opens_budget else "fitted",
        *([format_seconds(SECONDS_PER_HOUR * (one.device_hours or 0.0))] if timed else []),
        f"{one.half_width_before:.4f}",
        f"{one.half_width:.4f}",
        f"{one.half_width_statistical:.4f}",
    )
