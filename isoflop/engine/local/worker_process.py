"""WorkerProcess: a process forked for an engine, watched also where the server it was forked from has died."""

import contextlib
import multiprocessing.process
import os
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

from isoflop.processes import is_running, process_start
from isoflop.rundir import Assignment

# What multiprocessing makes of an exit code that died with the server; no worker of ours ends with it.
_LOST = 255
# A server tells of the end of a process within milliseconds.
TELL_SECONDS = 2.0


class WorkerProcess:
    """A started process. Its exit code reaches us through the server, its life does not depend on it.

    One with a `connection` lives on when its job is done, and takes another.
    """

    def __init__(self, process: ForkServerProcess, server_pid: int, connection: Connection | None = None) -> None:
        assert process.pid is not None, "the process was not started"
        self.pid = process.pid
        self.connection = connection
        self._process = process
        self._server_pid = server_pid
        self._start = _start_of(process.pid)
        self._untold_since: float | None = None
        self._server_gone_at: float | None = None

    @property
    def sentinel(self) -> int | None:
        """Ready (multiprocessing.connection.wait) when the process has ended; None where nothing will tell."""
        return self._process.sentinel if self._server_gone_at is None else None

    def is_alive(self) -> bool:
        """Whether the process runs. One whose server has died still checkpoints, or writes its result."""
        if self._process.is_alive():
            self._end_deaf_server()
            return True
        if self._process.exitcode != _LOST:
            return False
        self._server_gone_at = self._server_gone_at or time.monotonic()
        return self._runs()

    def _runs(self) -> bool:
        return self._start is not None and is_running(self.pid, self._start)

    def _end_deaf_server(self) -> None:
        """Kill a server that does not tell of the process's end: a stopped one would keep everybody waiting."""
        if self._runs():
            return
        self._untold_since = self._untold_since or time.monotonic()
        if time.monotonic() - self._untold_since > TELL_SECONDS:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._server_pid, signal.SIGKILL)

    def take_answer(self) -> int | None:
        """The exit code of the job it has done and outlived; None where it works on, or ends."""
        try:
            return self.connection.recv() if self.connection is not None and self.connection.poll() else None
        except (EOFError, ConnectionError):
            self.connection = None  # it would seem ready to whoever waits
            return None

    def take_on(self, assignment: Assignment) -> bool:
        """Give a process that has answered its next job; False where it has ended meanwhile."""
        try:
            if self.connection is None or not self.is_alive():
                return False
            self.connection.send(assignment)
        except ConnectionError:
            return False
        return True

    @property
    def seconds_without_server(self) -> float:
        """How long ago its server was found dead; 0 while that lives."""
        return 0.0 if self._server_gone_at is None else time.monotonic() - self._server_gone_at

    @property
    def exit_code(self) -> int | None:
        """Of the ended process, negative for a signal; None where it was lost with the server."""
        return None if self._process.exitcode == _LOST else self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal; nothing happens where it has ended."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def dismiss(self) -> None:
        """Kill a process that has no job. Safe in a signal handler."""
        if self._runs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        # Nobody asks how it ended; at exit multiprocessing would, and wait for a server that may have been stopped.
        multiprocessing.process._children.discard(self._process)  # type: ignore[attr-defined]


def kernel_kills() -> int:
    """Processes the kernel has killed for want of memory since boot, in any control group; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError):
        return 0


def _start_of(pid: int) -> float | None:
    try:
        return process_start(pid)
    except (psutil.NoSuchProcess, OSError):
        return None  # it has ended already
