"""What an engine tells, as JSON for other programs."""

import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from isoflop.engine.notices import AttemptEnded, AttemptStarted, Notice, Progressed, RunFinished
from isoflop.plan.types import Cell
from isoflop.result import RunResult

# Of a result in an event; the rest is in the database.
_OF_A_RESULT = (
    "status", "reason", "attempt", "val_loss", "val_loss_se", "bits_per_byte", "n_steps", "n_tokens", "achieved_flops",
    "seconds", "tokens_per_second", "finished_at",
)  # fmt: skip


def notice_document(notice: Notice, cells: Mapping[str, Cell]) -> dict[str, object]:
    """The notice under its name in small letters (`run_finished`), with what the plan says of its run."""
    name = re.sub(r"(?<=.)(?=[A-Z])", "_", type(notice).__name__).lower()
    return {"event": name, **_run(notice, cells), **_content(notice)}


def _content(notice: Notice) -> dict[str, object]:
    # `at` is on a clock that other processes do not know.
    said = {field.name: plain(getattr(notice, field.name)) for field in fields(notice) if field.name != "at"}
    match notice:
        case RunFinished():
            said.pop("result")
            return {**said, **_result(notice.result)}
        case AttemptEnded():
            return {**said, "started_at": utc(notice.started_at), "ended_at": utc(notice.ended_at)}
        case _:
            return said


def _result(result: RunResult) -> dict[str, object]:
    return {name: plain(getattr(result, name)) for name in _OF_A_RESULT}


def _run(notice: Notice, cells: Mapping[str, Cell]) -> dict[str, object]:
    """What is planned of the one run that a notice is about; empty of others."""
    match notice:
        case AttemptStarted():
            run_id = notice.job_id
        case Progressed():
            run_id = notice.run_id
        case RunFinished():
            run_id = notice.result.run_id
        case _:
            return {}
    cell = cells.get(run_id)
    if cell is None:
        return {}
    return {
        "run_id": run_id,
        "role": cell.role.value,
        "budget_flops": cell.budget_flops,
        "n_params_total": cell.run.shape.n_params_total,
        "planned_tokens": cell.run.n_tokens,
        "seed": cell.run.seed,
    }


def plain(value: object) -> object:
    """The value as JSON has it; a number that is not finite is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value


def utc(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
