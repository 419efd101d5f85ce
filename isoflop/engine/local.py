"""The local engine: a process per job, one per slot, forked from a server that has torch loaded.

Starting a fresh interpreter costs about two seconds of importing torch; forking one that has imported it, and
has never touched CUDA, costs hundredths (docs/benchmarks.md).
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from isoflop.engine.devices import Slot
from isoflop.engine.events import AttemptEnded, AttemptStarted, Event, Progressed, RunFinished
from isoflop.engine.execution import GitState, job_file
from isoflop.engine.giving_up import failed_result
from isoflop.errors import IsoflopError
from isoflop.run_spec import Job
from isoflop.rundir import Assignment, RunDir
from isoflop.train.worker import EXIT_BUSY, EXIT_CHECKPOINTED, EXIT_OBSTACLE, run_assignment

# A worker that dies without a result (killed, out of memory) is tried again from its checkpoint this often in all.
MAX_DEATHS = 3
# How often progress is read, seconds.
POLL_SECONDS = 0.2
_INTERRUPTED = {EXIT_CHECKPOINTED: "asked to stop", EXIT_BUSY: "another process trains it"}


@dataclass
class _Worker:
    """A running process and what has been read of its events."""

    number: int
    job: Job
    run_dir: RunDir
    attempt: int
    process: ForkServerProcess
    offset: int
    started_at: float = field(default_factory=time.time)
    reported: set[str] = field(default_factory=set)
    told: signal.Signals | None = None


class LocalEngine:
    """Runs jobs on the slots of this machine and yields what happens."""

    def __init__(self, slots: Sequence[Slot], *, artifacts: Path, corpora: Path, git: GitState) -> None:
        self.slots, self.artifacts, self.corpora, self.git = tuple(slots), artifacts, corpora, git
        self._context = multiprocessing.get_context("forkserver")
        self._workers: dict[int, _Worker] = {}
        self._deaths: dict[str, int] = {}
        self._server_deaths = 0
        self._order: signal.Signals | None = None
        self._obstacle: IsoflopError | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """Start `jobs` in order, one per slot, and yield events until all have ended or `stop` was called.

        Results already on disk are yielded first and not computed again.

        Raises:
            IsoflopError: a worker met what every run would meet (no corpus, no room): all have been stopped.
        """
        queue: deque[Job] = deque()
        for job in jobs:
            found = list(self._found(job))
            yield from found
            if len(found) < len(job.runs):
                queue.append(job)
        try:
            while self._workers or (queue and not self._order):
                self._fill_slots(queue)
                wait([worker.process.sentinel for worker in self._workers.values()], timeout=POLL_SECONDS)
                self._pass_order_on()
                for worker in list(self._workers.values()):
                    ended = not worker.process.is_alive()  # before reading, so that nothing is read too early
                    yield from self._read(worker)
                    if ended:
                        yield from self._end(worker, queue)
        finally:
            self.kill()
            self._pass_order_on()
        if self._obstacle is not None:
            raise self._obstacle

    def stop(self) -> None:
        """Have every worker checkpoint and end, and start no more. Returns at once; safe in a signal handler."""
        self._order = self._order or signal.SIGTERM

    def kill(self) -> None:
        """Have every worker end now. Returns at once; nothing finished is lost; safe in a signal handler."""
        self._order = signal.SIGKILL

    def _ensure_server(self, job: Job) -> None:
        """Start the process that workers are forked from, unless it lives.

        It ends when this process does, by no signal to the group: its children have checkpoints to write. They
        inherit the mask and take SIGTERM again once they can answer it.
        """
        trains = any(run.trainer == "builtin" for run in job.runs)
        self._context.set_forkserver_preload(["isoflop.train.worker", *(["isoflop.train.loop"] if trains else [])])
        resource_tracker.ensure_running()  # started by ensure_running below, it would undo the mask
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _pass_order_on(self) -> None:
        for worker in self._workers.values():
            if self._order and worker.told != self._order and worker.process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, self._order)
                worker.told = self._order

    def _found(self, job: Job) -> Iterator[RunFinished]:
        run_dir = RunDir(self.artifacts / job.job_id)
        for run in job.runs:
            result = run_dir.read_result(run.run_id)
            if result is not None:
                yield RunFinished(result, None, time.time())

    def _fill_slots(self, queue: deque[Job]) -> None:
        free = [number for number in range(len(self.slots)) if number not in self._workers]
        for _ in range(len(queue)):
            if not free or self._order:
                return
            job = queue.popleft()
            run_dir = RunDir(self.artifacts / job.job_id)
            claim = run_dir.read_claim()
            attempt = None if claim is not None and claim.is_alive else self._prepare(job, run_dir, free[0])
            if attempt is None:
                queue.append(job)  # another sweep trains it, or an orphan is about to end: look again later
            elif not self._start(job, run_dir, attempt, free.pop(0)):
                queue.appendleft(job)

    def _prepare(self, job: Job, run_dir: RunDir, number: int) -> int | None:
        """Write job.json and open the next attempt; its number, or None while another process works here."""
        with run_dir.lock() as alone:
            if not alone:
                return None
            run_dir.write_job(job_file(job, self.slots[number], run_dir))
            attempt = run_dir.last_attempt + 1
            run_dir.attempt_dir(attempt).mkdir()
            return attempt

    def _start(self, job: Job, run_dir: RunDir, attempt: int, number: int) -> bool:
        """Start a worker; False if the server it is forked from had died (another is started next time)."""
        _, offset = run_dir.read_events(0)
        assignment = Assignment(
            job_dir=run_dir.path,
            attempt=attempt,
            corpora=self.corpora,
            visible_device=self.slots[number].visible_device,
            git_commit=self.git.commit,
            git_dirty=self.git.dirty,
        )
        process = self._context.Process(target=run_assignment, args=(assignment,), daemon=True)
        try:
            self._ensure_server(job)
            process.start()
        except (EOFError, ConnectionError):
            self._server_deaths += 1
            if self._server_deaths >= MAX_DEATHS:
                raise IsoflopError(
                    "The process that workers are forked from died again and again.",
                    hint="Check the memory of this machine and that `python -c 'import torch'` works.",
                ) from None
            return False
        self._workers[number] = _Worker(number, job, run_dir, attempt, process, offset)
        return True

    def _read(self, worker: _Worker) -> Iterator[Event]:
        """Events the worker has written since last time."""
        events, worker.offset = worker.run_dir.read_events(worker.offset)
        for event in events:
            match event:
                case {"event": "started", "time": float(at)}:
                    device = self.slots[worker.number].name
                    yield AttemptStarted(worker.job.job_id, worker.attempt, worker.number, device, at)
                case {"event": "progress"}:
                    yield Progressed(
                        run_id=event["run_id"],
                        worker=worker.number,
                        step=event["step"],
                        n_tokens=event["n_tokens"],
                        loss=event["loss"],
                        tokens_per_second=event["tokens_per_second"],
                    )
                case {"event": "obstacle", "message": str(message), "hint": str(hint)}:
                    self._obstacle = self._obstacle or IsoflopError(message, hint=hint)
                case {"event": "result", "run_id": str(run_id), "time": float(at)}:
                    yield from self._result(worker, run_id, at)

    def _result(self, worker: _Worker, run_id: str, at: float) -> Iterator[RunFinished]:
        result = worker.run_dir.read_result(run_id)
        if result is not None and run_id not in worker.reported:
            worker.reported.add(run_id)
            yield RunFinished(result, worker.number, at)

    def _end(self, worker: _Worker, queue: deque[Job]) -> Iterator[Event]:
        """What became of a worker whose process has ended; a death without result goes back to the queue."""
        del self._workers[worker.number]
        worker.process.join()
        for run in worker.job.runs:  # a result whose event was lost with the process
            yield from self._result(worker, run.run_id, time.time())
        missing = [run for run in worker.job.runs if run.run_id not in worker.reported]
        outcome, reason = self._outcome(worker, bool(missing))
        if outcome == "given_up":
            for run in missing:
                result = failed_result(run, worker.run_dir, worker.attempt, reason or "", self.git)
                worker.run_dir.write_result(result)
                yield RunFinished(result, worker.number, time.time())
        elif missing:
            queue.appendleft(worker.job)
        yield self._ended(worker, outcome, reason)

    def _outcome(self, worker: _Worker, missing: bool) -> tuple[str, str | None]:
        code = worker.process.exitcode
        if not missing:
            return "done", None
        if code == EXIT_OBSTACLE:
            self.stop()
            hint = f"See {worker.run_dir.log_path(worker.attempt)}."
            self._obstacle = self._obstacle or IsoflopError("A worker met an obstacle it could not report.", hint=hint)
            return "interrupted", self._obstacle.message
        if self._order or code in _INTERRUPTED:
            return "interrupted", _INTERRUPTED.get(code or 0, f"ended with exit code {code}")
        deaths = self._deaths[worker.job.job_id] = self._deaths.get(worker.job.job_id, 0) + 1
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        if deaths < MAX_DEATHS:
            return "died", f"the worker {how} without a result"
        return "given_up", f"the worker {how} without a result, {deaths} times"

    def _ended(self, worker: _Worker, outcome: str, reason: str | None) -> AttemptEnded:
        return AttemptEnded(
            job_id=worker.job.job_id,
            run_ids=tuple(run.run_id for run in worker.job.runs),
            attempt=worker.attempt,
            worker=worker.number,
            host=socket.gethostname(),
            device=self.slots[worker.number].name,
            started_at=worker.started_at,
            ended_at=time.time(),
            outcome=outcome,
            reason=reason,
            log_path=worker.run_dir.log_path(worker.attempt),
        )
