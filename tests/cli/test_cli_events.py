"""`isoflop run --events`: what other programs read, and what may happen to their file."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from isoflop.cli.event_stream import EventStream
from isoflop.cli.line_sink import MOST_WAITING, LineSink, line_sink
from isoflop.engine.notices import AttemptEnded, Holder, Notice, Progressed, Waiting
from isoflop.view.notice_document import notice_document
from tests.cli.test_cli_surface import SIMULATED
from tests.commands import isoflop, isoflop_here
from tests.report_examples import grid

PAGE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
HEAD = {"schema_version", "event", "time", "sweep"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    return tmp_path


def documented(event: str) -> set[str]:
    """Fields of the event by the reference."""
    section = PAGE.split("\n### events of run\n")[1].split("\n### ")[0]
    found = re.search(rf"^\| `{event}` \| (.+?) \|", section, re.MULTILINE)
    assert found is not None, f"the page has no event {event!r}"
    return set(re.findall(r"`(\w+)`", found[1]))


@pytest.mark.slow
def test_a_file_gets_every_event_of_every_command_as_the_reference_says(folder: Path) -> None:
    isoflop("run", "drawn.toml", "--events", "events.jsonl", folder=folder)
    first = (folder / "events.jsonl").read_text()
    events = [json.loads(line) for line in first.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "sweep_started" and names[-1] == "sweep_ended"
    assert {name: names.count(name) for name in ("attempt_started", "run_finished", "attempt_ended")} == {
        "attempt_started": 21,
        "run_finished": 21,
        "attempt_ended": 21,
    }
    for event in events:
        assert event.keys() == HEAD | documented(event["event"]), event["event"]
        assert event["schema_version"] == 1 and event["sweep"] == "drawn"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["time"])
    once = isoflop("run", "drawn.toml", "--json", "--events", "events.jsonl", folder=folder)
    assert events[-1]["summary"].keys() == json.loads(once.stdout).keys()
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"schema_ver')  # as a killed command leaves it
    isoflop("run", "drawn.toml", "--events", "events.jsonl", folder=folder)
    text = (folder / "events.jsonl").read_text()
    assert text.startswith(first)
    *_, torn, started, ended = text.splitlines()
    assert torn == '{"schema_ver'
    assert (json.loads(started)["n_done"], json.loads(ended)["exit_code"]) == (21, 0)


@pytest.mark.slow
def test_stdout_has_events_alone_and_a_reader_that_goes_stops_nothing(folder: Path) -> None:
    command = [sys.executable, "-m", "isoflop", "run", "drawn.toml", "--events", "-"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["event"] == "sweep_started"
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 0
    assert "drawn: 21 completed" in said and "cannot be written" not in said
    (folder / "isoflop.db").unlink()
    again = isoflop("run", "drawn.toml", "--events", "-", folder=folder)
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert [event["worker"] for event in events if event["event"] == "run_finished"] == [None] * 21
    assert "drawn: 21 completed" in again.stderr


@pytest.mark.slow
def test_a_full_disk_under_the_events_is_said_once_and_harms_nothing(folder: Path) -> None:
    done = isoflop("run", "drawn.toml", "--events", "/dev/full", folder=folder)
    assert done.stderr.count("Events cannot be written to '/dev/full': No space left on device") == 1
    assert "drawn: 21 completed" in done.stdout


def test_what_cannot_take_events_is_refused_before_anything_is_planned(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for arguments, said in (
        (["absent/events"], "No such file or directory"),
        (["."], "Is a directory"),
        (["pipe"], "nobody reads that pipe"),
        (["drawn.toml"], "holds something else than events"),
        (["isoflop.db"], "is a file of the database"),
        (["./isoflop.db-wal"], "is a file of the database"),
        (["-", "--json"], "both take standard output"),
        (["events", "--again", "abcd"], "--again trains what it names"),
    ):
        done = isoflop_here("run", "drawn.toml", "--events", *arguments, folder=folder, code=1)
        assert said in done.stderr and done.stderr.count("\n") == 2
    assert not list(folder.glob("isoflop.db*")) and (folder / "drawn.toml").read_text() == SIMULATED


def test_a_pipe_that_is_full_gets_its_lines_later_each_whole() -> None:
    inside, outside = os.pipe()
    os.set_blocking(outside, False)
    said: list[str] = []
    sink = LineSink(outside, "no", said.append)
    lines = [f"{number:06d} {'x' * 500}" for number in range(1000)]
    for line in lines:
        sink.put(line)
    read = b""
    while len(read) < sum(len(line) + 1 for line in lines):
        read += os.read(inside, 65536)
        sink._push()
    assert read.decode().splitlines() == lines and not said
    os.close(inside)
    sink.put("more")
    sink.put("and more")
    assert not said, "a reader that goes is no trouble"
    os.close(outside)


def test_lines_that_nobody_reads_are_left_out_at_last_and_counted() -> None:
    inside, outside = os.pipe()
    os.set_blocking(outside, False)
    said: list[str] = []
    sink = LineSink(outside, "Events cannot be written", said.append)
    for _ in range(MOST_WAITING // 2**18 + 2):
        sink.put("x" * 2**18)
    assert sink.n_left_out == 2
    assert said == ["Events cannot be written: nobody reads them; the sweep goes on without."]
    os.close(inside)
    os.close(outside)


def test_every_notice_of_the_engine_is_documented() -> None:
    for kind in get_args(Notice):
        name = re.sub(r"(?<=.)(?=[A-Z])", "_", kind.__name__).lower()
        assert documented(name), name


def test_numbers_that_json_has_not_are_null_and_times_are_of_the_calendar() -> None:
    (cell, *_) = grid(1e12)
    run_id = cell.run.run_id
    told = notice_document(Progressed(run_id, 0, 7, 700, math.nan, math.inf), {run_id: cell})
    assert (told["event"], told["loss"], told["tokens_per_second"]) == ("progressed", None, None)
    assert (told["budget_flops"], told["seed"], told["planned_tokens"]) == (1e12, 0, cell.run.n_tokens)
    assert told.keys() - {"event"} == documented("progressed")
    waiting = notice_document(Waiting((run_id,), (Holder(7, (run_id,), orphan=False, stopped=True),)), {})
    assert waiting.keys() - {"event"} == documented("waiting")
    assert waiting["holders"] == [{"pid": 7, "run_ids": [run_id], "orphan": False, "stopped": True}]
    ended = AttemptEnded(run_id, (run_id,), 1, 0, "hal", "GPU", 0.0, 1.5, 77.0, "died", "it died", Path("log.txt"))
    told = notice_document(ended, {})
    assert (told["started_at"], told["ended_at"]) == ("1970-01-01T00:00:00.000+00:00", "1970-01-01T00:00:01.500+00:00")
    assert told["log_path"] == "log.txt" and "at" not in told


def test_the_first_signal_is_an_event(tmp_path: Path) -> None:
    (cell, *_) = grid(1e12)
    notice = Progressed(cell.run.run_id, 0, 7, 700, 3.0, 1.0)
    with line_sink(str(tmp_path / "events"), "Events", print) as sink:
        stream = EventStream(sink)
        assert list(stream.passing(iter([notice, notice]), [signal.SIGTERM])) == [notice, notice]
    names = [json.loads(line)["event"] for line in (tmp_path / "events").read_text().splitlines()]
    assert names == ["stopping"]
