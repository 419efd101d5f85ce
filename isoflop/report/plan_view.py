"""A plan as a page of text and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from isoflop.plan.estimate import Estimate
from isoflop.plan.types import Cell, DroppedCell, Plan
from isoflop.report.drawing import findings_block, table_block, text
from isoflop.report.plan_changes import PlanChanges, changes_document, print_changes
from isoflop.report.table import Column, Table
from isoflop.report.wording import SIMULATED_SENTENCE, count, ratio, runs
from isoflop.units import format_bytes, format_flops, format_seconds

SCHEMA_VERSION = 1


# Excluded runs that the text names; --json marks them all.
_NAMED_EXCLUDED = 3


@dataclass(frozen=True)
class PlanView:
    """What `isoflop plan` has to say.

    Attributes:
        estimate: time of the sweep.
        disk_bytes: room it needs at most.
        changes: against what the database had; None where it did not have the sweep.
        excluded: a person's reasons for leaving runs of the plan out of every fit, by run id.
    """

    plan: Plan
    estimate: Estimate
    disk_bytes: float
    changes: PlanChanges | None
    excluded: Mapping[str, str]


def plan_document(view: PlanView) -> dict[str, object]:
    """The plan as the JSON document of `isoflop plan --json`."""
    plan, estimate = view.plan, view.estimate
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": plan.sweep,
        "simulated": plan.simulated,
        "budgets": list(plan.budgets),
        "runs": [_run(cell, view.excluded.get(cell.run.run_id)) for cell in plan.cells],
        "dropped": [
            {"budget_flops": cell.budget_flops, "shape": cell.shape.as_dict(), "reason": cell.reason}
            for cell in plan.dropped
        ],
        "total_flops": plan.total_flops,
        "estimate": {
            "seconds": estimate.seconds,
            "measured": estimate.measured,
            "devices": list(estimate.devices),
            "disk_bytes": view.disk_bytes,
        },
        "changes": changes_document(view.changes) if view.changes else None,
        "findings": [finding.as_json() for finding in plan.findings],
    }


def _run(cell: Cell, excluded: str | None) -> dict[str, object]:
    run, shape = cell.run, cell.run.shape
    return {
        "run_id": run.run_id,
        "role": cell.role.value,
        "budget_flops": cell.budget_flops,
        "shape": shape.as_dict(),
        "n_params_total": shape.n_params_total,
        "n_params_non_embedding": shape.n_params_non_embedding,
        "n_params_matmul": shape.n_params_matmul,
        "n_tokens": run.n_tokens,
        "steps": run.n_steps,
        "batch_tokens": run.batch_tokens,
        "learning_rate": run.optimizer.learning_rate,
        "flops_per_token": shape.flops_per_token,
        "planned_flops": run.planned_flops,
        "tokens_per_param": run.n_tokens / shape.n_params_total,
        "epochs": cell.epochs,
        "seed": run.seed,
        "excluded": excluded,
    }


def print_plan(view: PlanView, console: Console) -> None:
    """Nothing; `console` shows what changed, the totals, then the cells, the dropped ones and the findings."""
    plan = view.plan
    console.print(text(f"Plan of {plan.sweep}", "bold"))
    if plan.simulated:
        console.print(text(SIMULATED_SENTENCE, "bold magenta"))
    if view.changes is not None and view.changes.differ:
        print_changes(view.changes, console)
    for line in (*_totals(view), *_excluded(view)):
        console.print(text(line))
    for table in (_cells(plan.cells), _dropped(plan.dropped) if plan.dropped else None):
        if table is not None:
            console.print(table_block(table, console))
    if plan.findings:
        console.print(findings_block(plan.findings))


def _totals(view: PlanView) -> Sequence[str]:
    plan, estimate = view.plan, view.estimate
    workers = f"{len(estimate.devices)} x {estimate.devices[0]}"
    basis = "measured" if estimate.measured else "guessed"
    return (
        f"{len(plan.runs)} runs at {len(plan.budgets)} budgets, {format_flops(plan.total_flops)} FLOPs in all",
        f"about {format_seconds(estimate.seconds)} on {workers} ({basis}), {format_bytes(view.disk_bytes)} of disk",
    )


def _excluded(view: PlanView) -> Sequence[str]:
    return (excluded_sentence(view.excluded),) if view.excluded else ()


def excluded_sentence(excluded: Mapping[str, str]) -> str:
    """How many runs a person left out of every fit, the first of them with the reasons."""
    named = "; ".join(f"{run_id}: {reason}" for run_id, reason in list(excluded.items())[:_NAMED_EXCLUDED])
    more = f"; ... and {len(excluded) - _NAMED_EXCLUDED} more" if len(excluded) > _NAMED_EXCLUDED else ""
    return f"{runs(len(excluded))} excluded from fits by hand ({named}{more})"


def _cells(cells: Sequence[Cell]) -> Table:
    columns = (
        Column("budget"), Column("N"), Column("D"), Column("D/N"), Column("layers"), Column("width"),
        Column("heads", essential=False), Column("ff", essential=False), Column("steps"), Column("batch"),
        Column("rate", essential=False), Column("epochs", essential=False), Column("seed", essential=False),
        Column("role", numeric=False, essential=False), Column("run", numeric=False),
    )  # fmt: skip
    return Table("Runs (batch and D in tokens)", columns, tuple(_cell_row(cell) for cell in cells))


def _cell_row(cell: Cell) -> tuple[str, ...]:
    run, shape = cell.run, cell.run.shape
    return (
        format_flops(cell.budget_flops), count(shape.n_params_total), count(run.n_tokens),
        ratio(run.n_tokens / shape.n_params_total), str(shape.n_layers), str(shape.width),
        f"{shape.n_heads}x{shape.head_dim}", str(shape.d_ff), str(run.n_steps), str(run.batch_tokens),
        f"{run.optimizer.learning_rate:.4f}", f"{cell.epochs:.2f}", str(run.seed), cell.role.value, run.run_id,
    )  # fmt: skip


def _dropped(dropped: Sequence[DroppedCell]) -> Table:
    columns = (Column("budget"), Column("N"), Column("reason", numeric=False))
    rows = tuple((format_flops(cell.budget_flops), count(cell.shape.n_params_total), cell.reason) for cell in dropped)
    return Table("Dropped", columns, rows)
