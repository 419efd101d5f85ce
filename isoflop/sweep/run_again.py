"""Trains completed runs once more, for their weights. What was recorded stays: the new loss is held against it."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from isoflop.corpus import load_intact
from isoflop.engine.dispatch import Dispatcher
from isoflop.engine.execution import git_state
from isoflop.engine.local.busy_gpus import BusyGpu
from isoflop.engine.local.device_wish import ANY_DEVICE, DeviceWish
from isoflop.engine.local.devices import DeviceChoice, FoundDevices, find_devices
from isoflop.engine.local.leases import device_leases
from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.local.open_files import ensure_open_files
from isoflop.engine.notices import Notice, RunFinished
from isoflop.engine.protocol import Slot
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.plan.types import Cell
from isoflop.result import RunResult, Status
from isoflop.run_spec import Job
from isoflop.rundir import Execution, JobFile, RunDir
from isoflop.rundir.layout import again_dir, dir_of_run
from isoflop.spec import SweepSpec, load_spec
from isoflop.store import read_snapshot, sweep_lock
from isoflop.sweep.locks import lock_path
from isoflop.sweep.own_program import program_place
from isoflop.sweep.planning import corpora, sweep_corpus
from isoflop.sweep.run_outcome import Outline
from isoflop.sweep.trained_run import RunChoice, TrainedRun, trained_run


@dataclass(frozen=True)
class Repeat:
    """A run that was trained once more.

    Attributes:
        recorded_loss: what the database has, nats per token.
        loss: of the new training; None while it has not completed.
        reason: why it did not complete, if it did not.
        weights: where the weights lie; None while they are missing.
        was_there: whether they lay there before, so that nothing was trained.
    """

    run_id: str
    recorded_loss: float
    loss: float | None
    reason: str | None
    weights: Path | None
    was_there: bool = False

    @property
    def difference(self) -> float | None:
        """The new loss less the recorded one; 0.0 exactly where every bit is equal."""
        return None if self.loss is None else self.loss - self.recorded_loss


@contextlib.contextmanager
def open_repeats(
    sweep: Path,
    db: Path,
    artifacts: Path,
    names: Sequence[str],
    *,
    device: DeviceChoice,
    workers: int | None,
    wish: DeviceWish = ANY_DEVICE,
) -> Iterator["Repeats"]:
    """Training of the completed runs that `names` mean, under the sweep's lock.

    Raises:
        IsoflopError: no such run, one that did not complete or was simulated, the text has changed since, or another
            process holds the sweep.
    """
    spec = load_spec(sweep)
    ensure_open_files(workers)
    with sweep_lock(lock_path(db, spec.name), spec.name):
        chosen = {
            trained.run.run_id: trained
            for trained in (trained_run(sweep, db, artifacts, RunChoice(run=name), any_module=True) for name in names)
        }
        missing = [trained for trained in chosen.values() if not trained.has_weights]
        for trained in missing:
            _require_corpus(trained, spec, sweep, artifacts)
        found = _found(missing, device, workers, wish)
        slots = _slots(missing, found)
        with device_leases(slots, share=wish.share) as leases:
            engine = Dispatcher(
                LocalEngine(slots, leases),
                artifacts=again_dir(artifacts.resolve()),
                corpora=corpora(artifacts).resolve(),
                git=git_state(sweep.resolve().parent),
                measured=artifacts.resolve(),
                stall_seconds=spec.run.stall_seconds,
                program=program_place(spec, sweep),
            )
            yield Repeats(tuple(chosen.values()), missing, engine, artifacts.resolve(), db, busy=found.busy)


class Repeats:
    """Feeds the engine with the runs whose weights are missing, and puts the weights where the others lie.

    Attributes:
        chosen: the runs that were named.
        missing: those of them without weights of their own.
        busy: GPUs that were left out because other programs compute on them.
    """

    def __init__(
        self,
        chosen: Sequence[TrainedRun],
        missing: Sequence[TrainedRun],
        engine: Dispatcher,
        artifacts: Path,
        db: Path,
        *,
        busy: tuple[BusyGpu, ...] = (),
    ) -> None:
        self.busy = busy
        self.chosen, self.missing, self.engine, self._artifacts, self._db = chosen, missing, engine, artifacts, db
        self._results: dict[str, RunResult] = {}

    @property
    def outline(self) -> Outline:
        """What a display needs to know before the first event."""
        return Outline(
            sweep=self.chosen[0].sweep.name,
            simulated=False,
            cells=tuple(_cell(trained) for trained in self.missing),
            done=frozenset(),
            shares={},
            devices=tuple(slot.name for slot in self.engine.slots),
            device_kind=self.engine.slots[0].kind,
            timings=read_snapshot(self._db, lambda store: store.throughput()),
        )

    def events(self) -> Iterator[Notice]:
        """Train what is missing; weights are in place before the event that a run has finished is passed on.

        Raises:
            IsoflopError: the artifacts cannot be written.
        """
        try:
            for trained in self.missing:
                _prepare(RunDir(dir_of_run(self.engine.artifacts, trained.run.run_id)), trained)
            for event in self.engine.run([Job((trained.run,)) for trained in self.missing]):
                if isinstance(event, RunFinished):
                    self._results[event.result.run_id] = event.result
                    self._keep(event.result)
                yield event
            self._tidy()
        except OSError as error:
            raise IsoflopError(
                f"Cannot write to {str(self._artifacts)!r}: {why_inaccessible(error, self._artifacts)}.",
                hint="Make room or correct the permissions; the same command continues.",
            ) from error

    @property
    def repeats(self) -> list[Repeat]:
        """What came of each run, in the order they were named."""
        return [self._repeat(trained) for trained in self.chosen]

    def _repeat(self, trained: TrainedRun) -> Repeat:
        run_id, recorded = trained.run.run_id, trained.result.val_loss
        result = self._results.get(run_id)
        loss, reason = (result.val_loss, result.reason) if result else (None, None)
        weights = trained.weights if trained.has_weights else None
        return Repeat(run_id, recorded, loss, reason, weights, was_there=trained not in self.missing)

    def _keep(self, result: RunResult) -> None:
        """Move the weights into the run's own directory, marked so that nothing frees them."""
        made = RunDir(dir_of_run(self.engine.artifacts, result.run_id)).weights_path(result.run_id)
        if not made.is_file():
            return
        own = RunDir(dir_of_run(self._artifacts, result.run_id))
        own.weights_path(result.run_id).parent.mkdir(parents=True, exist_ok=True)
        own.keep_path.touch()
        made.replace(own.weights_path(result.run_id))

    def _tidy(self) -> None:
        """Remove what the new trainings left beside their weights.

        What was interrupted goes on from its checkpoint, of what failed the log was named; another sweep may train in
        the same folder.
        """
        for run_id, result in self._results.items():
            if result.status is Status.COMPLETED:
                shutil.rmtree(dir_of_run(self.engine.artifacts, run_id), ignore_errors=True)
        with contextlib.suppress(OSError):
            self.engine.artifacts.rmdir()  # unless another run's directory is in it


def _prepare(run_dir: RunDir, trained: TrainedRun) -> None:
    """Have the run computed as it was the first time; an outcome of an earlier repetition is set aside."""
    run_dir.set_result_aside(trained.run.run_id)
    if run_dir.read_job() is None and (execution := _execution(trained)) is not None:
        run_dir.write_job(JobFile(runs=(trained.run,), execution=execution))


def _execution(trained: TrainedRun) -> Execution | None:
    """How the run was computed; None where an older or newer version said it in words that this one does not know."""
    try:
        return Execution.model_validate(dict(trained.result.execution))
    except ValidationError:
        return None


def _require_corpus(trained: TrainedRun, spec: SweepSpec, sweep: Path, artifacts: Path) -> None:
    """Nothing; the run's corpus lies in the artifacts, built again if need be.

    Raises:
        IsoflopError: the text is gone or has changed.
    """
    fingerprint = trained.run.corpus_fingerprint
    try:
        load_intact(corpora(artifacts), fingerprint)
        return
    except IsoflopError:
        found = sweep_corpus(spec, sweep, artifacts).facts.fingerprint
    if found != fingerprint:
        raise IsoflopError(
            f"Run {trained.run.run_id} was trained on the corpus {fingerprint}; the text gives {found} now.",
            hint="Restore the text that the run was trained on.",
        )


def _found(missing: Sequence[TrainedRun], device: DeviceChoice, workers: int | None, wish: DeviceWish) -> FoundDevices:
    """The devices to train on, as many together as trained the first run."""
    execution = _execution(missing[0]) if missing else None
    return find_devices(device, workers, execution.world_size if execution else 1, wish)


def _slots(missing: Sequence[TrainedRun], found: FoundDevices) -> tuple[Slot, ...]:
    """By themselves those of the kind that the first run was trained on, if there are any."""
    execution = _execution(missing[0]) if missing else None
    alike = (slots for slots in found.options if execution and slots[0].kind == execution.device_kind)
    return next(alike, found.options[0])


def _cell(trained: TrainedRun) -> Cell:
    return Cell(trained.cell.role, trained.cell.budget_flops, trained.run, trained.cell.epochs)
