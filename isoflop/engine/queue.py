"""What starts next: the order of jobs, room on the devices, and jobs that other processes work on."""

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop.engine.execution import MemoryOf, job_file, memory_needed, not_measured
from isoflop.engine.notices import Holder, RunFinished, Waiting
from isoflop.engine.protocol import PATIENCE_SECONDS, Slot
from isoflop.plan.types import Cell
from isoflop.run_spec import AnyRun, Job
from isoflop.rundir import Claim, RunDir
from isoflop.rundir.layout import job_dir

# Budgets whose jobs form one longest-first pool at the end, so that no worker idles behind a straggler.
POOLED_BUDGETS = 2
# When to say first, and then how often, that everything left is in other hands, seconds.
FIRST_WAIT_SECONDS, WAIT_SECONDS = 2.0, 30.0


def start_order(cells: Iterable[Cell], pending: Iterable[str], seconds: Callable[[AnyRun], float]) -> list[Job]:
    """Jobs of the `pending` runs: budgets ascending, longest first inside; the last two budgets as one pool.

    A run asked for at several budgets starts with the smallest of them.
    """
    wanted = set(pending)
    budget_of: dict[str, float] = {}
    runs: dict[str, AnyRun] = {}
    for cell in sorted(cells, key=lambda cell: cell.budget_flops):
        if cell.run.run_id in wanted:
            budget_of.setdefault(cell.run.run_id, cell.budget_flops)
            runs.setdefault(cell.run.run_id, cell.run)
    budgets = sorted(set(budget_of.values()))
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
        clock: seconds; never jumps.
        memory_of: what trials of jobs like it took.
    """

    def __init__(
        self,
        artifacts: Path,
        slots: Sequence[Slot],
        sequences_at_once: Callable[[Job], int | None],
        may_compile: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        *,
        memory_of: MemoryOf = not_measured,
    ) -> None:
        self._memory_of = memory_of
        self._artifacts, self._slots, self._clock = artifacts, slots, clock
        self._sequences_at_once, self._may_compile = sequences_at_once, may_compile
        self._jobs: deque[Job] = deque()
        self._orphan_since: dict[int, float] = {}
        self._next_waiting = clock() + FIRST_WAIT_SECONDS

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Iterable[Job]) -> Iterator[RunFinished]:
        """Take the jobs in; results that lie in their directories are yielded, and nothing done twice."""
        for job in jobs:
            found = list(self._results(job))
            yield from found
            if len(found) < len(job.runs):
                self._jobs.append(job)

    def put_back(self, job: Job) -> None:
        """Have the job go next."""
        self._jobs.appendleft(job)

    def take(self, free: Iterable[int], working: Mapping[int, float]) -> Iterator[Ready | RunFinished]:
        """Jobs for the slots of these numbers; a job that another sweep has finished meanwhile is its results instead.

        Ends where no job is left that may start. One that needs more memory than its device has beside `working`
        (bytes, by slot) keeps its place while smaller ones go first; one that another process works on goes last.
        """
        slots, given = deque(free), dict(working)
        too_large: list[Job] = []
        try:
            for _ in range(len(self._jobs)):
                if not slots:
                    break
                job = self._jobs.popleft()
                slot = self._slots[slots[0]]
                if not self._has_room(job, slot, given):
                    too_large.append(job)
                    continue
                taken = self._open(job, slots[0])
                if isinstance(taken, Ready):
                    given[slots.popleft()] = taken.memory
                    yield taken
                elif taken is None:
                    self._jobs.append(job)
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

    def _run_dir(self, job: Job) -> RunDir:
        return RunDir(job_dir(self._artifacts, job.job_id))

    def _has_room(self, job: Job, slot: Slot, given: Mapping[int, float]) -> bool:
        """Whether the device of `slot` has memory for `job` beside what runs there; alone, every job may try."""
        beside = [memory for number, memory in given.items() if self._slots[number].device == slot.device]
        return not beside or sum(beside) + self._memory_needed(job, slot) <= slot.memory_bytes

    def _memory_needed(self, job: Job, slot: Slot) -> float:
        return memory_needed(job, slot, self._memory_of(job, slot))

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
            return Ready(job, run_dir, self._open_attempt(job, run_dir, slot), number, self._memory_needed(job, slot))

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
