"""Who holds a sweep: a process that lives, one that was killed, and lock files that say little."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from isoflop.processes import process_start
from isoflop.status.holder import Holder, read_holder
from isoflop.status.sweep_status import Next
from isoflop.store import is_held, sweep_lock
from isoflop.store.lock import PROBE_SECONDS
from tests.report_examples import grid, save_sweep
from tests.status.status_examples import shown, status_of


def test_the_holder_is_a_process_that_lives(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    assert read_holder(lock) is None
    with sweep_lock(lock, "demo"):
        holder = read_holder(lock)
        assert holder is not None and holder.alive and holder.signature is not None
        assert (holder.signature.pid, holder.signature.host) == (os.getpid(), socket.gethostname())
    assert read_holder(lock) is None


def test_the_lock_of_a_killed_process_is_no_holder(tmp_path: Path) -> None:
    spec = save_sweep(tmp_path / "x.db", grid(1e12), [])
    code = (
        "import sys, time; from pathlib import Path; from isoflop.store import sweep_lock\n"
        "with sweep_lock(Path(sys.argv[1]), 'demo'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "x.lock"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        status = status_of(tmp_path, spec)
        assert status.holder is not None and status.holder.signature is not None
        assert status.holder.signature.pid == process.pid
        assert status.next is Next.WAIT
        # Without blanks: a long path is broken over lines.
        assert "".join(f"Held by {status.holder.signature.words}.".split()) in "".join(shown(status).split())
        process.send_signal(signal.SIGKILL)
    status = status_of(tmp_path, spec)
    assert status.holder is None
    assert status.abandoned_by is not None and status.abandoned_by.signature is not None
    assert status.abandoned_by.signature.pid == process.pid
    assert status.next is Next.RUN
    text = "".join(shown(status).split())
    assert "isgone" in text and "Heldby" not in text


@pytest.mark.parametrize(
    ("changes", "alone", "held"),
    [
        ({"process_start": 1.0}, "abandoned", "unnamed"),
        ({"started_at": "2001-01-01T00:00:00.000+00:00"}, "nobody", "named"),
        ({"started_at": "2101-01-01T00:00:00.000+00:00"}, "nobody", "named"),
        ({"host": "elsewhere"}, "unknown", "named"),
        ({"pid": 2**31 - 1}, "abandoned", "unnamed"),
        ({"pid": -1}, "abandoned", "unnamed"),
        ({}, "nobody", "named"),
    ],
    ids=[
        "number given to another process",
        "clock set forward since",
        "clock set back since",
        "elsewhere",
        "no such process",
        "no number",
        "this process",
    ],
)
def test_what_a_lock_file_says_is_checked(tmp_path: Path, changes: dict[str, object], alone: str, held: str) -> None:
    """Against the process it names, and against the lock itself."""
    content = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "command": "isoflop run demo.toml",
    }
    lock = tmp_path / "x.lock"
    lock.write_text(json.dumps({**content, **changes}))
    assert kind_of(read_holder(lock)) == alone
    with held_by_another(lock):
        assert kind_of(read_holder(lock)) == held


def test_a_holder_on_another_host_is_named_and_what_cannot_be_seen_is_said(tmp_path: Path) -> None:
    spec = save_sweep(tmp_path / "x.db", grid(1e12), [])
    lock = tmp_path / "x.lock"
    started = "2026-01-02T03:04:05.000+00:00"
    lock.write_text(
        json.dumps(
            {
                "host": "hal",
                "pid": 77,
                "process_start": 1.0,
                "started_at": started,
                "command": "/bin/isoflop run d.toml",
            }
        )
    )
    since = "since 2026-01-02 03:04:05 UTC (isoflop run d.toml)"
    unknown, living = f"Held by process 77 on hal {since}; whether it still runs", f"Held by process 77 on hal {since}."
    assert unknown in " ".join(shown(status_of(tmp_path, spec)).split())
    with held_by_another(lock):
        assert living in " ".join(shown(status_of(tmp_path, spec)).split())


def kind_of(holder: Holder | None) -> str:
    if holder is None:
        return "nobody"
    if holder.alive:
        return "unnamed" if holder.signature is None else "named"
    return "unknown" if holder.alive is None else "abandoned"


@contextmanager
def held_by_another(lock: Path) -> Iterator[None]:
    """A program that is no isoflop of this version holds the lock and leaves the file as it is."""
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", '{"pid": "x"}',
        '{"host":"o","pid":1,"process_start":1,"started_at":"0001-01-01T00:00:00+14:00","command":"x"}',
    ],
)  # fmt: skip
def test_a_lock_file_that_says_nothing_names_no_holder_but_is_seen_to_be_held(tmp_path: Path, content: str) -> None:
    spec = save_sweep(tmp_path / "x.db", grid(1e12), [])
    (tmp_path / "x.lock").write_text(content)
    assert read_holder(tmp_path / "x.lock") is None
    with held_by_another(tmp_path / "x.lock"):
        status = status_of(tmp_path, spec)
    assert status.holder == Holder(None, alive=True) and status.next is Next.WAIT
    assert "has not yet written its id" in " ".join(shown(status).split())


def test_looking_at_the_lock_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    """A look holds the lock for microseconds; here it lasts tens of milliseconds."""
    lock = tmp_path / "x.lock"
    lock.touch()
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        letting_go = threading.Timer(PROBE_SECONDS / 3, fcntl.flock, (file, fcntl.LOCK_UN))
        letting_go.start()
        with sweep_lock(lock, "demo"):
            assert is_held(lock)
        letting_go.join()
    assert not is_held(lock)
