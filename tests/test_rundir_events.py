"""events.jsonl: the keys that others write and read, and lines that nobody should stumble over."""

import json
from pathlib import Path

import pytest

from isoflop.rundir import RunDir
from isoflop.rundir.events import (
    Event,
    ObstacleEvent,
    ProgressEvent,
    ResultEvent,
    StartedEvent,
    parse_event,
    result_event,
    started_event,
)

RUN = "0123456789ab"
# As workers have written them since the first version.
LINES: dict[str, tuple[Event, str]] = {
    "started": (
        StartedEvent(1.5, 2.5, 3),
        '{"event": "started", "time": 1.5, "monotonic": 2.5, "attempt": 3}',
    ),
    "progress": (
        ProgressEvent(1.5, RUN, 7, 448, 3.25, 1000.0),
        f'{{"event": "progress", "time": 1.5, "run_id": "{RUN}", "step": 7, "n_tokens": 448, "loss": 3.25,'
        ' "tokens_per_second": 1000.0}',
    ),
    "result": (
        ResultEvent(1.5, 2.5, RUN, "completed"),
        f'{{"event": "result", "time": 1.5, "monotonic": 2.5, "run_id": "{RUN}", "status": "completed"}}',
    ),
    "obstacle": (
        ObstacleEvent("No room.", "Make some."),
        '{"event": "obstacle", "message": "No room.", "hint": "Make some."}',
    ),
}  # fmt: skip
PROGRESS = json.loads(LINES["progress"][1])


@pytest.mark.parametrize("kind", LINES)
def test_an_event_is_written_under_the_keys_it_always_had_and_read_back(tmp_path: Path, kind: str) -> None:
    event, line = LINES[kind]
    run_dir = RunDir(tmp_path)
    run_dir.append_event(event)
    assert run_dir.events_path.read_text() == f"{line}\n"
    assert run_dir.read_events(0) == ([event], len(line) + 1)
    assert list(run_dir.last_events()) == [event]


@pytest.mark.parametrize(
    "line",
    ["", "{", "[1]", "7", "null", '"started"', "{}", '{"event": "sung"}', '{"event": ["started"]}',
     '{"event": "result"}', '{"event": "result", "run_id": 7}', '{"event": "obstacle", "message": "No room."}',
     "[" * 100_000, b"\xff\xfe".decode("latin-1")],
)  # fmt: skip
def test_a_line_that_says_nothing_to_us_is_passed_over(line: str) -> None:
    assert parse_event(line.encode("latin-1")) is None


@pytest.mark.parametrize(
    "changes",
    [{"step": "7"}, {"step": -1}, {"n_tokens": None}, {"loss": float("nan")}, {"loss": float("inf")}, {"loss": "3"},
     {"loss": 10**400}, {"tokens_per_second": -1.0}, {"tokens_per_second": float("inf")}, {"run_id": 7}],
    ids=str,
)  # fmt: skip
def test_progress_of_another_make_is_passed_over(changes: dict[str, object]) -> None:
    assert parse_event(json.dumps({**PROGRESS, **changes}).encode()) is None


def test_a_foreign_trainer_may_say_less_and_more() -> None:
    assert parse_event(b'{"event": "started"}') == StartedEvent(None, None, None)
    odd = b'{"event": "started", "time": "noon", "monotonic": NaN, "attempt": 1.5, "mood": "good"}'
    assert parse_event(odd) == StartedEvent(None, None, None)
    said = parse_event(f'{{"event": "result", "run_id": "{RUN}", "status": 1}}'.encode())
    assert said == ResultEvent(None, None, RUN, None)
    assert parse_event(json.dumps({**PROGRESS, "loss": 3, "mood": "good"}).encode()) == ProgressEvent(
        1.5, RUN, 7, 448, 3.0, 1000.0
    )


def test_an_event_of_this_moment_tells_both_clocks() -> None:
    first, second = started_event(1), result_event(RUN, "completed")
    assert first.time is not None and second.time is not None and second.monotonic is not None
    assert second.monotonic >= (first.monotonic or 0.0) > 0.0


def test_events_survive_a_torn_line_and_are_read_once(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    started, ended = LINES["started"][0], LINES["result"][0]
    run_dir.append_event(started)
    with run_dir.events_path.open("a") as file:
        file.write('{"event": "result", "lo')
    first, offset = run_dir.read_events(0)
    run_dir.append_event(ended)
    second, offset = run_dir.read_events(offset)
    assert (first, second) == ([started], [ended])
    assert run_dir.read_events(offset) == ([], offset)
