"""From a source to a summary, as `fit` and `report` both need it."""

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.fit import fit_sweep
from isoflop.report.source import load_source
from isoflop.report.summary import Summary, summarize
from isoflop.units import parse_quantity

LOWEST_LEVEL, HIGHEST_LEVEL = 0.5, 0.999


def read_and_fit(source: str, *, db: Path, sweep: str | None, targets: Sequence[str], level: float) -> Summary:
    """Read the rows of `source`, fit them and say what came out.

    Raises:
        IsoflopError: an unusable source, target or level.
    """
    if not LOWEST_LEVEL <= level <= HIGHEST_LEVEL:
        raise IsoflopError(
            f"--level {level:g} is not a coverage this fit can give.",
            hint=f"Choose one between {LOWEST_LEVEL:g} and {HIGHEST_LEVEL:g}, such as 0.9.",
        )
    budgets = [parse_quantity(target, what="--target in FLOPs") for target in targets]
    rows = load_source(source, db=db, sweep=sweep)
    fit = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss, level=level, targets=budgets)
    command = shlex.join(["isoflop", *sys.argv[1:]])
    return summarize(rows, fit, generated_at=datetime.now(UTC).isoformat(timespec="seconds"), commands=[command])
