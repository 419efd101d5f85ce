"""`isoflop plan --measure`: some steps of each shape on the devices that will train it, before anything is spent."""

import contextlib
import os
import shutil
import signal
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path

from isoflop import __version__
from isoflop.engine.execution import memory_needed, new_execution, preload_of
from isoflop.engine.local.fork_server import ForkServer, modules_of
from isoflop.engine.local.leases import device_leases
from isoflop.engine.local.worker_process import WorkerProcess
from isoflop.engine.protocol import Slot
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.files import alone_at
from isoflop.plan.measurement import Measurement
from isoflop.plan.pace import batch_tokens
from isoflop.plan.packing import LEAST_GAIN, TRIED
from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import Execution
from isoflop.rundir.layout import compiled_dir, measuring_dir
from isoflop.train.trial import Trial, TrialFailed, TrialTimes, run_trial

# A trial that takes this much longer than its steps may is hung, seconds: compiling takes some ten.
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class NotMeasured:
    """A shape whose trial found nothing; `reason` goes on from "its trial"."""

    run: RunSpec
    reason: str
    n_packed: int = 1

    @property
    def sentence(self) -> str:
        """What happened, and what the estimate does without it."""
        shape = self.run.shape
        size = f"{shape.n_layers}x{shape.width}/{shape.d_ff} at batches of {self.run.batch_tokens} tokens"
        if self.n_packed > 1:
            return f"{size}, {self.n_packed} at once on a device: its trial {self.reason}; no gain is assumed."
        return f"{size}: its trial {self.reason}; its time is read from the other shapes, its memory guessed."


@dataclass
class _AtWork:
    run: RunSpec
    slot: Slot
    execution: Execution
    process: WorkerProcess
    begun: float
    memory: float
    answer: TrialTimes | TrialFailed | None = None


@contextlib.contextmanager
def open_preflight(
    slots: Sequence[Slot],
    artifacts: Path,
    corpora: Path,
    *,
    seconds: float,
    probes: bool,
    factory_folder: Path | None = None,
) -> Iterator["Preflight"]:
    """Trials on `slots`, their devices held, one command at a time in a folder of artifacts.

    A factory of the user's own is looked for in `factory_folder`.

    Raises:
        IsoflopError: another process trains on every device, or nothing can be written.
    """
    with measuring_alone(slots, artifacts) as usable:
        preflight = Preflight(usable, artifacts, corpora, seconds=seconds, probes=probes, factory_folder=factory_folder)
        try:
            yield preflight
        finally:
            preflight.close()


@contextlib.contextmanager
def measuring_alone(slots: Sequence[Slot], artifacts: Path) -> Iterator[list[Slot]]:
    """Those of `slots` that can be measured on, held, with an empty folder to write to that one command has at a time.

    Raises:
        IsoflopError: another process trains on every device, or nothing can be written.
    """
    folder = measuring_dir(artifacts)
    try:
        with alone_at(folder / ".lock"), device_leases(slots, share=slots[0].kind == "cpu") as leases:
            usable = leases.capacity().usable if leases else frozenset(range(len(slots)))
            if not usable:
                raise IsoflopError(
                    f"Another process trains on {slots[0].name}: what is measured beside it would be wrong.",
                    hint="Measure when it has ended, or leave --measure out.",
                )
            _empty(folder)  # what a killed command left
            try:
                yield [slots[n] for n in sorted(usable)]
            finally:
                _empty(folder)
    except OSError as error:
        raise IsoflopError(
            f"Cannot write to {str(folder)!r}: {why_inaccessible(error, folder)}.",
            hint="Make room or correct the permissions, or name another folder with --artifacts.",
        ) from error


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


class Preflight:
    """Trials of shapes, one at a time on each slot; as many at once as runs will be, for they share the memory bus."""

    def __init__(
        self,
        slots: Sequence[Slot],
        artifacts: Path,
        corpora: Path,
        *,
        seconds: float,
        probes: bool,
        factory_folder: Path | None = None,
    ) -> None:
        self._slots, self._artifacts, self._corpora = slots, artifacts, corpora
        self._seconds, self._probes, self._factory_folder = seconds, probes, factory_folder
        self._server = ForkServer(run_trial)
        self._at_work: dict[int, _AtWork] = {}
        self._number = 0

    def measure(self, runs: Sequence[RunSpec]) -> Iterator[Measurement | NotMeasured]:
        """What each of `runs` takes, as its trials end.

        Raises:
            IsoflopError: no process can be started.
        """
        waiting = deque(runs)
        while waiting or self._at_work:
            for number, slot in enumerate(self._slots):
                if waiting and number not in self._at_work and self._has_room(waiting[0], slot):
                    started = self._start(waiting[0], slot)
                    if started is not None:
                        self._at_work[number] = started
                        waiting.popleft()
            self._wait()
            for number in list(self._at_work):
                if (found := self._look_at(number)) is not None:
                    yield found

    def measure_packed(self, alone: Iterable[tuple[RunSpec, Measurement]]) -> Iterator[Measurement | NotMeasured]:
        """What runs take with two and more of each at once on one device, while more pay and memory suffices.

        `alone` is what they took with a device to themselves.

        Raises:
            IsoflopError: no process can be started.
        """
        for run, measured in alone:
            each = measured.seconds_per_step
            for number in TRIED:
                if number * measured.memory_bytes > self._slots[0].memory_bytes:
                    break
                found = self._together(run, number)
                yield found
                if isinstance(found, NotMeasured) or found.seconds_per_step / number * LEAST_GAIN > each:
                    break
                each = found.seconds_per_step / number

    def _together(self, run: RunSpec, number: int) -> Measurement | NotMeasured:
        """What a run takes with `number` of it at once on the first device; nothing else may be at work."""
        slot = replace(self._slots[0], n_packed=number)
        self._number += 1
        meeting = measuring_dir(self._artifacts) / f"{self._number}"
        meeting.mkdir()
        for at in range(number):
            while (started := self._start(run, slot, meeting=(meeting, number))) is None:
                pass  # the fork server had died, and the next start begins another
            self._at_work[at] = started
        found: list[Measurement] = []
        while self._at_work:
            self._wait()
            for at in list(self._at_work):
                one = self._look_at(at)
                if isinstance(one, NotMeasured):
                    self._kill()
                    return replace(one, n_packed=number)
                if one is not None:
                    found.append(one)
        per_step = sum(one.seconds_per_step for one in found) / number
        return replace(found[0], seconds_per_step=per_step, memory_bytes=max(one.memory_bytes for one in found))

    def _has_room(self, run: RunSpec, slot: Slot) -> bool:
        """Whether the device has memory for it beside what runs there; alone, every shape may try."""
        beside = [one.memory for n, one in self._at_work.items() if self._slots[n].device == slot.device]
        return not beside or sum(beside) + memory_needed(Job((run,)), slot) <= slot.memory_bytes

    def _start(self, run: RunSpec, slot: Slot, meeting: tuple[Path, int] | None = None) -> _AtWork | None:
        """Start the trial of a run; None where the fork server had died."""
        self._number += 1
        execution = new_execution(Job((run,)), slot)
        trial = Trial(
            run=run,
            execution=execution,
            folder=measuring_dir(self._artifacts) / f"{self._number}",
            corpora=self._corpora,
            compiled=compiled_dir(self._artifacts),
            coordinator_pid=os.getpid(),
            visible_device=slot.visible_device,
            seconds=self._seconds,
            probes=self._probes,
            factory_folder=self._factory_folder,
            meeting=meeting,
        )
        begun = time.monotonic()
        process = self._server.start(trial, preload=modules_of(preload_of([run], execution)), stays=True)
        if self._number == 1:
            begun = time.monotonic()  # before that, the process that workers are forked from loaded torch
        if process is None:
            return None
        return _AtWork(run, slot, execution, process, begun, memory_needed(Job((run,)), slot))

    def _wait(self) -> None:
        signs = [sign for one in self._at_work.values() for sign in (one.process.sentinel, one.process.connection)]
        wait([sign for sign in signs if sign is not None], timeout=1.0)

    def _look_at(self, number: int) -> Measurement | NotMeasured | None:
        """What a trial came to once its process has ended; None before."""
        one = self._at_work[number]
        connection = one.process.connection
        if connection is not None and connection.poll():
            with contextlib.suppress(EOFError, ConnectionError):
                one.answer = connection.recv()
            one.process.connection = None  # it would seem ready to whoever waits
        if one.process.is_alive():
            if time.monotonic() - one.begun > PATIENCE_SECONDS + 10 * self._seconds:
                one.process.send(signal.SIGKILL)
                one.answer = TrialFailed("took too long")
            return None
        del self._at_work[number]
        took = time.monotonic() - one.begun
        if isinstance(one.answer, TrialTimes):
            return self._measurement(one, one.answer, took)
        return NotMeasured(one.run, one.answer.reason if one.answer else _how_it_ended(one.process.exit_code))

    def _measurement(self, one: _AtWork, times: TrialTimes, took: float) -> Measurement:
        return Measurement(
            device=one.slot.name,
            device_kind=one.slot.kind,
            host=socket.gethostname(),
            n_at_once=one.slot.n_packed if one.slot.n_packed > 1 else len(self._slots),
            n_packed=one.slot.n_packed,
            shape=one.run.shape,
            batch_tokens=batch_tokens(one.run),
            optimizer=one.run.optimizer.kind,
            execution=one.execution.model_dump(mode="json"),
            n_steps=times.n_steps,
            seconds_per_step=times.seconds_per_step,
            eval_tokens=one.run.eval_tokens,
            eval_seconds=times.eval_seconds,
            checkpoint_seconds=times.checkpoint_seconds,
            beside_seconds=max(0.0, took - times.apart),
            memory_bytes=times.memory_bytes,
            isoflop_version=__version__,
            measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def close(self) -> None:
        """Kill what still runs: nothing of it is of use."""
        self._kill()
        self._server.abort()

    def _kill(self) -> None:
        for one in self._at_work.values():
            one.process.send(signal.SIGKILL)
        self._at_work.clear()


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "was lost"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code} and no answer"
