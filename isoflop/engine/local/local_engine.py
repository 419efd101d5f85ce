"""The local engine: a process per job, one per slot."""

import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from isoflop.engine.execution import GitState, job_file, memory_needed, shrink
from isoflop.engine.giving_up import failed_result
from isoflop.engine.local.attempt import Attempt
from isoflop.engine.local.devices import Slot
from isoflop.engine.local.fork_server import ForkServer
from isoflop.engine.local.memory import kernel_kills
from isoflop.engine.local.orphans import OrphanHunt
from isoflop.engine.local.vigil import Vigil
from isoflop.engine.notices import AttemptEnded, Notice, RunFinished, Waiting
from isoflop.errors import IsoflopError
from isoflop.run_spec import Job
from isoflop.rundir import Assignment, ExitCode, RunDir
from isoflop.rundir.layout import job_dir, peaks_dir
from isoflop.shape import ModelShape
from isoflop.train.worker import run_assignment

# A worker that dies without a result (killed, hung) is tried again from its checkpoint this often in all.
MAX_DEATHS = 3
# How often progress is read, seconds.
POLL_SECONDS = 0.2
DEFAULT_STALL_SECONDS = 300.0
# When to say first, and then how often, that everything left is in other hands, seconds.
FIRST_WAIT_SECONDS, WAIT_SECONDS = 2.0, 30.0
_INTERRUPTED: dict[int, str] = {ExitCode.CHECKPOINTED: "asked to stop", ExitCode.BUSY: "another process trains it"}


class LocalEngine:
    """Runs jobs on the slots of this machine and yields what happens."""

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        artifacts: Path,
        corpora: Path,
        git: GitState,
        stall_seconds: float = DEFAULT_STALL_SECONDS,
    ) -> None:
        self.slots, self.artifacts, self.corpora, self.git = tuple(slots), artifacts, corpora, git
        self._stall_seconds = stall_seconds
        self._server = ForkServer(run_assignment)
        self._orphans = OrphanHunt()
        self._attempts: dict[int, Attempt] = {}
        self._deaths: Counter[str] = Counter()
        self._kernel_kills = kernel_kills()
        self._fitting: dict[ModelShape, int] = {}
        self._order: signal.Signals | None = None
        self._obstacle: IsoflopError | None = None
        self._next_waiting = time.monotonic() + FIRST_WAIT_SECONDS

    def run(self, jobs: Sequence[Job]) -> Iterator[Notice]:
        """Start `jobs` in order, one per slot, and yield notices until all have ended or `stop` was called.

        Results already on disk are yielded first and not computed again.

        Raises:
            IsoflopError: a worker met what every run would meet (no corpus, no room): all have been stopped; or a
                result on disk is of a newer version.
        """
        queue: deque[Job] = deque()
        for job in jobs:
            found = list(self._found(job))
            yield from found
            if len(found) < len(job.runs):
                queue.append(job)
        try:
            while self._attempts or (queue and not self._order):
                yield from self._fill_slots(queue)
                yield from self._waiting(queue)
                sentinels = [attempt.process.sentinel for attempt in self._attempts.values()]
                wait([sentinel for sentinel in sentinels if sentinel is not None], timeout=POLL_SECONDS)
                self._pass_order_on()
                for attempt in list(self._attempts.values()):
                    yield from self._look_at(attempt, queue)
        finally:
            self.kill()
            self._pass_order_on()
        if self._obstacle is not None:
            raise self._obstacle

    def stop(self, *, within: float | None = None) -> None:
        """Have every worker checkpoint and end, and start no more; kill those that take longer than `within` seconds.

        Returns at once; safe in a signal handler.
        """
        self._order = self._order or signal.SIGTERM
        if within is not None:
            timer = threading.Timer(within, self.kill)
            timer.daemon = True
            timer.start()

    def kill(self) -> None:
        """Have every worker end now. Returns at once; nothing finished is lost; safe in a signal handler."""
        self._order = signal.SIGKILL
        self._server.abort()

    def _pass_order_on(self) -> None:
        if self._order:
            for attempt in self._attempts.values():
                attempt.tell(self._order)

    def _found(self, job: Job) -> Iterator[RunFinished]:
        run_dir = RunDir(job_dir(self.artifacts, job.job_id))
        for run in job.runs:
            result = run_dir.read_result(run.run_id)
            if result is not None:
                yield RunFinished(result, None, time.monotonic())

    def _fill_slots(self, queue: deque[Job]) -> Iterator[RunFinished]:
        """Start jobs on free slots; what another sweep has finished meanwhile is yielded instead."""
        free = [number for number in range(len(self.slots)) if number not in self._attempts]
        too_large: list[Job] = []
        for _ in range(len(queue)):
            if not free or self._order:
                break
            job = queue.popleft()
            if not self._has_room(job, self.slots[free[0]]):
                too_large.append(job)  # for now: a smaller one may go first
                continue
            run_dir = RunDir(job_dir(self.artifacts, job.job_id))
            with run_dir.lock() as alone:
                found = list(self._found(job)) if alone else []
                if len(found) == len(job.runs):
                    yield from found
                    continue
                in_the_way = not alone or self._orphans.in_the_way(run_dir)
                number = None if in_the_way else self._open_attempt(job, run_dir, self.slots[free[0]])
            if number is None:
                queue.append(job)  # another sweep trains it, or an orphan is about to end: look again later
            elif not self._start(job, run_dir, number, free.pop(0)):
                queue.appendleft(job)
        queue.extendleft(reversed(too_large))

    def _has_room(self, job: Job, slot: Slot) -> bool:
        """Whether the device of `slot` has memory for `job` beside what runs there; alone, every job may try."""
        device = (slot.kind, slot.visible_device)
        beside = [
            attempt.memory
            for number, attempt in self._attempts.items()
            if (self.slots[number].kind, self.slots[number].visible_device) == device
        ]
        return not beside or sum(beside) + memory_needed(job, slot) <= slot.memory_bytes

    def _open_attempt(self, job: Job, run_dir: RunDir, slot: Slot) -> int:
        """Write job.json and make the folder of the next attempt; its number. The directory is locked."""
        for run in job.runs:
            run_dir.set_unreadable_result_aside(run.run_id)
        at_most = min((self._fitting[run.shape] for run in job.runs if run.shape in self._fitting), default=None)
        run_dir.write_job(job_file(job, slot, run_dir, at_most=at_most))
        number = run_dir.last_attempt + 1
        run_dir.attempt_dir(number).mkdir()
        return number

    def _waiting(self, queue: deque[Job]) -> Iterator[Waiting]:
        """Said now and then while there are jobs, and nothing runs."""
        if self._attempts or not queue or self._order:
            self._next_waiting = time.monotonic() + FIRST_WAIT_SECONDS
        elif time.monotonic() > self._next_waiting:
            self._next_waiting = time.monotonic() + WAIT_SECONDS
            yield Waiting(tuple(run.run_id for job in queue for run in job.runs))

    def _start(self, job: Job, run_dir: RunDir, number: int, slot: int) -> bool:
        """Start a worker; False if the server it is forked from had died (another is started next time)."""
        offset = run_dir.events_size
        assignment = Assignment(
            job_dir=run_dir.path,
            attempt=number,
            corpora=self.corpora,
            peaks=peaks_dir(self.artifacts),
            coordinator_pid=os.getpid(),
            visible_device=self.slots[slot].visible_device,
            git_commit=self.git.commit,
            git_dirty=self.git.dirty,
        )
        trains = any(run.trainer == "builtin" for run in job.runs)
        preload = ["isoflop.train.worker", *(["isoflop.train.preload"] if trains else [])]
        process = self._server.start(assignment, preload=preload)
        if process is None:
            return False
        vigil = Vigil(run_dir, self._stall_seconds)
        memory = memory_needed(job, self.slots[slot])
        device = self.slots[slot].name
        self._attempts[slot] = Attempt(number, slot, device, job, run_dir, process, offset, vigil, memory)
        return True

    def _look_at(self, attempt: Attempt, queue: deque[Job]) -> Iterator[Notice]:
        """What a worker has done since last time, and its end if it has ended."""
        ended = not attempt.process.is_alive()  # before reading, so that nothing is read too early
        yield from attempt.read()
        if ended:
            yield from self._end(attempt, queue)
        elif not self._order:
            attempt.end_if_stuck()

    def _end(self, attempt: Attempt, queue: deque[Job]) -> Iterator[Notice]:
        """What became of a worker whose process has ended; a death without result goes back to the queue."""
        del self._attempts[attempt.slot]
        for run in attempt.job.runs:  # a result whose event was lost with the process
            yield from attempt.result(run.run_id, time.monotonic())
        missing = attempt.missing
        outcome, reason = self._outcome(attempt, bool(missing))
        if outcome == "given_up":
            yield from self._give_up(attempt, reason or "")
        if attempt.missing:
            queue.appendleft(attempt.job)
        yield _ended(attempt, outcome, reason)

    def _give_up(self, attempt: Attempt, reason: str) -> Iterator[RunFinished]:
        """Failed results for what is missing, unless another process has taken the job over."""
        with attempt.run_dir.lock() as alone:
            for run in attempt.missing if alone else []:
                attempt.run_dir.write_result(failed_result(run, attempt, reason, self.git))
        for run in attempt.missing:
            yield from attempt.result(run.run_id, time.monotonic())

    def _outcome(self, attempt: Attempt, missing: bool) -> tuple[str, str | None]:
        code = attempt.process.exit_code
        if not missing:
            return ("done", None) if attempt.has_own_result else ("interrupted", _INTERRUPTED[ExitCode.BUSY])
        if code == ExitCode.OBSTACLE:
            self.stop()
            hint = f"See {attempt.run_dir.log_path(attempt.number)}."
            unknown = IsoflopError("A worker met an obstacle it could not report.", hint=hint)
            self._obstacle = self._obstacle or attempt.obstacle or unknown
            return "interrupted", self._obstacle.message
        if self._order or code in _INTERRUPTED:
            return "interrupted", _INTERRUPTED.get(code or 0, _how(code))
        if attempt.hung is not None:
            return self._died(attempt, attempt.hung)
        if code == ExitCode.OUT_OF_MEMORY or (code == -signal.SIGKILL and self._kernel_killed()):
            return self._with_less_memory(attempt)
        return self._died(attempt, f"{_how(code)} without a result")

    def _kernel_killed(self) -> bool:
        """Whether the kernel has killed for want of memory since this was asked last."""
        before, self._kernel_kills = self._kernel_kills, kernel_kills()
        return self._kernel_kills > before

    def _with_less_memory(self, attempt: Attempt) -> tuple[str, str | None]:
        """Have the job tried again with fewer sequences per forward pass."""
        halved = shrink(attempt.run_dir)
        if halved is None:
            return "interrupted", _INTERRUPTED[ExitCode.BUSY]
        before, after = halved
        if after is None:
            return "given_up", f"ran out of memory with {before} sequence per forward pass"
        for run in attempt.job.runs:
            self._fitting[run.shape] = after
        return "out_of_memory", f"ran out of memory with {before} sequences per forward pass; next with {after}"

    def _died(self, attempt: Attempt, how: str) -> tuple[str, str | None]:
        self._deaths[attempt.job.job_id] += 1
        deaths = self._deaths[attempt.job.job_id]
        if deaths < MAX_DEATHS:
            return "died", f"the worker {how}"
        return "given_up", f"the worker {how}, {deaths} times"


def _how(code: int | None) -> str:
    if code is None:
        return "ended with the process it was forked from"
    return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"


def _ended(attempt: Attempt, outcome: str, reason: str | None) -> AttemptEnded:
    return AttemptEnded(
        job_id=attempt.job.job_id,
        run_ids=tuple(run.run_id for run in attempt.job.runs),
        attempt=attempt.number,
        worker=attempt.slot,
        host=socket.gethostname(),
        device=attempt.device,
        started_at=attempt.started_at,
        ended_at=time.time(),
        at=time.monotonic(),
        outcome=outcome,
        reason=reason,
        log_path=attempt.run_dir.log_path(attempt.number),
    )
