"""A pilot as its coordinator sees it: what it has answered, and what the cluster says of its job."""

import time
from collections.abc import Iterator
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
        unknown_since: when the cluster knew nothing of the job for the first time, on the clock that never jumps.
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

    def next_number(self) -> int:
        """A number for the next worker."""
        self._n_orders += 1
        return self._n_orders

    @property
    def takes_orders(self) -> bool:
        """Whether it runs and will do what it is told."""
        going = self.is_ending or self.leaving is not None or self.status.state is JobState.ENDED
        return self.here is not None and not going

    @property
    def node(self) -> str:
        """Where it runs, or ran."""
        return self.status.node or (self.here.host if self.here else "")

    def problem(self) -> IsoflopError | None:
        """Why no run can be trained there, whichever it is; None where nothing speaks against it."""
        if self.obstacle is not None:
            hint = f"{self.obstacle.hint} (said by job {self.job} on {self.node or 'its node'})"
            return IsoflopError(self.obstacle.message, hint=hint)
        if self.here is not None and self.here.isoflop_version != __version__:
            return IsoflopError(
                f"{self.node} has isoflop {self.here.isoflop_version}, and this is {__version__}.",
                hint="Install one version in both environments, or name the interpreter there: "
                "--engine-option python=PATH.",
            )
        return None

    @property
    def skew_seconds(self) -> float:
        """How far its clock is ahead of this machine's, seconds; 0 where that is within what a look takes."""
        ahead = self.here.seconds - self.met_at if self.here else 0.0
        return ahead if abs(ahead) > MOST_SKEW_SECONDS else 0.0
