"""What starts next: the order of jobs, room on the devices, and jobs that other processes work on."""

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from isoflop.engine.execution import MemoryOf, job_file, memory_needed, not_measured
from isoflop.engine.notices import Holder, LateResult, RunFinished, Waiting
from isoflop.engine.protocol import PATIENCE_SECONDS, Device, Slot
from isoflop.plan.types import Cell, Role
from isoflop.run_spec import AnyRun, Job
from isoflop.rundir import Claim, RunDir
from isoflop.rundir.layout import job_dir

# Budgets whose jobs form one longest-first pool at the end, so that no worker idles behind a straggler.
POOLED_BUDGETS = 2
# When to say first, and then how often, that everything left is in other hands, seconds.
FIRST_WAIT_SECONDS, WAIT_SECONDS = 2.0, 30.0


def start_order(cells: Iterable[Cell], pending: Iterable[str], seconds: Callable[[AnyRun], float]) -> list[Job]:
    """Jobs of the `pending` runs: budgets ascending, longest first inside; the last two budgets as one pool.

    A run asked for at several budgets starts with the smallest of them. Confirm runs, longer than all others, are of
    the pool and no budget of their own.
    """
    wanted = set(pending)
    budget_of: dict[str, float] = {}
    runs: dict[str, AnyRun] = {}
    fitted: set[float] = set()
    for cell in sorted(cells, key=lambda cell: cell.budget_flops):
        if cell.run.run_id in wanted:
            budget_of.setdefault(cell.run.run_id, cell.budget_flops)
            runs.setdefault(cell.run.run_id, cell.run)
            if cell.role is not Role.CONFIRM:
                fitted.add(cell.budget_flops)
    budgets = sorted(fitted or set(budget_of.values()))
    pool = budgets[-POOLED_BUDGETS:][0] if budgets else 0.0

    def key(run_id: str) -> tuple[float, float]:
        return min(budget_of[run_id], pool), -seconds(runs[run_id])

    return [Job((runs[run_id],)) for run_id in sorted(runs, key=key)]


@dataclass(frozen=True)
class Ready:
    """A job that may start now: its directory holds job.json and the folder of the attempt.

    Attributes:
        number: of the attempt, from 1.
        slot: number of the slot to run on.
        memory: bytes of the device that it takes.
    """

    job: Job
    run_dir: RunDir
    number: int
    slot: int
    memory: float


class JobQueue:
    """Jobs that are still to be started, first come first.

    Args:
        sequences_at_once: limit of a job's sequences per forward pass, None for none.
        may_compile: whether torch's compiler may be asked for.
        unpacked: jobs, by id, that take a GPU for themselves.
        clock: seconds; never jumps.
        memory_of: what trials of jobs like it took.
    """

    def __init__(
        self,
        artifacts: Path,
        slots: Sequence[Slot],
        sequences_at_once: Callable[[Job], int | None],
        may_compile: Callable[[], bool],
        *,
        unpacked: Container[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
        memory_of: MemoryOf = not_measured,
    ) -> None:
        self._memory_of = memory_of
        self._artifacts, self._slots, self._clock = artifacts, slots, clock
        self._sequences_at_once, self._may_compile, self._unpacked = sequences_at_once, may_compile, unpacked
        self._jobs: deque[Job] = deque()
        self._away_from: dict[str, set[Device]] = {}  # by job
        self._orphan_since: dict[int, float] = {}
        self._held: set[str] = set()  # jobs that other processes worked on when they were to be started
        self._next_look_at_held = 0.0
        self._next_waiting = clock() + FIRST_WAIT_SECONDS

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Iterable[Job]) -> Iterator[RunFinished | LateResult]:
        """Take the jobs in; results that lie in their directories are yielded, and nothing done twice."""
        for job in jobs:
            found = list(self._results(job))
            yield from found
            yield from self._late_results(job)
            if len(found) < len(job.runs):
                self._jobs.append(job)

    def n_startable(self) -> int:
        """Jobs that nobody else works on, as far as is known: those of others are looked at again now and then."""
        if not self._held:
            return len(self._jobs)
        if (now := self._clock()) > self._next_look_at_held:
            self._next_look_at_held = now + WAIT_SECONDS
            self._held = {job.job_id for job in self._jobs if job.job_id in self._held and self._is_held(job)}
        return sum(job.job_id not in self._held for job in self._jobs)

    def _is_held(self, job: Job) -> bool:
        run_dir = self._run_dir(job)
        with run_dir.lock() as alone:
            return not alone or self._in_the_way(run_dir)

    def take_out(self, job_id: str) -> Job | None:
        """The job of that id, which somebody is at work on; None where it is not, or no more, to be started."""
        job = next((job for job in self._jobs if job.job_id == job_id), None)
        if job is not None:
            self._jobs.remove(job)
        return job

    def put_back(self, job: Job) -> None:
        """Have the job go next."""
        self._jobs.appendleft(job)

    def put_back_for_another(self, job: Job, device: Device) -> None:
        """Have the job go next but one, on another device than this if there is one: it may be its, or the job's."""
        self._away_from.setdefault(job.job_id, set()).add(device)
        self._jobs.insert(1, job)

    def take(
        self, free: Iterable[int], working: Mapping[int, float], usable: Iterable[int] | None = None
    ) -> Iterator[Ready | RunFinished]:
        """Jobs for the slots of these numbers; a job that another sweep has finished meanwhile is its results instead.

        Ends where no job is left that may start. One that needs more memory than its device has beside `working`
        (bytes, by slot) keeps its place while smaller ones go first; so does one to be kept away from a device, if
        another is `usable` (by slot; default: the free ones). One that another process works on goes last.
        """
        slots = list(free)
        devices = {self._slots[number].device for number in (slots if usable is None else usable)}
        given: dict[Device, float] = {}
        for number, memory in working.items():
            device = self._slots[number].device
            given[device] = given.get(device, 0.0) + memory
        too_large: list[Job] = []
        try:
            for _ in range(len(self._jobs)):
                if not slots:
                    break
                job = self._jobs.popleft()
                fitting = (number for number in slots if self._suits(job, self._slots[number], given, devices))
                if (chosen := next(fitting, None)) is None:
                    too_large.append(job)
                    continue
                taken = self._open(job, chosen)
                self._held.discard(job.job_id)
                if isinstance(taken, Ready):
                    slots.remove(chosen)
                    device = self._slots[chosen].device
                    given[device] = given.get(device, 0.0) + taken.memory
                    yield taken
                elif taken is None:
                    self._jobs.append(job)
                    self._held.add(job.job_id)
                else:
                    yield from taken
        finally:
            self._jobs.extendleft(reversed(too_large))

    def waiting(self, *, idle: bool) -> Iterator[Waiting]:
        """Said now and then while there are jobs, and nothing of ours runs."""
        now = self._clock()
        if not idle or not self._jobs:
            self._next_waiting = now + FIRST_WAIT_SECONDS
        elif now > self._next_waiting:
            self._next_waiting = now + WAIT_SECONDS
            holders = tuple(holder for job in self._jobs if (holder := self._holder(job)) is not None)
            yield Waiting(tuple(run.run_id for job in self._jobs for run in job.runs), holders)

    def _results(self, job: Job) -> Iterator[RunFinished]:
        run_dir = self._run_dir(job)
        for run in job.runs:
            result = run_dir.read_result(run.run_id)
            if result is not None:
                yield RunFinished(result, None, time.monotonic())

    def _late_results(self, job: Job) -> Iterator[LateResult]:
        for run in job.runs:
            late = self._run_dir(job).late_result(run.run_id)
            if late is not None:
                yield LateResult(run.run_id, late.attempt)

    def _run_dir(self, job: Job) -> RunDir:
        return RunDir(job_dir(self._artifacts, job.job_id))

    def _suits(self, job: Job, slot: Slot, given: Mapping[Device, float], devices: Set[Device]) -> bool:
        """Whether `slot` is the place for `job`: there is room, and it did not crash there with others to go to."""
        away_from = self._away_from.get(job.job_id, set())
        return (slot.device not in away_from or devices <= away_from) and self._has_room(job, slot, given)

    def memory(self, job: Job, slot: Slot) -> float:
        """Bytes of the slot's device that the job will take."""
        if job.job_id in self._unpacked:
            return slot.memory_bytes
        return memory_needed(job, slot, self._memory_of(job, slot))

    def _has_room(self, job: Job, slot: Slot, given: Mapping[Device, float]) -> bool:
        """Whether the device of `slot` has memory for `job` beside what runs there; alone, every job may try."""
        beside = given.get(slot.device)
        return beside is None or beside + self.memory(job, slot) <= slot.memory_bytes

    def _open(self, job: Job, number: int) -> Ready | list[RunFinished] | None:
        """The job ready to start, its results where all are there by now, or None where somebody works on it."""
        run_dir, slot = self._run_dir(job), self._slots[number]
        with run_dir.lock() as alone:
            if not alone:
                self._in_the_way(run_dir)  # a stopped orphan holds the directory for ever
                return None
            found = list(self._results(job))
            if len(found) == len(job.runs):
                return found
            if self._in_the_way(run_dir):
                return None
            return Ready(job, run_dir, self._open_attempt(job, run_dir, slot), number, self.memory(job, slot))

    def _open_attempt(self, job: Job, run_dir: RunDir, slot: Slot) -> int:
        """Write job.json and make the folder of the next attempt; its number. The directory is locked."""
        for run in job.runs:
            run_dir.set_unreadable_result_aside(run.run_id)
        at_most, may_compile = self._sequences_at_once(job), self._may_compile()
        content = job_file(job, slot, run_dir, at_most=at_most, may_compile=may_compile, memory_of=self._memory_of)
        run_dir.write_job(content)
        number = run_dir.last_attempt + 1
        run_dir.attempt_dir(number).mkdir()
        return number

    def _in_the_way(self, run_dir: RunDir) -> bool:
        """Whether a living process has claimed the directory; an orphan that will not end is killed."""
        claim = run_dir.read_claim()
        if claim is None or not claim.is_alive:
            return False
        if claim.is_orphan:
            self._end_in_time(claim)
        return True

    def _holder(self, job: Job) -> Holder | None:
        """The process of this machine that has claimed the job, where one lives."""
        claim = self._run_dir(job).read_claim()
        if claim is None or not claim.is_alive:
            return None
        return Holder(claim.pid, tuple(run.run_id for run in job.runs), claim.is_orphan, claim.is_stopped)

    def _end_in_time(self, orphan: Claim) -> None:
        since = self._orphan_since.setdefault(orphan.pid, self._clock())
        if self._clock() - since > PATIENCE_SECONDS:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(orphan.pid, signal.SIGKILL)
