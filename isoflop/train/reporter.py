"""What a worker tells its coordinator while it trains: progress events and the heartbeat."""

import time

from isoflop.run_spec import RunSpec
from isoflop.rundir import RunDir
from isoflop.rundir.events import ProgressEvent
from isoflop.train.process import Stop
from isoflop.train.progress import Interrupted, Progress

# Progress is told this often; the longer a run takes, the less often, so that a day leaves a few megabytes.
SHORTEST_SECONDS, LONGEST_SECONDS, PER_EVENT = 0.5, 5.0, 1000
HEARTBEAT_SECONDS = 1.0
# How often a run that rests looks whether it may go on, seconds.
REST_SECONDS = 0.2


class Reporter:
    """Watches a run train: writes at most as often as a reader needs it, and passes a request to stop on."""

    def __init__(self, run: RunSpec, run_dir: RunDir, stop: Stop) -> None:
        self.run, self.run_dir, self.stop = run, run_dir, stop
        self.latest = Progress()
        self._next_event = self._next_heartbeat = 0.0
        self._tokens_then, self._then = 0, time.monotonic()
        self._begun = time.monotonic()

    def after_step(self, progress: Progress, loss: float) -> None:
        """Note one step."""
        self.latest = progress
        now = time.monotonic()
        if now >= self._next_event:
            self._event(progress, loss, now)
            self._next_event = now + min(LONGEST_SECONDS, max(SHORTEST_SECONDS, (now - self._begun) / PER_EVENT))
        if self.stop.paused.is_set():
            self._rest()

    def _rest(self) -> None:
        """Wait for the coordinator to go on, with a beating heart: it must not be taken for hung then.

        After a step, so that the rest counts as no training time.
        """
        began = time.monotonic()
        while self.stop.paused.is_set() and not self.stop.asked():
            self.beat()
            time.sleep(REST_SECONDS)
        self._then += time.monotonic() - began

    def between(self) -> None:
        """Say now and then that work goes on; raises Interrupted where it was asked to stop."""
        if self.stop.asked():
            raise Interrupted
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self.beat()
            self._next_heartbeat = now + HEARTBEAT_SECONDS

    def beat(self) -> None:
        """Say that the trainer lives and how far it is."""
        self.run_dir.beat(self.latest.step)

    def _event(self, progress: Progress, loss: float, now: float) -> None:
        n_tokens, seconds = progress.n_tokens - self._tokens_then, now - self._then
        if self._tokens_then == 0:  # the first: a resumed run's tokens were trained by then
            n_tokens, seconds = progress.n_tokens, progress.seconds
        rate = n_tokens / max(seconds, 1e-9)
        self._tokens_then, self._then = progress.n_tokens, now
        self.run_dir.append_event(
            ProgressEvent(
                time=time.time(),
                run_id=self.run.run_id,
                step=progress.step,
                n_tokens=progress.n_tokens,
                loss=loss,
                tokens_per_second=rate,
            )
        )
