"""How tests wait for what other processes and threads do."""

import time
from collections.abc import Callable


def until(found: Callable[[], object], seconds: float = 100.0) -> None:
    """Wait until that is true; the time is far more than it takes on a busy machine."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)
