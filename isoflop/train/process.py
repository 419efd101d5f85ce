"""Being a good child process: dying with the parent, stopping when asked."""

import ctypes
import os
import signal
import sys
from types import FrameType, TracebackType

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent dies (Linux), and leave the terminal's process group.

    Elsewhere only the second part happens; the coordinator then stops its workers itself.
    """
    parent = os.getppid()
    os.setsid()  # Ctrl-C reaches the coordinator, which asks its workers to stop
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGTERM)


class Stop:
    """A request to stop, made by SIGTERM and honoured between two steps."""

    def __init__(self) -> None:
        self._asked = False

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
