"""Whether a worker gives signs of life: by its heartbeat, on this process's own clock, whatever the wall clock does."""

import time
from collections.abc import Callable

from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import RunDir
from isoflop.rundir.events import ProgressEvent

# A step may take this many times as long as the usual one before it counts as hung.
USUAL_STEPS = 20
# What a worker has to write its stack before it is killed, seconds.
DUMP_SECONDS = 1.0


class Vigil:
    """Watches one attempt's heartbeat file."""

    def __init__(self, run_dir: RunDir, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._run_dir, self._stall_seconds, self._clock = run_dir, stall_seconds, clock
        self._usual_step = 0.0
        self._mark = self._look()
        self._since = self._clock()
        self._warned: float | None = None

    def learn_pace(self, job: Job, at: ProgressEvent) -> None:
        """Take in how long a step usually takes."""
        tokens = next((run.batch_tokens for run in job.runs if isinstance(run, RunSpec) and run.run_id == at.run_id), 0)
        if at.tokens_per_second > 0:
            self._usual_step = tokens / at.tokens_per_second

    def too_long(self) -> float | None:
        """Seconds without a sign of life, where that is longer than any step should take; else None."""
        mark, now = self._look(), self._clock()
        if mark != self._mark:
            self._mark, self._since, self._warned = mark, now, None
        silence = now - self._since
        if silence <= max(self._stall_seconds, USUAL_STEPS * self._usual_step):
            return None
        self._warned = self._warned or now
        return silence

    def excuse(self) -> None:
        """Count from now on: until now no sign of life could be given."""
        self._since, self._warned = self._clock(), None

    def dumped(self) -> bool:
        """Whether the worker has had time to write its stack since it was found silent."""
        return self._warned is not None and self._clock() - self._warned > DUMP_SECONDS

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self._run_dir.heartbeat_path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino
