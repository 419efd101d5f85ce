"""Locks: of the dead they do not bind, of the living they are respected and named."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.engine.conftest import SWEEP, Sandbox, kill
from tests.faults.processes import freeze
from tests.faults.said import is_sentence

LONG = SWEEP.replace("[6e8, 1.2e9]", "[6e10]")


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@contextmanager
def held(path: Path, content: bytes) -> Iterator[None]:
    """The lock, held by this process under any content."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(content)
        file.flush()
        yield


def test_the_lock_of_a_dead_process_does_not_block_and_is_not_mentioned(drawn: Sandbox) -> None:
    stale = {
        "host": socket.gethostname(),
        "pid": dead_pid(),
        "process_start": 1.0,
        "started_at": "2020-01-01T00:00:00+00:00",
        "command": "isoflop run tiny.toml",
    }
    (drawn.folder / "isoflop.db.drawn.lock").write_text(json.dumps(stale))
    out, err = drawn.run("run", "tiny.toml", "--json")
    assert json.loads(out)["runs"]["completed"] == 21
    assert f"process {stale['pid']}" not in err and "is held" not in err  # digits alone are in many ids


def test_claims_of_dead_processes_do_not_block(drawn: Sandbox) -> None:
    """Known by host, pid and start time: a pid alone may belong to somebody else by now."""
    claim = {"process_start": 1.0, "started_at": "2020-01-01T00:00:00+00:00", "attempt": 1}
    here = socket.gethostname()
    claims = [
        {**claim, "host": here, "pid": dead_pid()},
        {**claim, "host": here, "pid": os.getpid()},  # of this number once, and of this very process now
        {**claim, "host": "elsewhere", "pid": os.getpid()},
    ]
    drawn.run("plan", "tiny.toml")
    for (run_id,), stale in zip(drawn.rows("select run_id from cells"), claims * 7, strict=True):
        folder = drawn.folder / "isoflop-artifacts" / str(run_id)
        folder.mkdir(parents=True)
        (folder / "claim.json").write_text(json.dumps(stale))
        (folder / ".lock").touch()
    out, _ = drawn.run("run", "tiny.toml", "--json")
    assert json.loads(out)["runs"]["completed"] == 21


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_living_holder_is_named_with_pid_start_time_and_command(sandbox: Sandbox, state: str) -> None:
    (sandbox.folder / "tiny.toml").write_text(LONG)
    before = datetime.now(UTC)
    holder = sandbox.start("run", "tiny.toml", "--workers", "1")
    try:
        sandbox.wait_for(lambda: (lock := sandbox.folder / "isoflop.db.tiny.lock").exists() and lock.read_text())
        if state == "stopped":
            assert freeze(holder.pid)
        said = json.loads((sandbox.folder / "isoflop.db.tiny.lock").read_text())
        assert said["pid"] == holder.pid and said["host"] == socket.gethostname()
        assert before <= datetime.fromisoformat(said["started_at"]) <= datetime.now(UTC)
        for command in ("plan", "run"):
            _, err = sandbox.run(command, "tiny.toml", code=1)
            assert is_sentence(err)
            since = datetime.fromisoformat(said["started_at"])
            named = f"process {holder.pid} since {since:%Y-%m-%d %H:%M:%S} UTC (isoflop run tiny.toml --workers 1)"
            assert f"is held by {named}." in " ".join(err.split())
        assert holder.poll() is None
    finally:
        os.kill(holder.pid, signal.SIGCONT)
        kill(holder, signal.SIGTERM)


GARBAGE = [b"", b"\xff\xfe\x00", b"{", b"[]", b"7", b'{"host": "x"}', b'{"pid": null, "host": 1, "started_at": []}']


def test_a_lock_with_garbage_in_it_is_still_a_lock_while_held_and_none_afterwards(drawn: Sandbox) -> None:
    path = drawn.folder / "isoflop.db.drawn.lock"
    for content in GARBAGE:
        with held(path, content):
            _, err = drawn.run("run", "tiny.toml", code=1)
            assert is_sentence(err) and "'drawn'" in err and "held by" in err, content
            assert path.read_bytes() == content
    drawn.run("plan", "tiny.toml")
    assert path.read_bytes() == b""
