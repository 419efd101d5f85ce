"""One attempt: a worker at work on a job, and what has been read of it."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from isoflop.engine.notices import AttemptStarted, LateResult, Notice, Progressed, RunFinished
from isoflop.engine.protocol import Order, Place, WorkerRef
from isoflop.engine.vigil import Vigil
from isoflop.errors import IsoflopError
from isoflop.run_spec import AnyRun, CommandRun, Job
from isoflop.rundir import RunDir
from isoflop.rundir.events import Event, ObstacleEvent, ProgressEvent, ResultEvent, StartedEvent


@dataclass
class Attempt:
    """A worker and its run directory.

    Attributes:
        number: of the attempt, from 1.
        slot, device: where it runs.
        worker: what its engine calls it.
        offset: bytes of events.jsonl read so far.
        memory: bytes of the device it was given.
        n_packed: runs at once on its GPU.
        started_at, begun: the same moment in seconds since the epoch, and on the clock that never jumps.
        latest: how far the worker said it was, last.
        obstacle: what the worker met that every other would meet; None for nothing.
        hung: why it was killed as hung; None while it gives signs of life.
        has_own_result: whether it has left a result, and did not only find one of another attempt.
        told: the order that it was given last.
        place: where it runs, in the words of its engine.
    """

    number: int
    slot: int
    device: str
    job: Job
    run_dir: RunDir
    worker: WorkerRef
    offset: int
    vigil: Vigil
    memory: float
    n_packed: int = 1
    started_at: float = field(default_factory=time.time)
    begun: float = field(default_factory=time.monotonic)
    latest: ProgressEvent | None = None
    obstacle: IsoflopError | None = None
    hung: str | None = None
    has_own_result: bool = False
    told: Order | None = None
    place: Place = field(default_factory=lambda: Place(socket.gethostname()))
    _reported: set[str] = field(default_factory=set)
    _late: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[AnyRun]:
        """The job's runs without a result so far."""
        return [run for run in self.job.runs if run.run_id not in self._reported]

    def read(self) -> Iterator[Notice]:
        """What the worker has written since last time."""
        events, self.offset = self.run_dir.read_events(self.offset)
        for event in events:
            yield from self._understood(event)

    def _understood(self, event: Event) -> Iterator[Notice]:
        match event:
            case StartedEvent():
                yield AttemptStarted(self.job.job_id, self.number, self.slot, self.device, self._moment(event))
            case ProgressEvent() if any(run.run_id == event.run_id for run in self.job.runs):
                self.latest = event
                self.vigil.learn_pace(self.job, event)
                yield Progressed(
                    event.run_id, self.slot, event.step, event.n_tokens, event.loss, event.tokens_per_second
                )
            case ObstacleEvent():
                self.obstacle = self.obstacle or IsoflopError(event.message, hint=event.hint)
            case ResultEvent():
                yield from self.result(event.run_id, self._moment(event))

    def _moment(self, event: StartedEvent | ResultEvent) -> float:
        """When a worker says something happened, on the clock that never jumps; now, where its clock is another's."""
        if event.monotonic is None or self.place.engine != "local":
            return time.monotonic()
        return event.monotonic

    def result(self, run_id: str, at: float) -> Iterator[RunFinished | LateResult]:
        """The run's result, once, if there is one; of no worker of ours if another sweep's process came by it."""
        result = self.run_dir.read_result(run_id)
        if result is None and run_id not in self._late and (late := self.run_dir.late_result(run_id)) is not None:
            self._late.add(run_id)
            yield LateResult(run_id, late.attempt)
        if result is not None and run_id not in self._reported:
            own = result.attempt == self.number
            self._reported.add(run_id)
            self.has_own_result = self.has_own_result or own
            yield RunFinished(result, self.slot if own else None, at)

    def order_if_stuck(self) -> Order | None:
        """For a worker without a sign of life: that it write its stack, and a moment later that it end.

        What a program of the user's own does is not on the stack of the worker that watches it.
        """
        silence = self.vigil.too_long()
        if silence is None:
            return None
        if self.hung is None and any(isinstance(run, CommandRun) for run in self.job.runs):
            self.hung = f"saw no sign of life of its program for {silence:.0f} s and was killed"
            return Order.KILL
        if self.hung is None:
            self.hung = f"took no step for {silence:.0f} s and was killed; its stack is in the log"
            return Order.DUMP
        return Order.KILL if self.vigil.dumped() else None
