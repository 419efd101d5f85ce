"""A pilot as its coordinator sees it: what it has answered, and what the cluster says of its job."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from isoflop import __version__
from isoflop.engine.pilots.cluster import JobState, JobStatus
from isoflop.engine.pilots.mailbox import (
    EndedAnswer,
    EndOrder,
    HereAnswer,
    LeavingAnswer,
    Mailbox,
    ObstacleAnswer,
    StartOrder,
)
from isoflop.engine.protocol import Device, Slot
from isoflop.errors import IsoflopError

QUEUED: Final = JobStatus(JobState.QUEUED)
# Clocks may differ by so much before a person is told, seconds.
MOST_SKEW_SECONDS = 60.0


@dataclass
class PilotJob:
    """A job of a cluster that runs a pilot, or will.

    Attributes:
        job: the cluster's name for it.
        status: what the cluster said of it last.
        here: what the pilot said of itself; None before it runs.
        obstacle: what it met there that every other would meet.
        leaving: why it takes no more orders, in its own words; None while it does.
        is_ending: whether it has stopped a worker because it must go; others of its may still checkpoint.
        told_to_end: whether an earlier coordinator told it to end.
        working: the workers that have not ended, by number: orders that were given.
        met_at: this process's wall clock when `here` was read.
        unknown_since: since when the cluster knows nothing of the job, on the clock that never jumps.
        running_since: when the cluster said first that it runs, on that clock.
    """

    job: str
    mailbox: Mailbox
    status: JobStatus = QUEUED
    here: HereAnswer | None = None
    obstacle: IsoflopError | None = None
    leaving: str | None = None
    told_to_end: bool = False
    is_ending: bool = False
    working: dict[int, StartOrder] = field(default_factory=dict)
    met_at: float = 0.0
    unknown_since: float | None = None
    running_since: float | None = None
    _beat: tuple[int, int] | None = None
    _offset: int = 0
    _n_orders: int = 0

    def look(self) -> Iterator[tuple[EndedAnswer, StartOrder]]:
        """Read what the pilot has answered; the workers that have ended."""
        answers, self._offset = self.mailbox.answers(self._offset)
        for answer in answers:
            match answer:
                case HereAnswer():
                    self.here, self.met_at = answer, time.time()
                case ObstacleAnswer():
                    self.obstacle = IsoflopError(answer.message, hint=answer.hint)
                case LeavingAnswer():
                    self.leaving = answer.why
                case EndedAnswer() if answer.worker in self.working:
                    self.is_ending = self.is_ending or answer.evicted is not None
                    yield answer, self.working.pop(answer.worker)

    def remember(self) -> None:
        """Take up the orders that an earlier coordinator gave."""
        orders, _ = self.mailbox.orders(0)
        starts = [order for order in orders if isinstance(order, StartOrder)]
        self.working = {order.worker: order for order in starts}
        self.told_to_end = any(isinstance(order, EndOrder) for order in orders)
        self._n_orders = max((order.worker for order in starts), default=0)
        for _ in self.look():
            pass
        self.met_at = self.here.seconds if self.here else 0.0  # that was long ago

    def hear(self, status: JobStatus, now: float) -> None:
        """Take in what the cluster says of the job."""
        self.status = status
        if status.state is JobState.RUNNING:
            self.running_since = self.running_since or now
        if status.state is not JobState.UNKNOWN:
            self.unknown_since = None
        elif self._has_beaten() or self.unknown_since is None:
            self.unknown_since = now

    def _has_beaten(self) -> bool:
        """Whether the pilot has given a sign of life since this was asked last."""
        before = self._beat
        try:
            found = self.mailbox.heartbeat_path.stat()
        except OSError:
            return False
        self._beat = found.st_mtime_ns, found.st_ino
        return before is not None and self._beat != before

    def seconds_unknown(self, now: float) -> float:
        """How long neither the cluster has known the job nor its pilot given a sign of life."""
        return now - self.unknown_since if self.unknown_since is not None else 0.0

    def seconds_silent(self, now: float) -> float:
        """How long its job has been running without the pilot's first word."""
        waits = self.here is None and self.running_since is not None and self.status.state is JobState.RUNNING
        return now - self.running_since if waits and self.running_since is not None else 0.0

    def device(self, lane: int) -> Device | None:
        """What tells the device of a lane from those of other nodes; None where there is no such lane."""
        if self.here is None or lane >= len(self.here.lanes):
            return None
        there = self.here.lanes[lane]  # by the host's own name: the cluster may have another, and says it later
        return there.kind, f"{self.here.host}/{there.visible_device}"

    def next_number(self) -> int:
        """A number for the next worker."""
        self._n_orders += 1
        return self._n_orders

    @property
    def takes_orders(self) -> bool:
        """Whether it runs and will do what it is told."""
        going = self.is_ending or self.leaving is not None or self.status.state is JobState.ENDED
        return self.here is not None and not going and not self.stands_still

    @property
    def stands_still(self) -> bool:
        """Whether the cluster has suspended its job."""
        return self.status.state is JobState.SUSPENDED

    @property
    def node(self) -> str:
        """Where it runs, or ran."""
        return self.status.node or (self.here.host if self.here else "")

    def problem(self, planned: Sequence[Slot]) -> IsoflopError | None:
        """Why no run of a sweep planned for such lanes can be trained there; None where nothing speaks against it."""
        if self.obstacle is not None:
            hint = f"{self.obstacle.hint} (said by job {self.job} on {self.node or 'its node'})"
            return IsoflopError(self.obstacle.message, hint=hint)
        if self.here is not None and self.here.isoflop_version != __version__:
            return IsoflopError(
                f"{self.node} has isoflop {self.here.isoflop_version}, and this is {__version__}.",
                hint="Install one version in both environments, or name the interpreter there: "
                "--engine-option python=PATH.",
            )
        fits = any(self.has_lane_like(number, lane) for number, lane in enumerate(planned))
        if self.here is not None and planned and not fits and not self.working:
            devices = ", ".join(sorted({lane.name for lane in self.here.lanes}))
            return IsoflopError(
                f"{self.node} has {devices or 'no device'}, and the sweep was planned for {planned[0].name}.",
                hint="Ask for nodes of one kind: partition, constraint, gres; resources of Ray.",
            )
        return None

    def has_lane_like(self, number: int, wanted: Slot) -> bool:
        """Whether its lane of that number computes as the wanted one: on the same kind of device, rounding alike."""
        lanes = self.here.lanes if self.here is not None else ()
        there = lanes[number] if number < len(lanes) else None
        return there is not None and (there.kind, there.bfloat16) == (wanted.kind, wanted.bfloat16)

    @property
    def skew_seconds(self) -> float:
        """How far its clock is ahead of this machine's, seconds; 0 where that is within what a look takes."""
        ahead = self.here.seconds - self.met_at if self.here else 0.0
        return ahead if abs(ahead) > MOST_SKEW_SECONDS else 0.0
