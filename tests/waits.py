"""How tests wait for what other processes and threads do."""

import time
from collections.abc import Callable

import psutil


def until(found: Callable[[], object], seconds: float = 100.0) -> None:
    """Wait until that is true; the time is far more than it takes on a busy machine."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def has_ended(process: int | psutil.Process) -> bool:
    """Whether it is gone; one that has ended may still wait for whoever is to read its exit code."""
    try:
        one = psutil.Process(process) if isinstance(process, int) else process
        return bool(one.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
