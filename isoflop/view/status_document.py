"""How a sweep stands, as JSON."""

from typing import Any

from isoflop.status.holder import Holder
from isoflop.status.positions import Position, State
from isoflop.status.sweep_status import Failure, Omission, SweepStatus
from isoflop.status.time_left import TimeLeft, done
from isoflop.status.work import Work
from isoflop.store import RunCell, SweepCell
from isoflop.view.document import SCHEMA_VERSION


def status_document(status: SweepStatus) -> dict[str, Any]:
    """The status as the JSON document of `isoflop status --json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": status.sweep,
        "at": status.at.isoformat(timespec="seconds"),
        "simulated": status.simulated,
        "n_runs": status.n_runs,
        "counts": {state.value: number for state, number in status.counts.items()},
        "flops_planned": status.flops_planned,
        "flops_done": status.flops_done,
        "flops_failed": status.flops_failed,
        "cells": [_cell(cell, state) for cell, state in status.cells],
        "lowest": [_lowest(place) for place in status.positions if place.lowest],
        "begun": [_begun(work, cell) for work, cell in status.works],
        "failures": [_failure(failure) for failure in status.failures],
        "left_out": [_omission(entry) for entry in status.omissions],
        "estimate": _estimate(status.time_left),
        "holder": _holder(status.holder),
        "abandoned_by": _holder(status.abandoned_by),
        "next": status.next.value,
        "findings": [finding.as_json() for finding in status.findings],
    }


def _cell(cell: SweepCell, state: State) -> dict[str, object]:
    run, loss = cell if isinstance(cell, RunCell) else None, cell.completed
    return {
        "run_id": cell.run_id,
        "role": cell.role.value if cell.role else None,
        "budget_flops": cell.budget_flops,
        "n_params_total": cell.n_params_total,
        "n_tokens": run.n_tokens if run else None,
        "seed": run.seed if run else None,
        "state": state.value,
        "loss": loss.val_loss if loss else None,
        "loss_se": loss.val_loss_se if loss else None,
        "attempts": run.n_attempts if run else 0,
    }


def _lowest(place: Position) -> dict[str, object]:
    return {
        "budget_flops": place.budget_flops,
        "n_params_total": place.n_params,
        "loss": place.loss,
        "n_runs": place.n_used,
    }


def _begun(work: Work, cell: RunCell) -> dict[str, object]:
    at = work.reported
    return {
        "run_id": work.run_id,
        "state": work.activity.value,
        "budget_flops": cell.budget_flops,
        "n_params_total": cell.n_params_total,
        "host": work.host,
        "pid": work.pid,
        "engine": work.engine,
        "engine_job": work.engine_job,
        "alive": work.alive,
        "device_kind": work.device_kind,
        "attempt": work.attempt,
        "step": at.step if at else None,
        "steps": cell.n_steps,
        "share_done": done(cell, work),
        "loss": at.loss if at else None,
        "tokens_per_second": at.tokens_per_second if at else None,
        "heartbeat_seconds": work.heartbeat_seconds,
        "log_path": str(work.log_path),
    }


def _failure(failure: Failure) -> dict[str, object]:
    cell = failure.cell
    return {
        "run_id": cell.run_id,
        "status": failure.status.value,
        "budget_flops": cell.budget_flops,
        "n_params_total": cell.n_params_total,
        "reason": failure.reason,
        "log_path": str(failure.log_path) if failure.log_path else None,
        "attempts": failure.n_attempts,
    }


def _omission(entry: Omission) -> dict[str, object]:
    return {
        "run_id": entry.cell.run_id,
        "state": entry.state.value,
        "budget_flops": entry.cell.budget_flops,
        "n_params_total": entry.cell.n_params_total,
        "reason": entry.why,
    }


def _estimate(left: TimeLeft | None) -> dict[str, object] | None:
    if left is None:
        return None
    return {
        "seconds": left.seconds,
        "measured": left.measured,
        "devices": [left.device_name] * left.n_workers,
        "at_work": left.at_work,
    }


def _holder(holder: Holder | None) -> dict[str, object] | None:
    if holder is None:
        return None
    signed = holder.signature
    return {
        "host": signed.host if signed else None,
        "pid": signed.pid if signed else None,
        "started_at": signed.started_at.isoformat(timespec="seconds") if signed else None,
        "command": signed.command if signed else None,
        "alive": holder.alive,
    }
