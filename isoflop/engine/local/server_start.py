"""What the process that workers are forked from imports first: it dies with the coordinator, at any moment.

It would notice only between two requests: not while it imports torch, which takes seconds, nor while it is stopped.
"""

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from isoflop.rundir import Assignment

# The coordinator's id, set where this process is a child of the coordinator's main thread: Linux sends the signal at
# the end of the thread that started a process.
PARENT = "ISOFLOP_COORDINATOR_PID"
# A safe path is for the server, which has it by now, and not for what workers start.
SAFE_PATH, OURS = "PYTHONSAFEPATH", "isoflop"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; end it now if that has happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def work_on(assignment: "Assignment", engine: "Connection | None" = None) -> None:
    """Entry point of a worker (`run_assignments`), for an engine that has no need to load what workers do."""
    from isoflop.train.worker import run_assignments

    run_assignments(assignment, engine)


if os.environ.get(SAFE_PATH) == OURS:
    del os.environ[SAFE_PATH]
if PARENT in os.environ:
    die_with(int(os.environ.pop(PARENT)))
