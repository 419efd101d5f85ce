"""Where each cell of a sweep stands towards the fit, and what a reader should know of those left out."""

from collections.abc import Sequence
from enum import StrEnum

from isoflop.finding import Finding, Severity
from isoflop.plan.types import Role
from isoflop.report.wording import count, runs
from isoflop.result import Status
from isoflop.store import SweepCell
from isoflop.units import format_flops

# Plans are made of whole steps and trainers count the steps they take: any real difference is a trainer's mistake.
PLAN_TOLERANCE = 0.005

# Probes and controls follow another recipe on purpose, and a confirming run is there to judge the fit.
_FITTED_ROLES = frozenset({Role.GRID, Role.REPLICATE, Role.SUGGESTED})

_NAMED_CELLS = 3


class Standing(StrEnum):
    """What a cell is to the fit. Only `used` enters it."""

    USED = "used"
    PENDING = "pending"
    DIVERGED = "diverged"
    FAILED = "failed"
    OFF_PLAN = "off_plan"
    EXCLUDED = "excluded"
    CHECK = "check_run"
    DROPPED = "dropped"

    @property
    def words(self) -> str:
        """The value as people write it."""
        return self.value.replace("_", " ")


_ENDED_BADLY = {Status.DIVERGED: Standing.DIVERGED, Status.FAILED: Standing.FAILED}

# Code, severity, what happened, what to do.
_FINDINGS = {
    Standing.PENDING: (
        "runs_pending",
        Severity.WARNING,
        "no result yet",
        "`isoflop run` trains what is missing; this fit uses the runs that are there.",
    ),
    Standing.DIVERGED: (
        "runs_diverged",
        Severity.WARNING,
        "diverged",
        "`isoflop report` names their logs; where a whole corner diverges, lower recipe.learning_rate.",
    ),
    Standing.FAILED: (
        "runs_failed",
        Severity.WARNING,
        "failed",
        "`isoflop report` names their logs; mend the cause, then run these again.",
    ),
    Standing.OFF_PLAN: (
        "flops_mismatch",
        Severity.ERROR,
        "trained on FLOPs or tokens more than 0.5 % off its plan, so not at its budget, and left out",
        "Check how the trainer counts steps and tokens; such a run belongs to no profile.",
    ),
    Standing.EXCLUDED: (
        "runs_excluded",
        Severity.INFO,
        "excluded by hand",
        "`isoflop include RUN` takes a run's exclusion back.",
    ),
}


def standing(cell: SweepCell) -> Standing:
    """What `cell` is to the fit."""
    if cell.drop_reason is not None:
        return Standing.DROPPED
    if cell.status is None:
        return Standing.PENDING
    if cell.status in _ENDED_BADLY:
        return _ENDED_BADLY[cell.status]
    if cell.excluded is not None:
        return Standing.EXCLUDED
    if cell.role not in _FITTED_ROLES:
        return Standing.CHECK
    return Standing.OFF_PLAN if plan_error(cell) > PLAN_TOLERANCE else Standing.USED


def plan_error(cell: SweepCell) -> float:
    """The larger of |achieved - planned| / planned FLOPs and tokens of a completed run."""
    assert cell.achieved_flops is not None and cell.planned_flops is not None
    assert cell.achieved_tokens is not None and cell.n_tokens is not None
    return max(
        abs(cell.achieved_flops - cell.planned_flops) / cell.planned_flops,
        abs(cell.achieved_tokens - cell.n_tokens) / cell.n_tokens,
    )


def off_plan_sentence(cell: SweepCell) -> str:
    """How a run missed its plan: `planned 1.00e12 FLOPs and 2.10M tokens, achieved 0.97e12 and 2.04M`."""
    return (
        f"planned {format_flops(cell.planned_flops or 0.0)} FLOPs and {count(cell.n_tokens)} tokens, "
        f"achieved {format_flops(cell.achieved_flops or 0.0)} and {count(cell.achieved_tokens)}"
    )


def standing_findings(cells: Sequence[SweepCell]) -> tuple[Finding, ...]:
    """One finding for each kind of run that was planned and is not fitted; none for checks and dropped cells."""
    planned = [cell for cell in cells if cell.drop_reason is None]
    found = ((kind, [cell for cell in planned if standing(cell) is kind]) for kind in _FINDINGS)
    return tuple(_finding(kind, left_out, len(planned)) for kind, left_out in found if left_out)


def _finding(kind: Standing, left_out: Sequence[SweepCell], n_planned: int) -> Finding:
    code, severity, what, hint = _FINDINGS[kind]
    named = "; ".join(_name(cell) for cell in left_out[:_NAMED_CELLS])
    more = "; ..." if len(left_out) > _NAMED_CELLS else ""
    return Finding(
        code=code,
        severity=severity,
        message=f"{runs(len(left_out))} of {n_planned}: {what} ({named}{more}).",
        hint=hint,
        values={"n_runs": len(left_out), "n_planned": n_planned, "run_ids": [cell.run_id for cell in left_out]},
    )


def _name(cell: SweepCell) -> str:
    where = standing(cell)
    why = cell.excluded if where is Standing.EXCLUDED else cell.reason
    if where is Standing.OFF_PLAN:
        why = off_plan_sentence(cell)
    if cell.excluded and where is not Standing.EXCLUDED:
        why = f"{why}; excluded: {cell.excluded}" if why else f"excluded: {cell.excluded}"
    place = f"{format_flops(cell.budget_flops)} FLOPs at {count(cell.n_params_total)}"
    return f"{place}: {why}" if why else place
