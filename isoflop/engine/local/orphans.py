"""Workers whose coordinator has died: they end by themselves within seconds, and are helped where they cannot."""

import contextlib
import os
import signal
import time

from isoflop.rundir import RunDir

# An orphan checkpoints and ends within five seconds (train/process.py); a stopped process cannot.
PATIENCE_SECONDS = 10.0


class OrphanHunt:
    """Remembers since when an orphan has been in the way."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def in_the_way(self, run_dir: RunDir) -> bool:
        """Whether a living process has claimed the directory; an orphan that will not end is killed."""
        claim = run_dir.read_claim()
        if claim is None or not claim.is_alive:
            return False
        if claim.is_orphan:
            since = self._since.setdefault(claim.pid, time.monotonic())
            if time.monotonic() - since > PATIENCE_SECONDS:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(claim.pid, signal.SIGKILL)
        return True
