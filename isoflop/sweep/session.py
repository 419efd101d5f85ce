"""One `isoflop run`: the plan, the engine and the store, joined; the store's only writer while it lasts."""

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from isoflop.artifacts.other_databases import sign_in
from isoflop.artifacts.weights import WeightKeeper
from isoflop.decision.confirmation import Confirmation, judge
from isoflop.engine.dispatch import DEFAULT_STALL_SECONDS, Dispatcher
from isoflop.engine.execution import git_state
from isoflop.engine.local.device_wish import ANY_DEVICE, DeviceWish
from isoflop.engine.local.devices import DeviceChoice
from isoflop.engine.local.open_files import ensure_open_files
from isoflop.engine.notices import AttemptEnded, AttemptStarted, Notice, RunFinished
from isoflop.engine.queue import start_order
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.plan.types import Extra, Plan
from isoflop.result import Status
from isoflop.run_spec import Job
from isoflop.rundir import RunDir
from isoflop.rundir.layout import dir_of_run, dirs_of_runs
from isoflop.status.work import read_work, share_done
from isoflop.store import PlanChanges, SteeringRound, Store, changes_since, open_store, run_cells, sweep_lock
from isoflop.sweep.busy_time import BusyTime
from isoflop.sweep.confirm import ConfirmPlan, ConfirmRequest, plan_confirmation, refuse_early, stored_extras
from isoflop.sweep.extend import planned_extras
from isoflop.sweep.forecast import (
    forecast,
    known_of,
    measured_memory,
    pace_of,
    packed_as_measured,
    refuse_beyond,
    trials_of,
)
from isoflop.sweep.growth import Growth
from isoflop.sweep.locks import lock_path
from isoflop.sweep.own_factory import counted_sweep
from isoflop.sweep.own_program import load_sweep, program_place
from isoflop.sweep.planning import (
    NOT_SHOWN,
    PlannedSweep,
    ProgressDisplay,
    corpora,
    plan_on,
    sweep_corpus,
)
from isoflop.sweep.run_outcome import Incomplete, Outline, RunOutcome
from isoflop.sweep.spent import Spending
from isoflop.sweep.stakes import LeftBehind, left_behind, refuse_to_leave_gpus
from isoflop.sweep.workplace import LOCAL, EngineChoice, Workplace, staffed

# What --retry makes pending again.
_RETRIED = (Status.DIVERGED, Status.FAILED)


@contextlib.contextmanager
def open_session(
    sweep: Path,
    db: Path,
    artifacts: Path,
    *,
    device: DeviceChoice,
    workers: int | None,
    retry: bool,
    may_leave: Callable[[LeftBehind], bool] = lambda lost: False,
    wish: DeviceWish = ANY_DEVICE,
    engine: EngineChoice = LOCAL,
    progress: ProgressDisplay = NOT_SHOWN,
    confirm: ConfirmRequest | None = None,
    max_hours: float | None = None,
) -> Iterator["Session"]:
    """A session with the sweep planned and locked; `progress` as of `sweep_corpus`.

    With an `engine` other than local its cluster is asked for room, and waited for.
    `may_leave` is asked where the plan would leave trained runs behind. `confirm` adds confirm runs to the sweep: their
    predictions are stored with the plan, before anything is trained. Nothing is recorded of a plan whose pending runs
    cost more than `max_hours` device-hours.

    Raises:
        IsoflopError: it may not, they do, or as of `plan_sweep`, `plan_confirmation` and the store.
    """
    spec = load_sweep(sweep, artifacts)
    program = program_place(spec, sweep)
    place = Workplace(device, workers, wish, engine)
    ensure_open_files(workers)
    with contextlib.ExitStack() as held:
        held.enter_context(sweep_lock(lock_path(db, spec.name), spec.name))
        store = held.enter_context(open_store(db, write=True))
        if confirm is not None:
            refuse_early(store, spec, confirm)
        corpus = sweep_corpus(spec, sweep, artifacts, progress=progress)
        spec = counted_sweep(spec, corpus.facts, sweep, artifacts)
        extra = (*planned_extras(db, spec), *(stored_extras(store, spec, confirm) if confirm else ()))
        pending = partial(_n_pending, store, artifacts)
        staff = held.enter_context(
            staffed(place, spec, corpus, sweep=sweep, db=db, artifacts=artifacts, pending=pending)
        )
        planned = staff.plan(tuple(dict.fromkeys(extra)))
        refuse_to_leave_gpus(planned, artifacts)
        changes = changes_since(store, spec, planned.plan)
        lost = left_behind(store, planned.plan, changes, artifacts)
        if lost is not None and not may_leave(lost):
            raise lost.refusal()
        added = ConfirmPlan()
        if confirm is not None:
            added = plan_confirmation(store, spec, confirm, planned, changes=changes, artifacts=artifacts.resolve())
            planned = staff.plan(tuple(dict.fromkeys((*extra, *added.extras))))
        known = known_of(store, spec)
        planned = packed_as_measured(planned, known, workers=workers, wish=wish)
        if max_hours is not None:
            done = {*store.statuses(), *_with_result(planned.plan, artifacts)}
            done -= {run_id for run_id, status in store.statuses().items() if retry and status in _RETRIED}
            refuse_beyond(forecast(planned, pace_of(planned, known), done=done), max_hours)
        store.save_plan(spec, planned.plan, added.new)
        git = git_state(sweep.resolve().parent)
        ensure_open_files(len(planned.slots))
        engines = held.enter_context(staff.engines(planned))

        def new_engine() -> Dispatcher:
            return Dispatcher(
                engines(),
                artifacts=artifacts.resolve(),
                corpora=corpora(artifacts).resolve(),
                git=git,
                program=program,
                probes=spec.evaluation.probes,
                stall_seconds=spec.run.stall_seconds,
                memory_of=measured_memory(known.measurements),
            )

        first = new_engine()
        weights = WeightKeeper(store, spec.name, spec.run.keep, first.artifacts)
        growth = Growth(spec, planned, partial(plan_on, spec, corpus, planned.slots), new_engine)
        session = Session(growth, changes, store, first, weights, confirming=added)
        if retry:
            session.retry()
        yield session


class Session:
    """Feeds the engine with what is pending and records what it yields.

    Attributes:
        changes: how the plan differs from the one before, but for confirm runs that are added now; None for a sweep
            that was not planned before.
        confirming: the confirm runs that were asked for.
        growth: what it was planned with, and more runs are.
        busy: GPUs that were left out because other programs compute on them.
    """

    def __init__(
        self,
        growth: Growth,
        changes: PlanChanges | None,
        store: Store,
        engine: Dispatcher,
        weights: WeightKeeper,
        *,
        confirming: ConfirmPlan | None = None,
    ) -> None:
        self.growth, self.plan, self.busy = growth, growth.planned.plan, growth.planned.busy
        self.changes, self.store, self.engine, self.slots = changes, store, engine, engine.slots
        self.weights, self.confirming = weights, confirming or ConfirmPlan()
        self._busy_time = BusyTime()
        self._spending = Spending(engine.artifacts)
        self._n_read = 0
        self._begun = time.monotonic()

    def planned_with(self, extras: Sequence[Extra]) -> PlannedSweep:
        """The sweep with `extras` beside what it has."""
        known = planned_extras(self.store.path, self.growth.spec)
        return self.growth.plan_with(tuple(dict.fromkeys((*known, *extras))))

    def grow(self, planned: PlannedSweep, decided: SteeringRound) -> None:
        """Make `planned` the sweep's plan, with the decision that led to it, in one transaction; `events` trains it."""
        growth = self.growth
        self.store.save_plan(growth.spec, planned.plan, rounds=[decided])
        self.growth = replace(growth, planned=planned)
        self.plan, self.engine = planned.plan, growth.new_engine()
        self.weights = WeightKeeper(self.store, planned.plan.sweep, growth.spec.run.keep, self.engine.artifacts)

    @property
    def outline(self) -> Outline:
        """What a display needs to know before the first event."""
        pending = set(self.store.pending(self.plan.sweep))
        timings = self.store.throughput(self.growth.spec.program)
        return Outline(
            sweep=self.plan.sweep,
            simulated=self.plan.simulated,
            cells=tuple(self.plan.cells),
            done=frozenset(self.plan.runs) - pending,
            shares=dict(self._shares(pending)),
            devices=tuple(slot.name for slot in self.slots),
            device_kind=self.slots[0].kind,
            timings=tuple(one for one in timings if one.worker == self.slots[0].worker_name),
            measurements=tuple(trials_of(self.growth.planned, self.store.measurements())),
        )

    def _shares(self, pending: Iterable[str]) -> Iterator[tuple[str, float]]:
        """What need not be done again of runs that somebody began."""
        host = socket.gethostname()
        for run_id in pending:
            run_dir = RunDir(dir_of_run(self.engine.artifacts, run_id))
            work = read_work(run_dir, run_id, host=host, silent_seconds=DEFAULT_STALL_SECONDS)
            if share := share_done(self.plan.runs[run_id].n_tokens, work):
                yield run_id, share

    @property
    def excluded(self) -> Mapping[str, str]:
        """A person's reasons for leaving runs of the plan out of every fit, by run id."""
        return {run_id: reason for run_id, reason in self.store.exclusions().items() if run_id in self.plan.runs}

    def read_results(self, tell: Callable[[Notice], None] = lambda notice: None) -> int:
        """Record the results that lie in the run directories, so that nothing is trained for them; how many that adds.

        Each is told to `tell`.

        Raises:
            IsoflopError: as of `events`.
        """
        before = self._n_read
        with self._explained():
            pending = self.store.pending(self.plan.sweep)
            for run_id in dirs_of_runs(self.engine.artifacts, pending) if pending else ():
                result = RunDir(dir_of_run(self.engine.artifacts, run_id)).read_result(run_id)
                if result is not None:
                    found = RunFinished(result, None, time.monotonic())
                    self._record(found)
                    tell(found)
        return self._n_read - before

    def events(self) -> Iterator[Notice]:
        """Train what is pending; every event is recorded before it is passed on.

        Raises:
            IsoflopError: the artifacts or the database cannot be written.
        """
        with self._explained():
            jobs = self._jobs()
            self._sign_in(needed=bool(jobs))
            self._spending.expect(jobs)
            for event in self.engine.run(jobs):
                self._record(event)
                yield event
            self.weights.free_all()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise IsoflopError(
                f"Cannot write to {str(self.engine.artifacts)!r}: {why_inaccessible(error, self.engine.artifacts)}.",
                hint="Make room or correct the permissions; finished results are safe, and the same command continues.",
            ) from error

    def _sign_in(self, *, needed: bool) -> None:
        """Have other databases know of this one; a finished sweep may also lie where nothing can be written."""
        if needed or self.engine.artifacts.is_dir():
            try:
                sign_in(self.engine.artifacts, self.store.path)
            except OSError:
                if needed:
                    raise

    def _jobs(self) -> list[Job]:
        pace = pace_of(self.growth.planned, known_of(self.store, self.growth.spec))
        return start_order(self.plan.cells, self.store.pending(self.plan.sweep), seconds=lambda run: pace.of(run).total)

    def _record(self, event: Notice) -> None:
        match event:
            case AttemptStarted():
                self._busy_time.begin(event)
                self._spending.begin(event)
            case RunFinished():
                recorded = self.store.record(event.result)
                self.weights.take(event.result)
                if event.worker is None:
                    self._n_read += recorded
                else:
                    self._spending.finish(event.result)
                    self._busy_time.result(event.worker, event.at)
            case AttemptEnded():
                self._busy_time.end(event)
                self._spending.end(event)
                self._record_attempt(event)
                self.weights.free()  # not before the worker has ended: it holds its directory
            case _:
                pass

    def _record_attempt(self, event: AttemptEnded) -> None:
        for run_id in event.run_ids:
            self.store.record_attempt(
                run_id,
                event.attempt,
                host=event.host,
                device=event.device,
                started_at=_utc(event.started_at),
                ended_at=_utc(event.ended_at),
                outcome=event.outcome,
                reason=event.reason,
                log_path=str(event.log_path),
                engine=None if event.engine == "local" else event.engine,
                engine_job=event.engine_job or None,
            )

    def retry(self) -> None:
        """Make every diverged or failed run of the sweep pending again; what it was stays among the attempts."""
        status = {cell.run_id: cell.status for cell in run_cells(self.store.cells(self.plan.sweep))}
        for run_id in self.plan.runs:
            if status[run_id] in _RETRIED:
                run_dir = RunDir(dir_of_run(self.engine.artifacts, run_id))
                if status[run_id] is Status.DIVERGED:
                    run_dir.forget_program(run_id)  # from there it would diverge again
                run_dir.set_result_aside(run_id)
                self.store.supersede(run_id)

    def outcome(self) -> RunOutcome:
        """What the sweep has come to."""
        cells = {cell.run_id: cell for cell in run_cells(self.store.cells(self.plan.sweep))}
        counts = Counter(cell.status.value if cell.status else "pending" for cell in cells.values())
        return RunOutcome(
            sweep=self.plan.sweep,
            simulated=self.plan.simulated,
            counts={name: counts[name] for name in (*(status.value for status in Status), "pending")},
            excluded={run_id: cell.excluded for run_id, cell in cells.items() if cell.excluded is not None},
            incomplete=tuple(
                Incomplete(cell.run_id, cell.broken.status, cell.broken.reason, cell.log_path)
                for cell in cells.values()
                if cell.broken is not None
            ),
            seconds=time.monotonic() - self._begun,
            flops_spent=self._spending.flops,
            n_kept=sum(map(self.keeps_state, (cell.run_id for cell in cells.values() if cell.result is None))),
            n_read=self._n_read,
            busy_share=self._busy_time.share(len(self.slots)),
        )

    def confirmations(self) -> tuple[Confirmation, ...]:
        """The confirm runs of the sweep against what was predicted for them."""
        return judge(self.store.predictions(self.plan.sweep), self.store.cells(self.plan.sweep))

    def keeps_state(self, run_id: str) -> bool:
        """Whether the run has a checkpoint to go on from."""
        return RunDir(dir_of_run(self.engine.artifacts, run_id)).keeps_state(run_id)


def _n_pending(store: Store, artifacts: Path, planned: PlannedSweep) -> int:
    """Runs of the plan that have no result."""
    return len(planned.plan.runs.keys() - store.statuses().keys() - set(_with_result(planned.plan, artifacts)))


def _with_result(plan: Plan, artifacts: Path) -> Iterator[str]:
    """The runs of the plan whose result lies in their directory, though the database may not have it."""
    for run_id, path in dirs_of_runs(artifacts, plan.runs).items():
        if RunDir(path).result_path(run_id).exists():
            yield run_id


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
