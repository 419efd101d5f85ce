"""One writer per sweep, by name, and never longer than it lives."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.store import LockContent, sweep_lock

HOLD = """
import subprocess, sys
from pathlib import Path
from isoflop.store import sweep_lock
with sweep_lock(Path(sys.argv[1]), "demo"):
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "artifacts" / "demo.lock"


@contextmanager
def holder(path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the lock, and the pid of a program that it started."""
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def refusal(path: Path) -> IsoflopError:
    with pytest.raises(IsoflopError) as caught, sweep_lock(path, "demo"):
        pass
    return caught.value


def test_the_file_says_who_holds_the_lock_and_is_empty_afterwards(path: Path) -> None:
    with sweep_lock(path, "demo"):
        said = json.loads(path.read_text())
        assert set(said) == {"host", "pid", "process_start", "started_at", "command"}
        assert (said["host"], said["pid"]) == (socket.gethostname(), os.getpid())
        assert said["started_at"].endswith("+00:00")
    assert path.read_text() == ""


def test_a_second_holder_is_refused_and_told_who_since_when_and_by_which_command(path: Path) -> None:
    with holder(path) as (process, _):
        error = refusal(path)
        since = datetime.fromisoformat(json.loads(path.read_text())["started_at"])
        assert error.message == (
            f"Sweep 'demo' is held by process {process.pid} since {since:%Y-%m-%d %H:%M:%S} UTC (-c {path})."
        )
        assert error.hint.startswith(f"Wait for that process, or end it (`kill {process.pid}`):")


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("/opt/lib/isoflop/__main__.py run x.toml --device cuda", "isoflop run x.toml --device cuda"),
        ("'/my tools/isoflop/__main__.py' run 'my sweep.toml'", "isoflop run 'my sweep.toml'"),
        ("/usr/bin/isoflop fit x.toml", "isoflop fit x.toml"),
        ("isoflop", "isoflop"),
        ("a 'cut", "a 'cut"),
        ("", ""),
    ],
)
def test_a_command_reads_as_it_was_typed(command: str, typed: str) -> None:
    assert signed(command=command).typed == typed


def test_a_holder_on_another_host_is_named_with_it() -> None:
    assert signed().words == f"process {os.getpid()} since 2026-01-02 03:04:05 UTC (isoflop run x.toml)"
    away = signed(host="elsewhere", pid=17, started_at="2026-01-02T05:04:05.678+02:00")
    assert away.words == "process 17 on elsewhere since 2026-01-02 03:04:05 UTC (isoflop run x.toml)"


def signed(**changes: object) -> LockContent:
    fields = {"host": socket.gethostname(), "pid": os.getpid(), "process_start": 1.0, "command": "isoflop run x.toml"}
    return LockContent.model_validate({**fields, "started_at": "2026-01-02T03:04:05.678+00:00", **changes})


def test_a_refused_holder_leaves_the_lock_and_its_file_alone(path: Path) -> None:
    with holder(path) as (process, _):
        refusal(path)
        refusal(path)
        assert json.loads(path.read_text())["pid"] == process.pid


def test_kill_9_of_the_holder_releases_the_lock_though_a_program_it_started_lives_on(path: Path) -> None:
    with holder(path) as (process, child):
        process.kill()
        process.wait()
        os.kill(child, 0)
        assert path.read_text() != ""
        with sweep_lock(path, "demo"):
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_the_same_process_cannot_hold_it_twice_and_can_hold_it_again(path: Path) -> None:
    with sweep_lock(path, "demo"):
        assert f"process {os.getpid()}" in refusal(path).message
    with sweep_lock(path, "demo"):
        pass


def test_a_forked_child_does_not_keep_the_lock_beyond_the_block(path: Path) -> None:
    forking = """
import os, sys, time
from pathlib import Path
from isoflop.store import sweep_lock
with sweep_lock(Path(sys.argv[1]), "demo"):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
with sweep_lock(Path(sys.argv[1]), "demo"):
    os.kill(child, 0)
    os.kill(child, 9)
"""
    subprocess.run([sys.executable, "-c", forking, path], check=True, timeout=30)


def test_an_error_inside_the_block_releases_the_lock(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sweep_lock(path, "demo"):
        raise ZeroDivisionError
    with sweep_lock(path, "demo"):
        pass


def test_a_holder_that_has_not_yet_signed_is_still_a_holder(path: Path) -> None:
    with sweep_lock(path, "demo"):
        os.truncate(path, 0)
        assert "'demo'" in refusal(path).message


def test_a_longer_signature_before_leaves_no_trace(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("x" * 10_000)
    with sweep_lock(path, "demo"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("obstacle", ["a folder in its place", "a file as its folder"])
def test_a_lock_file_that_cannot_be_made_is_an_error_with_a_hint(path: Path, obstacle: str) -> None:
    if obstacle == "a folder in its place":
        path.mkdir(parents=True)
    else:
        path.parent.touch()
    error = refusal(path)
    assert str(path) in error.message
    assert error.hint
