"""Runs with a result as trackers are given them, out of the database or as they end."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime

from isoflop.plan.types import Cell, Role
from isoflop.result import CurvePoint, RunResult, Status
from isoflop.run_spec import RunSpec
from isoflop.shape import Shape
from isoflop.store import RunCell, Store, run_cells
from isoflop.track import TrackedRun
from isoflop.units import format_flops
from isoflop.wording import count


def recorded_runs(store: Store, sweep: str) -> Iterator[TrackedRun]:
    """Every run of the sweep that has a result, each once."""
    curves = store.curves(sweep)
    done = {cell.run_id: cell for cell in run_cells(store.cells(sweep)) if cell.result is not None}
    for run_id, cell in done.items():
        yield _recorded(cell, curves.get(run_id, ()))


def _recorded(cell: RunCell, curve: tuple[CurvePoint, ...]) -> TrackedRun:
    result, completed = cell.result, cell.completed
    assert result is not None, "the caller chose runs with a result"
    losses = (completed.val_loss, completed.val_loss_se, completed.bits_per_byte) if completed else (None, None, None)
    return TrackedRun(
        sweep=cell.sweep,
        key=_key(cell.run_id, result.status),
        status=result.status.value,
        reason=cell.broken.reason if cell.broken else None,
        simulated=result.simulated,
        parameters=_parameters(
            cell.shape,
            cell.role,
            budget_flops=cell.budget_flops,
            n_tokens=cell.n_tokens,
            planned_flops=cell.planned_flops,
            seed=cell.seed,
            batch_tokens=cell.batch_tokens,
            learning_rate=cell.learning_rate,
        ),
        outcome=_outcome(*losses, result.achieved_flops, result.seconds, result.tokens_per_second),
        curve=curve,
        ended_at=_moment(result.finished_at),
        seconds=result.seconds,
        **_names(cell.shape, cell.budget_flops, cell.seed),
    )


def ended_run(sweep: str, cell: Cell, result: RunResult) -> TrackedRun:
    """A run of the plan as it ends."""
    run = cell.run
    own = run if isinstance(run, RunSpec) else None
    return TrackedRun(
        sweep=sweep,
        key=_key(result.run_id, result.status),
        status=result.status.value,
        reason=result.reason,
        simulated=result.simulated,
        parameters=_parameters(
            run.shape,
            cell.role,
            budget_flops=cell.budget_flops,
            n_tokens=run.n_tokens,
            planned_flops=run.planned_flops,
            seed=run.seed,
            batch_tokens=own.batch_tokens if own else None,
            learning_rate=own.optimizer.learning_rate if own else None,
        ),
        outcome=_outcome(
            result.val_loss,
            result.val_loss_se,
            result.bits_per_byte,
            result.achieved_flops,
            result.seconds,
            result.tokens_per_second,
        ),
        curve=result.curve,
        ended_at=_moment(result.finished_at),
        seconds=result.seconds,
        **_names(run.shape, cell.budget_flops, run.seed),
    )


def _key(run_id: str, status: Status) -> str:
    return run_id if status is Status.COMPLETED else f"{run_id}-{status.value}"


def _names(shape: Shape, budget_flops: float, seed: int) -> dict[str, str]:
    return {"name": f"N {count(shape.n_params_total)} seed {seed}", "group": f"C {format_flops(budget_flops)}"}


def _parameters(
    shape: Shape,
    role: Role,
    *,
    budget_flops: float,
    n_tokens: int,
    planned_flops: float,
    seed: int,
    batch_tokens: int | None,
    learning_rate: float | None,
) -> Mapping[str, float | int | str]:
    said = {
        "budget_flops": budget_flops,
        "planned_flops": planned_flops,
        "n_params_total": shape.n_params_total,
        "n_tokens": n_tokens,
        "tokens_per_param": n_tokens / shape.n_params_total,
        "batch_tokens": batch_tokens,
        "learning_rate": learning_rate,
        "seed": seed,
        "role": role.value,
    }
    return {name: value for name, value in said.items() if value is not None}


def _outcome(*values: float | None) -> Mapping[str, float]:
    names = ("val_loss", "val_loss_se", "bits_per_byte", "achieved_flops", "seconds", "tokens_per_second")
    named = zip(names, values, strict=True)
    return {name: value for name, value in named if value is not None and math.isfinite(value)}


def _moment(finished_at: str) -> float:
    return datetime.fromisoformat(finished_at).timestamp()
