"""How a sweep stands now: what has ended, what runs where, how long it takes, what went wrong. Reads only."""

import shlex
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.finding import Finding
from isoflop.plan.file_findings import file_findings
from isoflop.plan.measurement import NO_OPTIMIZER, PROGRAM, Measurement
from isoflop.result import Status
from isoflop.rundir import RunDir
from isoflop.rundir.layout import dir_of_run, dirs_of_runs
from isoflop.spec import SweepSpec
from isoflop.status.holder import Holder, read_holder
from isoflop.status.positions import Position, State, positions
from isoflop.status.time_left import TimeLeft, done, time_left
from isoflop.status.work import Activity, Work, read_work
from isoflop.store import (
    BrokenResult,
    EmptyCell,
    RunCell,
    Standing,
    Store,
    SweepCell,
    Timing,
    read_snapshot,
    run_cells,
)


class Next(StrEnum):
    """What is best done next."""

    WAIT = "wait"
    RUN = "run"
    RETRY = "retry"
    FIT = "fit"


@dataclass(frozen=True)
class Failure:
    """A run that ended without a loss, and where to look for the cause."""

    cell: RunCell
    status: Status
    reason: str
    log_path: Path | None

    @property
    def n_attempts(self) -> int:
        """Attempts known; the last may not be recorded yet."""
        return max(1, self.cell.n_attempts)


@dataclass(frozen=True)
class Omission:
    """A cell that no run will fill or no fit will use, and why."""

    cell: SweepCell
    state: State
    why: str


@dataclass(frozen=True)
class SweepStatus:
    """How a sweep stands.

    Attributes:
        at: when it was read, UTC.
        simulated: whether no model is trained.
        cells: every cell with its state, ordered by budget, size and seed.
        positions: the same by place in the grid.
        n_runs: distinct runs planned.
        flops_planned, flops_done, flops_failed: of the distinct runs; done counts those that completed, and running
            ones as far as they are; failed all that was planned of those that diverged or failed.
        works: runs without a result that somebody began, running ones first.
        failures: runs that diverged or failed.
        omissions: cells excluded (whatever becomes of them), off plan or dropped.
        time_left: None where nothing is left, or nothing is known of the devices.
        holder: who holds the sweep's lock, or may: a process on another host cannot be asked.
        abandoned_by: who held it and died without giving it back; None while anybody holds it.
        findings: what a reader should know before believing this.
    """

    sweep: str
    at: datetime
    simulated: bool
    cells: tuple[tuple[SweepCell, State], ...]
    positions: tuple[Position, ...]
    n_runs: int
    flops_planned: float
    flops_done: float
    flops_failed: float
    works: tuple[tuple[Work, RunCell], ...]
    failures: tuple[Failure, ...]
    omissions: tuple[Omission, ...]
    time_left: TimeLeft | None
    holder: Holder | None
    abandoned_by: Holder | None
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[State, int]:
        """Cells by state, in a fixed order, without empty kinds."""
        numbers = Counter(state for _, state in self.cells)
        return {state: numbers[state] for state in (*Activity, *Standing) if numbers[state]}

    @property
    def unattended(self) -> bool:
        """Whether runs are trained that nobody who holds the sweep looks after."""
        return self.holder is None and Activity.RUNNING in self.counts

    @property
    def next(self) -> Next:
        """What is best done next."""
        if self.holder is not None:
            return Next.WAIT
        if any(cell.standing is Standing.PENDING for cell, _ in self.cells):
            return Next.RUN
        return Next.RETRY if self.failures else Next.FIT


def read_status(spec: SweepSpec, file: Path, *, db: Path, lock: Path, artifacts: Path) -> SweepStatus:
    """How the sweep of `file` stands by its database, its lock file and its run directories; writes nothing.

    Raises:
        IsoflopError: not planned yet, or something that cannot be read.
    """

    def read(store: Store) -> tuple[SweepSpec, tuple[SweepCell, ...], tuple[Timing, ...], tuple[Measurement, ...]]:
        if spec.name not in store.sweep_names():
            raise IsoflopError(
                f"The sweep {spec.name!r} is not planned yet: the database {str(db)!r} does not have it.",
                hint=f"`isoflop run {shlex.quote(str(file))}` plans and trains it; --db names another database.",
            )
        return *store.planned_sweep(spec.name), store.throughput(spec.program), store.measurements()

    planned, cells, timings, known = read_snapshot(db, read)
    trials = [one for one in known if _tells(one, planned)]
    artifacts = artifacts.resolve()  # as a run names it in its logs
    try:
        runs = run_cells(cells)
        works = _works(runs, artifacts, silent_seconds=planned.run.stall_seconds)
        left = None if planned.trainer == "simulated" else time_left(runs, works, timings, artifacts, trials)
        failures = _failures(runs, artifacts)
    except OSError as error:
        raise IsoflopError(
            f"Cannot read the run directories in {str(artifacts)!r}: {why_inaccessible(error, artifacts)}.",
            hint="Name their folder with --artifacts, and make sure that you may read it.",
        ) from error
    findings = file_findings(planned, spec, file)
    return _status(planned, cells, works, failures=failures, left=left, holder=read_holder(lock), findings=findings)


def _tells(one: Measurement, spec: SweepSpec) -> bool:
    """Whether a trial is of runs as the sweep has them, with the device to itself."""
    optimizer = spec.recipe.optimizer if spec.command is None else NO_OPTIMIZER
    return one.n_packed == 1 and one.optimizer == optimizer and one.execution.get(PROGRAM) == spec.program


def _status(
    spec: SweepSpec,
    cells: Sequence[SweepCell],
    works: Mapping[str, Work],
    *,
    failures: tuple[Failure, ...],
    left: TimeLeft | None,
    holder: Holder | None,
    findings: tuple[Finding, ...],
) -> SweepStatus:
    states = tuple((cell, _state(cell, works)) for cell in cells)
    runs = {cell.run_id: cell for cell in run_cells(cells)}
    begun = sorted(works.values(), key=lambda work: (list(Activity).index(work.activity), work.run_id))
    dead = holder is not None and holder.alive is False
    return SweepStatus(
        sweep=spec.name,
        at=datetime.now(UTC),
        simulated=spec.trainer == "simulated",
        cells=states,
        positions=positions(states),
        n_runs=len(runs),
        flops_planned=sum(cell.planned_flops for cell in runs.values()),
        flops_done=sum(_flops_done(cell, works.get(run_id)) for run_id, cell in runs.items()),
        flops_failed=sum(cell.planned_flops for cell in runs.values() if cell.broken),
        works=tuple((work, runs[work.run_id]) for work in begun),
        failures=failures,
        omissions=tuple(Omission(cell, state, why) for cell, state in states if (why := _why(cell))),
        time_left=left,
        holder=None if dead else holder,
        abandoned_by=holder if dead else None,
        findings=findings,
    )


def _works(cells: Iterable[RunCell], artifacts: Path, *, silent_seconds: float) -> dict[str, Work]:
    """What goes on in the run directories of pending runs, by run; only those that are there are looked into."""
    pending = {cell.run_id for cell in cells if cell.result is None}
    host = socket.gethostname()
    works = (
        read_work(RunDir(path), run_id, host=host, silent_seconds=silent_seconds)
        for run_id, path in dirs_of_runs(artifacts, sorted(pending)).items()
    )
    return {work.run_id: work for work in works if work is not None}


def _state(cell: SweepCell, works: Mapping[str, Work]) -> State:
    work = works.get(cell.run_id or "")
    return work.activity if cell.standing is Standing.PENDING and work is not None else cell.standing


def _flops_done(cell: RunCell, work: Work | None) -> float:
    if cell.broken:
        return 0.0
    ended = cell.completed is not None or (work is not None and work.activity is Activity.ENDED)
    return cell.planned_flops * (1.0 if ended else done(cell, work))


def _failures(cells: Iterable[RunCell], artifacts: Path) -> tuple[Failure, ...]:
    # A run that serves several cells failed once.
    failed = {cell.run_id: (cell, cell.broken) for cell in cells if cell.broken}
    return tuple(_failure(*one, RunDir(dir_of_run(artifacts, run_id))) for run_id, one in failed.items())


def _failure(cell: RunCell, broken: BrokenResult, run_dir: RunDir) -> Failure:
    """The run's log is the one its last attempt recorded; of a coordinator that died first, the last on disk."""
    log = Path(cell.log_path) if cell.log_path else run_dir.log_path(run_dir.last_attempt)
    known = cell.log_path is not None or log.exists()
    return Failure(cell, broken.status, broken.reason, log if known else None)


def _why(cell: SweepCell) -> str | None:
    if isinstance(cell, EmptyCell):
        return cell.drop_reason
    if cell.standing is Standing.EXCLUDED:
        return cell.excluded
    return cell.plan_miss or (f"excluded: {cell.excluded}" if cell.excluded is not None else None)
