"""The processes of a running sweep, and ways to stop one exactly where it is."""

import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil

from tests.engine.conftest import Sandbox, alive


def fork_server(coordinator: int) -> int | None:
    """The process that workers are forked from; None while there is none."""
    for process in _children(coordinator):
        with _gone():
            if any("forkserver" in argument for argument in process.cmdline()):
                return process.pid
    return None


def descendants(coordinator: int) -> list[int]:
    """Every process that the coordinator started, and that those did."""
    with _gone():
        return [process.pid for process in psutil.Process(coordinator).children(recursive=True)]
    return []


def is_worker(pid: int, server: int) -> bool:
    """The process was forked by the fork server."""
    with _gone():
        return psutil.Process(pid).ppid() == server
    return False


def has_stepped(sandbox: Sandbox, run_id: str) -> bool:
    """A worker has reported a step of the run."""
    events = sandbox.folder / "isoflop-artifacts" / run_id / "events.jsonl"
    return events.exists() and '"progress"' in events.read_text()


def freeze(pid: int) -> bool:
    """Stop the process where it is; False if it had ended."""
    try:
        os.kill(pid, signal.SIGSTOP)
        while (state := _state(pid)) not in "Tt":
            if state in "ZX":
                return False
        return True
    except OSError:
        return False


def thaw(pid: int) -> None:
    """Let a frozen process go on."""
    os.kill(pid, signal.SIGCONT)


def kill_frozen(pid: int) -> None:
    """End a process that was seen to be alive: it was frozen."""
    assert _state(pid) in "Tt"
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < end, f"process {pid} outlives SIGKILL"
        time.sleep(0.001)


def reap(process: "subprocess.Popen[str]") -> int:
    """Exit code of a process that is ending; its pipes are closed."""
    process.communicate(timeout=60)
    return process.returncode


def in_transaction(db: Path) -> bool:
    """Somebody holds the database's write lock."""
    connection = sqlite3.connect(db, timeout=0, isolation_level=None)
    try:
        connection.execute("begin immediate")
        connection.execute("rollback")
        return False
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    finally:
        connection.close()


def _children(pid: int) -> list[psutil.Process]:
    with _gone():
        return psutil.Process(pid).children()
    return []


class _gone:
    """A block that ends quietly when the process it looks at has ended."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> bool:
        return isinstance(error, psutil.NoSuchProcess)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
