"""Being a good child process: dying with the parent, stopping when asked, showing where it hangs."""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from types import FrameType, TracebackType

import psutil

from isoflop.processes import process_start
from isoflop.rundir import ExitCode

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# How often a worker looks whether it has been orphaned, and how long it may then take to checkpoint, seconds.
# Together with the look itself below the five seconds that no orphan survives.
LOOK_SECONDS = 0.5
ORPHAN_SECONDS = 3.5
# Asks a hung worker for the stack of every thread. Answered in C, whatever Python is doing.
DUMP_SIGNAL = signal.SIGUSR1


def die_with_parent(coordinator_pid: int) -> threading.Event:
    """Set while the coordinator is stopped (Ctrl-Z); the process checkpoints and ends when parent or coordinator dies.

    It leaves the terminal's group, so that what a person types there reaches the coordinator alone.

    Linux sends SIGTERM at the parent's death; a thread, which also runs while a kernel computes, looks at both
    and ends the process for good where it has not ended by itself.
    """
    parent = os.getppid()
    os.setsid()  # Ctrl-C reaches the coordinator, which asks its workers to stop
    _let_go_of_the_fork_server()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    paused = threading.Event()
    threading.Thread(target=_watch, args=(parent, _identity(coordinator_pid), paused), daemon=True).start()
    return paused


def die_at_once_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, where it can (Linux); end now if that has happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(ExitCode.ORPHANED)


def _let_go_of_the_fork_server() -> None:
    """Close the pipe whose last holder's death ends the fork server: a worker starts no processes through it.

    Held, it would keep the server, and so this process, alive after the coordinator.
    """
    descriptor = getattr(forkserver._forkserver, "_forkserver_alive_fd", None)
    if descriptor is not None:
        os.close(descriptor)
        forkserver._forkserver._forkserver_alive_fd = None  # type: ignore[attr-defined]


def _identity(pid: int) -> tuple[int, float | None]:
    """A process by id and start time; None for the time of one that is gone."""
    try:
        ended = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return pid, None if ended else process_start(pid)
    except (psutil.NoSuchProcess, OSError):
        return pid, None


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def _watch(parent: int, coordinator: tuple[int, float | None], paused: threading.Event) -> None:
    pid, started = coordinator
    while os.getppid() == parent and started is not None and _identity(pid) == coordinator:
        if _is_stopped(pid):
            paused.set()
        else:
            paused.clear()
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    for child in psutil.Process().children(recursive=True):  # of a program of the user's own
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(ExitCode.ORPHANED)


def dump_stacks_when_asked() -> None:
    """Have DUMP_SIGNAL write the stack of every thread to this process's standard error."""
    faulthandler.register(DUMP_SIGNAL, file=sys.stderr, all_threads=True)


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Everything this process prints goes to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class Stop:
    """A request to stop, made by SIGTERM and honoured between two pieces of work.

    Attributes:
        paused: set while the work is to rest.
    """

    def __init__(self, paused: threading.Event | None = None) -> None:
        self._asked = False
        self.paused = paused or threading.Event()

    def __enter__(self) -> "Stop":
        self._previous = signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the fork server blocks it
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGTERM, self._previous)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def asked(self) -> bool:
        """True once SIGTERM has come."""
        return self._asked
