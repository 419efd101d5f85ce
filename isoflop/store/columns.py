"""Rows of the tables from the types of the package, and back."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from isoflop.plan.measurement import Measurement
from isoflop.plan.types import Cell, DroppedCell, Role
from isoflop.result import Metric, RunResult, Status
from isoflop.run_spec import AnyRun, RunSpec
from isoflop.shape import CountedShape, LadderModel, ModelShape, Shape
from isoflop.store.cell import BrokenResult, CompletedResult, EmptyCell, RunCell, SweepCell, cell_result
from isoflop.store.known_runs import KnownRun, PlannedRun

Row = dict[str, Any]


def run_row(run: AnyRun) -> Row:
    """The row of `runs` for a run planned now."""
    shape = run.shape
    return {
        "run_id": run.run_id,
        "spec_json": run.model_dump_json(),
        "trainer": run.trainer,
        "shape": shape_text(shape),
        "n_params_embedding": shape.n_params_embedding,
        "n_params_attention": shape.n_params_attention,
        "n_params_mlp": shape.n_params_mlp,
        "n_params_norm": shape.n_params_norm,
        "n_params_head": shape.n_params_head,
        "n_params_total": shape.n_params_total,
        "n_params_non_embedding": shape.n_params_non_embedding,
        "n_params_matmul": shape.n_params_matmul,
        "n_tokens": run.n_tokens,
        "n_steps": None,
        "batch_tokens": None,
        "learning_rate": None,
        "warmup_steps": None,
        "cooldown_steps": None,
        **(_recipe(run) if isinstance(run, RunSpec) else {}),
        "flops_per_token": shape.flops_per_token,
        "planned_flops": run.planned_flops,
        "seed": run.seed,
        "corpus_fingerprint": run.corpus_fingerprint,
        "tokenizer": run.tokenizer,
        "created_at": utc_now(),
    }


def _recipe(run: RunSpec) -> Row:
    """What isoflop decides about a run, and a program of the user's own decides by itself."""
    return {
        "n_steps": run.n_steps,
        "batch_tokens": run.batch_tokens,
        "learning_rate": run.optimizer.learning_rate,
        "warmup_steps": run.schedule.warmup_steps,
        "cooldown_steps": run.schedule.cooldown_steps,
    }


def cell_row(sweep: str, cell: Cell) -> Row:
    """The row of `cells` for a run in its place."""
    return {
        "sweep": sweep,
        "run_id": cell.run.run_id,
        "budget_flops": float(cell.budget_flops),
        "role": cell.role.value,
        "epochs": float(cell.epochs),
    }


def dropped_row(sweep: str, cell: DroppedCell) -> Row:
    """The row of `cells` for a size that nobody will train."""
    return {
        "sweep": sweep,
        "budget_flops": float(cell.budget_flops),
        "shape": shape_text(cell.shape),
        "drop_reason": cell.reason,
    }


def result_row(result: RunResult) -> Row:
    """The row of `results` for a result recorded now: its fields flat, its curve left to `curves`."""
    row = result.model_dump(mode="json", exclude={"curve", "provenance", "execution", "metrics"})
    execution = json.dumps(result.execution, sort_keys=True, allow_nan=False)
    return {**row, **result.provenance.model_dump(), "execution": execution, "recorded_at": utc_now()}


def metric_row(run_id: str, metric: Metric) -> Row:
    """The row of `metrics` for what a run's model can do."""
    return {"run_id": run_id, **metric.model_dump()}


def stored_metric(row: Row) -> Metric:
    """The metric that a row of `metrics` describes."""
    known = {name: row[name] for name in Metric.model_fields}
    return Metric(**{**known, "higher_is_better": bool(row["higher_is_better"])})


def measurement_row(measurement: Measurement) -> Row:
    """The row of `measurements` for what a trial found."""
    row = {field.name: getattr(measurement, field.name) for field in fields(measurement)}
    execution = json.dumps(dict(measurement.execution), sort_keys=True, allow_nan=False)
    return {**row, "shape": shape_text(measurement.shape), "execution": execution}


def stored_measurement(row: Row) -> Measurement:
    """The measurement that a row of `measurements` describes."""
    known = {field.name: row[field.name] for field in fields(Measurement)}
    execution = _parse_execution(row["execution"])
    return Measurement(**{**known, "shape": parse_shape(row["shape"]), "execution": execution})


def sweep_cell(row: Row, shape: Shape) -> SweepCell:
    """The cell that a joined row of `cells`, `runs` and `results` describes; the row is used up."""
    row["shape"] = shape
    if row["run_id"] is None:
        return EmptyCell.of(row)
    result = _result(row) if row["status"] else None
    row.update(role=Role(row["role"]), result=result, metrics={})
    return RunCell.of(row)


def _result(row: Row) -> CompletedResult | BrokenResult:
    row.update(
        status=Status(row["status"]),
        simulated=bool(row["simulated"]),
        git_dirty=None if row["git_dirty"] is None else bool(row["git_dirty"]),
        execution=_parse_execution(row["execution"] or "{}"),
    )
    return cell_result(row)


def known_run(row: Row) -> KnownRun:
    """The run that a joined row of `runs` and `results` describes."""
    status = Status(row["status"]) if row["status"] is not None else None
    return KnownRun(**{**row, "asked_for": bool(row["asked_for"]), "status": status})


def planned_run(row: Row) -> PlannedRun:
    """The run that a joined row of `cells`, `runs` and `results` describes."""
    return PlannedRun(**{**row, "status": None if row["status"] is None else Status(row["status"])})


# A sweep of ten thousand runs has a handful of different ones.
@lru_cache(maxsize=256)
def _parse_execution(text: str) -> Mapping[str, object]:
    content = json.loads(text)
    return MappingProxyType(content if isinstance(content, dict) else {})


def shape_text(shape: Shape) -> str:
    """The shape as JSON."""
    return json.dumps(shape.as_dict())


def parse_shape(text: str) -> Shape:
    """The shape that its JSON describes."""
    content = json.loads(text)
    if "arguments" in content:
        return LadderModel(**content)
    return CountedShape(**content) if "n_params_total" in content else ModelShape(**content)


def finite(row: Row) -> Row:
    """The row itself.

    Raises:
        ValueError: a number is NaN, which SQLite would store as "absent", or infinite, which JSON cannot say.
    """
    for column, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{column} = {value}")
    return row


def utc_now() -> str:
    """This moment in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
