"""`isoflop plan --measure`: some steps of each shape on the devices that will train it, before anything is spent."""

import contextlib
import os
import shutil
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path

from isoflop import __version__
from isoflop.engine.execution import memory_needed, new_execution
from isoflop.engine.local.fork_server import ForkServer
from isoflop.engine.local.leases import device_leases
from isoflop.engine.local.worker_process import WorkerProcess
from isoflop.engine.protocol import Slot
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.files import alone_at
from isoflop.plan.measurement import Measurement
from isoflop.plan.pace import batch_tokens
from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import Execution
from isoflop.rundir.layout import compiled_dir, measuring_dir
from isoflop.train.trial import Trial, TrialFailed, TrialTimes, run_trial

# A trial that takes this much longer than its steps may is hung, seconds: compiling takes some ten.
PATIENCE_SECONDS = 300.0
_PRELOAD = ["isoflop.train.worker", "isoflop.train.preload"]


@dataclass(frozen=True)
class NotMeasured:
    """A shape whose trial found nothing; `reason` goes on from "its trial"."""

    run: RunSpec
    reason: str

    @property
    def sentence(self) -> str:
        """What happened, and what the estimate does without it."""
        shape = self.run.shape
        size = f"{shape.n_layers}x{shape.width}/{shape.d_ff} at batches of {self.run.batch_tokens} tokens"
        return f"{size}: its trial {self.reason}; its time is read from the other shapes, its memory guessed."


@dataclass
class _AtWork:
    run: RunSpec
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
            for number in range(len(self._slots)):
                if waiting and number not in self._at_work and self._has_room(waiting[0], self._slots[number]):
                    self._start(waiting, number)
            self._wait()
            for number in list(self._at_work):
                if (found := self._look_at(number)) is not None:
                    yield found

    def _has_room(self, run: RunSpec, slot: Slot) -> bool:
        """Whether the device has memory for it beside what runs there; alone, every shape may try."""
        beside = [one.memory for n, one in self._at_work.items() if self._slots[n].device == slot.device]
        return not beside or sum(beside) + memory_needed(Job((run,)), slot) <= slot.memory_bytes

    def _start(self, waiting: deque[RunSpec], number: int) -> None:
        """Start the trial of the first that waits; it stays there where the fork server had died."""
        run, slot = waiting[0], self._slots[number]
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
        )
        begun = time.monotonic()
        process = self._server.start(trial, preload=_PRELOAD, stays=True)
        if self._number == 1:
            begun = time.monotonic()  # before that, the process that workers are forked from loaded torch
        if process is not None:
            self._at_work[number] = _AtWork(
                waiting.popleft(), execution, process, begun, memory_needed(Job((run,)), slot)
            )

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
            return self._measurement(one, one.answer, self._slots[number], took)
        return NotMeasured(one.run, one.answer.reason if one.answer else _how_it_ended(one.process.exit_code))

    def _measurement(self, one: _AtWork, times: TrialTimes, slot: Slot, took: float) -> Measurement:
        return Measurement(
            device=slot.name,
            device_kind=slot.kind,
            host=socket.gethostname(),
            n_at_once=len(self._slots),
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
        for one in self._at_work.values():
            one.process.send(signal.SIGKILL)
        self._server.abort()


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "was lost"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code} and no answer"
