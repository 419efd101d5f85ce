"""Processes known by id and start time, so that a number given to another one is not mistaken for the first."""

import contextlib
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

# Start times of one process read at two moments agree this well, seconds.
START_TIME_TOLERANCE = 1.0
# A process may start another while it is looked for; none does so for ever that is killed when it is found.
_MOST_LOOKS = 5


def is_running(pid: int, started: float) -> bool:
    """Whether the process of this machine that `process_start` gave `started` for is there, and no zombie."""
    try:
        same = abs(process_start(pid) - started) < START_TIME_TOLERANCE
        return same and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OSError, ValueError, OverflowError):
        return False


def process_start(pid: int) -> float:
    """When the process started: on Linux seconds after boot, which no change of the clock moves, else of the epoch.

    Raises:
        OSError, psutil.NoSuchProcess: there is no such process.
    """
    if sys.platform != "linux":
        return float(psutil.Process(pid).create_time())
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")  # starttime: proc_pid_stat(5), field 22


def kill_with_variable(name: str, values: Collection[str]) -> None:
    """Kill every process of this user that was started with one of these values of an environment variable.

    So are found those that a program left in a session of their own when it was killed together with its parent.
    """
    for _ in range(_MOST_LOOKS):
        found = list(_with_variable(name, values))
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=1.0)
        if not found:
            return


def _with_variable(name: str, values: Collection[str]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # another user's, or it has just ended
            wanted = process.pid != os.getpid() and process.environ().get(name) in values
            if wanted and process.status() != psutil.STATUS_ZOMBIE:
                yield process
