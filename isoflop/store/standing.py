"""Standing: what a cell of a sweep is to the fit."""

from enum import StrEnum

from isoflop.plan.types import Role
from isoflop.result import Status
from isoflop.store.rows import SweepCell
from isoflop.units import format_count, format_flops

# Plans are made of whole steps and trainers count the steps they take: any real difference is a trainer's mistake.
PLAN_TOLERANCE = 0.005

# Probes and controls follow another recipe on purpose, and a confirming run is there to judge the fit.
_FITTED_ROLES = frozenset({Role.GRID, Role.REPLICATE, Role.SUGGESTED})


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
        f"planned {format_flops(cell.planned_flops or 0.0)} FLOPs and {format_count(cell.n_tokens or 0)} tokens, "
        f"achieved {format_flops(cell.achieved_flops or 0.0)} and {format_count(cell.achieved_tokens or 0)}"
    )
