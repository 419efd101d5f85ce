"""The dispatcher: jobs through any engine, a worker per slot, until every one has ended."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from isoflop.engine.attempt import Attempt
from isoflop.engine.device_health import DeviceHealth
from isoflop.engine.execution import GitState, MemoryOf, not_measured, preload_of
from isoflop.engine.notices import (
    AttemptStarted,
    DeviceHeld,
    DeviceTakenOut,
    EngineSaid,
    LateResult,
    Notice,
    RunFinished,
)
from isoflop.engine.policy import RetryPolicy, attempt_ended, failed_result, no_device_left
from isoflop.engine.protocol import Device, Ended, Engine, Launch, Order, Slot, WorkerRef
from isoflop.engine.queue import JobQueue, Ready
from isoflop.engine.vigil import Vigil
from isoflop.errors import IsoflopError
from isoflop.run_spec import Job
from isoflop.rundir import Assignment, ProgramPlace, RunDir
from isoflop.rundir.layout import compiled_dir, peaks_dir

# How often progress is read, seconds, and the share of the time that may take: of a thousand workers less often.
POLL_SECONDS, LOOK_SHARE = 0.2, 0.1
DEFAULT_STALL_SECONDS = 300.0


class Dispatcher:
    """Runs jobs on an engine's slots and tells what happens.

    Args:
        measured: folder where the devices' rates, and what was compiled for them, are kept; `artifacts` by default.
        probes: whether trained models are asked the built-in probes.
        program: of a sweep that a program of the user's own trains.
        stall_seconds: a worker without a sign of life for so long has hung.
        clock: seconds, for what is measured by this process alone; never jumps.
        memory_of: what trials of jobs like it took, in place of what is guessed.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        artifacts: Path,
        corpora: Path,
        git: GitState,
        measured: Path | None = None,
        probes: bool = False,
        program: ProgramPlace | None = None,
        stall_seconds: float = DEFAULT_STALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        memory_of: MemoryOf = not_measured,
    ) -> None:
        self.engine, self.slots, self.artifacts, self.corpora, self.git = engine, engine.slots, artifacts, corpora, git
        self._measured, self._probes, self._program = measured or artifacts, probes, program
        self._stall_seconds, self._clock = stall_seconds, clock
        self._policy = RetryPolicy()
        self._queue = JobQueue(
            artifacts,
            engine.slots,
            self._policy.sequences_at_once,
            lambda: self._policy.may_compile,
            unpacked=self._policy.unpacked,
            clock=clock,
            memory_of=memory_of,
        )
        self._health = DeviceHealth(engine.slots)
        self._attempts: dict[int, Attempt] = {}
        self._next_look = 0.0
        self._usable: frozenset[int] = frozenset()
        self._told_of: set[DeviceHeld | EngineSaid] = set()
        self._order: Order | None = None
        self._obstacle: IsoflopError | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[Notice]:
        """Start `jobs` in order, one per slot, and yield notices until all have ended or `stop` was called.

        Results already on disk are yielded first and not computed again.

        Raises:
            IsoflopError: a worker met what every run would meet (no corpus, no room): all have been stopped; or a
                result on disk is of a newer version.
        """
        yield from self._queue.add(jobs)
        yield from self._take_up()
        try:
            while self._attempts or (self._queue and not self._order):
                yield from self._fill_slots()
                in_vain = bool(self._usable) or not self._queue.n_startable()
                yield from self._queue.waiting(idle=in_vain and not self._attempts and not self._order)
                self.engine.wait(POLL_SECONDS)
                self._pass_order_on()
                ended = self.engine.poll()  # before anything is read, so that nothing is read too early
                yield from self._look(ended)
        finally:
            self.kill()
            self._pass_order_on()
        if self._obstacle is not None:
            raise self._obstacle

    def stop(self, *, within: float | None = None) -> None:
        """Have every worker checkpoint and end, and start no more; kill those that take longer than `within` seconds.

        Returns at once; safe in a signal handler.
        """
        self._order = self._order or Order.CHECKPOINT
        self.engine.close(now=False)
        if within is not None:
            timer = threading.Timer(within, self.kill)
            timer.daemon = True
            timer.start()

    def kill(self) -> None:
        """Have every worker end now. Returns at once; nothing finished is lost; safe in a signal handler."""
        self._order = Order.KILL
        self.engine.close(now=True)

    def _pass_order_on(self) -> None:
        if self._order:
            self._tell([attempt for attempt in self._attempts.values() if attempt.told != self._order], self._order)

    def _tell(self, attempts: Sequence[Attempt], order: Order) -> None:
        for attempt in attempts:
            attempt.told = order
        if attempts:
            self.engine.tell([attempt.worker for attempt in attempts], order)

    def _fill_slots(self) -> Iterator[RunFinished | DeviceHeld | EngineSaid]:
        """Start jobs on free slots; what another sweep has finished meanwhile is yielded instead."""
        if not self._queue or self._order:
            return
        yield from self._look_for_devices()
        free = sorted(self._usable - self._attempts.keys())
        ready: list[Ready] = []
        if free:
            working = {slot: attempt.memory for slot, attempt in self._attempts.items()}
            for taken in self._queue.take(free, working, self._usable):
                if isinstance(taken, Ready):
                    ready.append(taken)
                else:
                    yield taken
                if self._order:
                    break
        if ready:
            self._start(ready)

    def _take_up(self) -> Iterator[AttemptStarted]:
        """Watch the workers of a coordinator that died which are still at work on these jobs; others are to end."""
        for found in self.engine.find():
            run_dir = RunDir(found.job_dir)
            job = self._queue.take_out(run_dir.path.name)
            if job is None:
                self.engine.tell([found.worker], Order.CHECKPOINT)
                continue
            memory = self._queue.memory(job, self.slots[found.slot])
            ready = Ready(job, run_dir, found.attempt, found.slot, memory)
            self._attempts[found.slot] = attempt = self._attempt(ready, run_dir.events_size, found.worker)
            yield AttemptStarted(job.job_id, attempt.number, attempt.slot, attempt.device, time.monotonic())

    def _look_for_devices(self) -> Iterator[DeviceHeld | EngineSaid]:
        """See which slots may be used; what there is to say of them is told once."""
        capacity = self.engine.capacity(self._queue.n_startable(), self._health.out)
        self._health.learn(capacity.devices)
        self._usable = self._health.without_those_out(capacity.usable)
        told: tuple[DeviceHeld | EngineSaid, ...] = (*capacity.held, *capacity.said)
        for news in told:
            if news not in self._told_of:
                self._told_of.add(news)
                yield news

    def _start(self, ready: Sequence[Ready]) -> None:
        """Start the workers; what could not be started keeps its place."""
        offsets = [job.run_dir.events_size for job in ready]
        workers = self.engine.start([self._launch(job) for job in ready])
        self._attempts |= {
            job.slot: self._attempt(job, offset, worker)
            for job, offset, worker in zip(ready, offsets, workers, strict=True)
            if worker is not None
        }
        for job, worker in reversed(list(zip(ready, workers, strict=True))):
            if worker is None:
                self._queue.put_back(job.job)

    def _launch(self, ready: Ready) -> Launch:
        assignment = Assignment(
            job_dir=ready.run_dir.path,
            attempt=ready.number,
            corpora=self.corpora,
            peaks=peaks_dir(self._measured),
            compiled=compiled_dir(self._measured),
            coordinator_pid=os.getpid(),
            visible_device=self.slots[ready.slot].visible_device,
            git_commit=self.git.commit,
            git_dirty=self.git.dirty,
            device_name=self.slots[ready.slot].name,
            probes=self._probes,
            program=self._program,
        )
        content = ready.run_dir.read_job()
        assert content is not None  # the queue wrote it
        return Launch(ready.slot, assignment, preload_of(ready.job.runs, content.execution))

    def _attempt(self, ready: Ready, offset: int, worker: WorkerRef) -> Attempt:
        return Attempt(
            number=ready.number,
            slot=ready.slot,
            device=self.slots[ready.slot].worker_name,
            job=ready.job,
            run_dir=ready.run_dir,
            worker=worker,
            offset=offset,
            vigil=Vigil(ready.run_dir, self._stall_seconds, self._clock),
            memory=ready.memory,
            n_packed=self.slots[ready.slot].n_packed,
            place=self.engine.place_of(worker),
        )

    def _look(self, ended: Mapping[WorkerRef, Ended]) -> Iterator[Notice]:
        """What workers have done: those that have ended, and now and then all."""
        begun = self._clock()
        everybody = begun >= self._next_look
        for attempt in list(self._attempts.values()):
            end = ended.get(attempt.worker)
            if everybody or end is not None:
                yield from self._look_at(attempt, end)
        if everybody:
            now = self._clock()
            self._next_look = now + (now - begun) * (1.0 / LOOK_SHARE - 1.0)

    def _look_at(self, attempt: Attempt, ended: Ended | None) -> Iterator[Notice]:
        """What a worker has done since last time, and its end if it has ended."""
        yield from attempt.read()
        if ended is not None:
            yield from self._end(attempt, ended)
        elif self.engine.place_of(attempt.worker).stands_still:
            attempt.vigil.excuse()
        elif not self._order and (order := attempt.order_if_stuck()) is not None:
            self._tell([attempt], order)

    def _end(self, attempt: Attempt, ended: Ended) -> Iterator[Notice]:
        """What became of a worker that has ended; a death without result goes back to the queue."""
        del self._attempts[attempt.slot]
        for run in attempt.job.runs:  # a result whose event was lost with the process
            yield from attempt.result(run.run_id, time.monotonic())
        crashed = self._order is None and self._health.crashed(attempt, ended)
        taken_out = crashed and self._health.note_crash(attempt)
        verdict = self._policy.judge(attempt, ended, stopping=self._order is not None, device_failed=taken_out)
        if verdict.outcome == "done":
            self._health.note_success(attempt)
        if verdict.obstacle is not None:
            self.stop()
            self._obstacle = self._obstacle or verdict.obstacle
        if verdict.outcome == "given_up":
            yield from self._give_up(attempt, verdict.reason or "")
        if attempt.missing and crashed:
            self._queue.put_back_for_another(attempt.job, self.slots[attempt.slot].device)
        elif attempt.missing:
            self._queue.put_back(attempt.job)
        yield attempt_ended(attempt, verdict)
        if taken_out:
            yield self._take_out(attempt, verdict.reason or "")

    def _take_out(self, attempt: Attempt, reason: str) -> DeviceTakenOut:
        """Tell that the device of the attempt is out; without any other the sweep stops, and its runs stay pending."""
        self._policy.forgive(self._health.crashed_jobs(attempt))
        left = sum(not self._health.is_out(slot) for slot in range(len(self.slots)))
        if not left and not self._health.has_others:
            self.stop()
            names = dict.fromkeys(_full_name(slot) for slot in self.slots)
            self._obstacle = self._obstacle or no_device_left(list(names))
        name = _full_name(self.slots[attempt.slot], attempt.place.device)
        return DeviceTakenOut(name, reason, left)

    def _give_up(self, attempt: Attempt, reason: str) -> Iterator[RunFinished | LateResult]:
        """Failed results for what is missing, unless another process has taken the job over."""
        with attempt.run_dir.lock() as alone:
            for run in attempt.missing if alone else []:
                attempt.run_dir.write_result(failed_result(run, attempt, reason, self.git))
        for run in attempt.missing:
            yield from attempt.result(run.run_id, time.monotonic())


def _full_name(slot: Slot, device: Device | None = None) -> str:
    """Tells a GPU from the others of its model; `device`: where the slot is none of this machine's."""
    return f"{slot.name} ({device[1] if device is not None else slot.visible_device})"
