"""Findings on the runs that were planned and are not in the fit."""

from collections.abc import Sequence

from isoflop.finding import Finding, Severity
from isoflop.plan.types import Role
from isoflop.store import RunCell, Standing, SweepCell, run_cells
from isoflop.units import format_flops
from isoflop.wording import count, runs

_NAMED_CELLS = 3

# Code, severity, what happened, what to do.
_FINDINGS = {
    Standing.PENDING: (
        "runs_pending",
        Severity.WARNING,
        "no result yet",
        "`isoflop run` trains the missing runs; this fit uses only runs that have a result.",
    ),
    Standing.DIVERGED: (
        "runs_diverged",
        Severity.WARNING,
        "diverged",
        "`isoflop report` names their logs; where a whole corner of the grid diverges, lower recipe.learning_rate.",
    ),
    Standing.FAILED: (
        "runs_failed",
        Severity.WARNING,
        "failed",
        "`isoflop report` names their logs; remove the cause, then train these runs again with `isoflop run --retry`.",
    ),
    Standing.OFF_PLAN: (
        "flops_mismatch",
        Severity.ERROR,
        "trained on FLOPs or tokens more than 0.5 % off the plan, so not at the planned budget, and left out",
        "Check how the trainer counts steps and tokens; such a run belongs to no profile.",
    ),
    Standing.EXCLUDED: (
        "runs_excluded",
        Severity.INFO,
        "excluded by hand",
        "`isoflop include RUN` takes a run's exclusion back.",
    ),
}


def omission_findings(cells: Sequence[SweepCell]) -> tuple[Finding, ...]:
    """One finding for each kind of run that was planned and is not fitted; none for checks and dropped cells.

    A confirm run is missed by no fit, whatever became of it; a report says that in a sentence of its own.
    """
    planned = [cell for cell in run_cells(cells) if cell.role is not Role.CONFIRM]
    found = ((kind, [cell for cell in planned if cell.standing is kind]) for kind in _FINDINGS)
    return tuple(_finding(kind, omitted, len(planned)) for kind, omitted in found if omitted)


def _finding(kind: Standing, omitted: Sequence[RunCell], n_planned: int) -> Finding:
    code, severity, what, hint = _FINDINGS[kind]
    named = "; ".join(_name(cell) for cell in omitted[:_NAMED_CELLS])
    more = "; ..." if len(omitted) > _NAMED_CELLS else ""
    return Finding(
        code=code,
        severity=severity,
        message=f"{runs(len(omitted))} of {n_planned}: {what} ({named}{more}).",
        hint=hint,
        values={"n_runs": len(omitted), "n_planned": n_planned, "run_ids": [cell.run_id for cell in omitted]},
    )


def _name(cell: RunCell) -> str:
    why = cell.plan_miss or (cell.broken.reason if cell.broken else None)
    if cell.excluded:
        marked = cell.excluded if cell.standing is Standing.EXCLUDED else f"excluded: {cell.excluded}"
        why = f"{why}; {marked}" if why else marked
    place = f"{format_flops(cell.budget_flops)} FLOPs at {count(cell.n_params_total)}"
    return f"{place}: {why}" if why else place
