"""Processes known by id and start time, so that a number given to another one is not mistaken for the first."""

import os
import sys
from pathlib import Path

import psutil

# Start times of one process read at two moments agree this well, seconds.
START_TIME_TOLERANCE = 1.0


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
