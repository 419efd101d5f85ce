"""events.jsonl: what a worker says while it works, a JSON object per line, only ever appended and read while it grows.

Trainers are written by others too: a line that says nothing to us, half a line of a killed worker among them, is passed
over, and so is a key.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isoflop.files import append_line, lines_since

# Of a file that grows with the run, its end: some 300 events of half a second each.
TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class StartedEvent:
    """A worker has claimed the job and begins.

    Attributes:
        time: seconds since the epoch, for people; None in the line of a trainer that does not say.
        monotonic: on this machine's clock that never jumps, seconds; None likewise.
    """

    time: float | None
    monotonic: float | None
    attempt: int | None


@dataclass(frozen=True)
class ProgressEvent:
    """A run has come this far. `loss` is the training loss of one step, nats per token."""

    time: float | None
    run_id: str
    step: int
    n_tokens: int
    loss: float
    tokens_per_second: float


@dataclass(frozen=True)
class ResultEvent:
    """The result of a run lies in its place. `status` is the result's."""

    time: float | None
    monotonic: float | None
    run_id: str
    status: str | None


@dataclass(frozen=True)
class ObstacleEvent:
    """What stands in the way of every run: a sentence, and what to do."""

    message: str
    hint: str


Event = StartedEvent | ProgressEvent | ResultEvent | ObstacleEvent

# What a line's key `event` says of it.
_KEYS: dict[type[Event], str] = {
    StartedEvent: "started", ProgressEvent: "progress", ResultEvent: "result", ObstacleEvent: "obstacle"
}  # fmt: skip


def started_event(attempt: int) -> StartedEvent:
    """That attempt `attempt` begins this moment."""
    return StartedEvent(time.time(), time.monotonic(), attempt)


def result_event(run_id: str, status: str) -> ResultEvent:
    """That the run's result was written this moment."""
    return ResultEvent(time.time(), time.monotonic(), run_id, status)


def append_event(path: Path, event: Event) -> None:
    """Add one line."""
    append_line(path, json.dumps({"event": _KEYS[type(event)], **asdict(event)}, allow_nan=False).encode())


def read_events(path: Path, offset: int) -> tuple[list[Event], int]:
    """Whole events written since byte `offset`, and the offset to go on from."""
    lines, offset = lines_since(path, offset)
    return [event for line in lines if (event := parse_event(line))], offset


def last_events(path: Path) -> Iterator[Event]:
    """The events near the end of the file, newest first; half lines at both ends of what is read are passed over."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    for line in reversed(lines):
        if (event := parse_event(line)) is not None:
            yield event


def parse_event(line: bytes) -> Event | None:
    """The event of a line; None for one that says nothing to us."""
    try:
        return _understood(json.loads(line))
    except (ValueError, RecursionError, OverflowError):  # no JSON, too deep, a whole number beyond every float
        return None


def _understood(said: Any) -> Event | None:
    match said:
        case {"event": "started"}:
            return StartedEvent(_number(said, "time"), _number(said, "monotonic"), _whole(said, "attempt"))
        case {
            "event": "progress",
            "run_id": str(run_id),
            "step": int(step),
            "n_tokens": int(n_tokens),
            "loss": int() | float() as loss,
            "tokens_per_second": int() | float() as rate,
        } if min(step, n_tokens, rate) >= 0 and math.isfinite(loss) and math.isfinite(rate):
            return ProgressEvent(_number(said, "time"), run_id, step, n_tokens, float(loss), float(rate))
        case {"event": "result", "run_id": str(run_id)}:
            status = said.get("status")
            status = status if isinstance(status, str) else None
            return ResultEvent(_number(said, "time"), _number(said, "monotonic"), run_id, status)
        case {"event": "obstacle", "message": str(message), "hint": str(hint)}:
            return ObstacleEvent(message, hint)
    return None


def _number(said: dict[str, Any], key: str) -> float | None:
    value = said.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _whole(said: dict[str, Any], key: str) -> int | None:
    value = said.get(key)
    return value if isinstance(value, int) else None
