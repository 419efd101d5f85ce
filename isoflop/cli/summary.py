"""From sources to a summary, as `fit` and `report` both need it."""

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.fit import fit_sweep
from isoflop.report.pool import load_sources
from isoflop.report.summary import Summary, summarize
from isoflop.report.table.columns import parse_renames
from isoflop.units import parse_quantity

LOWEST_LEVEL, HIGHEST_LEVEL = 0.5, 0.999
LEAST_WINDOW, MOST_WINDOW = 0.1, 10.0


def read_and_fit(
    sources: Sequence[str],
    *,
    db: Path,
    sweep: str | None,
    columns: Sequence[str],
    targets: Sequence[str],
    level: float,
    window: float | None,
    surface_loss: str,
) -> Summary:
    """Read the rows of all `sources`, fit them as one and say what came out.

    Raises:
        IsoflopError: an unusable source, column, target, level or window.
    """
    if not LOWEST_LEVEL <= level <= HIGHEST_LEVEL:
        raise IsoflopError(
            f"--level {level:g} is not a coverage this fit can give.",
            hint=f"Choose one between {LOWEST_LEVEL:g} and {HIGHEST_LEVEL:g}, such as 0.9.",
        )
    if window is not None and not LEAST_WINDOW <= window <= MOST_WINDOW:
        raise IsoflopError(
            f"--window {window:g} is no distance to keep runs within.",
            hint=f"Give decades of N between {LEAST_WINDOW:g} and {MOST_WINDOW:g}; 0.6 did best on published sweeps.",
        )
    budgets = [parse_quantity(target, what="--target in FLOPs") for target in targets]
    rows = load_sources(sources, db=db, sweep=sweep, renames=parse_renames(columns))
    fit = fit_sweep(
        rows.budget_flops,
        rows.n_params,
        rows.n_tokens,
        rows.loss,
        loss_se=rows.loss_se,
        trunk=rows.trunk,
        level=level,
        targets=budgets,
        window=window,
        residuals=surface_loss,
    )
    command = shlex.join(["isoflop", *sys.argv[1:]])
    return summarize(rows, fit, generated_at=datetime.now(UTC).isoformat(timespec="seconds"), commands=[command])
