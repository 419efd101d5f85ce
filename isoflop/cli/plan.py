"""`isoflop plan`: what a sweep would train, and what it would cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.device_options import tell_of_devices
from isoflop.cli.engine_options import Engine, EngineChoiceName, EngineOptions, engine_choice, refuse_engine
from isoflop.cli.measuring import DEFAULT_SECONDS, MaxHours, Measure, MeasureSeconds, On, PlanPrice
from isoflop.cli.options import (
    DEFAULT_ARTIFACTS,
    DEFAULT_DB,
    Artifacts,
    AsJson,
    Database,
    Device,
    DeviceName,
    SweepFile,
    Workers,
)
from isoflop.cli.replan import Replan, may_leave

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from isoflop.engine.local.devices import DeviceChoice
    from isoflop.plan.gpu_types import GpuChoice
    from isoflop.spec import SweepSpec
    from isoflop.store import Store
    from isoflop.sweep.extend import Extension
    from isoflop.sweep.planning import PlannedSweep, SweepCorpus
    from isoflop.sweep.workplace import EngineChoice
    from isoflop.view.plan_costs import Price
    from isoflop.view.plan_view import NextRuns, PlanView


def plan(
    sweep: SweepFile,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    device: Device = DeviceName.AUTO,
    workers: Workers = None,
    extend: Annotated[
        int,
        typer.Option(
            "--extend",
            min=0,
            max=200,
            metavar="<K>",
            help="Add the K runs that would narrow the interval at --target most per FLOP (see `fit --suggest`).",
        ),
    ] = 0,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="<FLOPs>", help="Budget (FLOPs) whose interval --extend should narrow."),
    ] = None,
    measure: Measure = False,
    measure_seconds: MeasureSeconds = DEFAULT_SECONDS,
    max_hours: MaxHours = None,
    on: On = None,
    price: PlanPrice = None,
    engine: Engine = EngineChoiceName.LOCAL,
    engine_option: EngineOptions = None,
    drop_suggested: Annotated[
        bool,
        typer.Option(
            "--drop-suggested", help="Take suggested runs without a result out of the plan; trained ones stay."
        ),
    ] = False,
    replan: Replan = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show everything, write nothing.")] = False,
    json: AsJson = False,
) -> None:
    """Lay out the grid: sizes and token counts at each budget, dropped cells with reasons, time and disk space.

    Records the plan in the database. Planning again changes nothing unless the sweep file or the text changed; it then
    shows first what changed: runs kept, new and no longer asked for. A plan that would leave trained runs behind is
    shown, and recorded only with --replan or a yes at the terminal. The time covers only runs that have no result yet:
    guessed at first, measured with --measure, and by the runs that have finished from then on.
    """
    from contextlib import ExitStack

    from isoflop.cli import measuring
    from isoflop.cli.console import stderr, stdout
    from isoflop.store import open_store
    from isoflop.sweep.extend import planned_extras
    from isoflop.sweep.own_program import load_sweep
    from isoflop.view.document import dumps
    from isoflop.view.drawing import text
    from isoflop.view.plan_view import plan_document, print_plan

    _refuse_contradictions(target, extend=extend, drop_suggested=drop_suggested)
    refuse_engine(engine, engine_option, {"--measure": measure, "--on": on is not None})
    gpus = measuring.gpus_elsewhere(on, measure=measure, seconds=measure_seconds, device=device.value, workers=workers)
    limit, cost = measuring.require_hours(max_hours), measuring.price_of(price, gpus)

    def show(view: "PlanView") -> None:
        if json:
            print(dumps(plan_document(view)), flush=True)
        else:
            print_plan(view, stdout())

    write = not dry_run and gpus is None
    spec = load_sweep(sweep, artifacts, write=write)
    with ExitStack() as held:
        if write:  # before the corpus, which its builder may hold for long
            _hold(held, spec, sweep, db)
        spec, corpus = _with_corpus(spec, sweep, artifacts, write=write)
        choice = engine_choice(sweep, engine, engine_option)
        plan_with = _planner(choice, spec, corpus, artifacts, device=device.value, workers=workers, on=gpus)
        extra, extension = planned_extras(db, spec, drop_waiting=drop_suggested), None
        dropped = len(planned_extras(db, spec)) - len(extra) if drop_suggested else None
        made = plan_with(extra=extra)
        if measure:
            measuring.refuse_to_measure(spec, made, dry_run=dry_run)
        if extend:
            extension = _extension(spec, made, db, extend, target, limit, workers)
            made = plan_with(extra=extra + extension.extras)
        tell_of_devices(spec.name, made.busy)
        asked = _Asked(spec, made, workers, extension, dropped, cost, in_full=measure or limit is not None)
        limit = None if extend else limit  # of extensions it bounds what is added
        if write and made.recordable:
            with open_store(db, write=True) as store:
                options = _Options(sweep.parent, artifacts, replan, measure_seconds if measure else None, limit, show)
                view = _recorded(asked, store, options)
        else:
            view = _compared(asked, db)
            _refuse(view, limit, show)
    if view is not None:
        show(view)
    if not write:
        (stderr() if json else stdout()).print(text(_why_nothing_was_written(dry_run=dry_run), "bold"))


def _planner(
    choice: "EngineChoice",
    spec: "SweepSpec",
    corpus: "SweepCorpus",
    artifacts: Path,
    *,
    device: "DeviceChoice",
    workers: int | None,
    on: "GpuChoice | None",
) -> "Callable[..., PlannedSweep]":
    """Makes plans for this machine, for GPUs elsewhere, or for jobs of a cluster like the one that ran last."""
    from functools import partial

    from isoflop.sweep.planning import plan_sweep, plan_there
    from isoflop.sweep.workplace import seen_slots

    if choice.name == "local":
        return partial(plan_sweep, spec, corpus, device=device, workers=workers, on=on)
    return partial(plan_there, spec, corpus, seen_slots(choice, spec, artifacts, workers))


def _refuse_contradictions(target: str | None, *, extend: int, drop_suggested: bool) -> None:
    """Nothing, where the options on suggested runs go together.

    Raises:
        IsoflopError: they do not.
    """
    from isoflop.errors import IsoflopError

    if target is not None and not extend:
        raise IsoflopError(
            "--target has no effect without --extend.", hint="Give the number of runs to add: --extend 7."
        )
    if drop_suggested and extend:
        raise IsoflopError(
            "--drop-suggested and --extend exclude each other.",
            hint="Drop first, then extend with a second command.",
        )


def _why_nothing_was_written(*, dry_run: bool) -> str:
    return f"{'Dry run' if dry_run else 'A plan for other devices'}: nothing was written."


@dataclass(frozen=True)
class _Asked:
    """What a view of a plan is of.

    Attributes:
        workers: runs at once that were asked for.
        dropped: how many suggested runs the plan no longer has; None where nobody asked for that.
        cost: of one device-hour; None where nobody asked for money.
        in_full: whether costs are shown at length.
    """

    spec: "SweepSpec"
    made: "PlannedSweep"
    workers: int | None
    extension: "Extension | None"
    dropped: int | None
    cost: "Price | None"
    in_full: bool


@dataclass(frozen=True)
class _Options:
    """What is to happen before a plan is recorded.

    Attributes:
        folder: of the sweep file.
        measure_seconds: that steps of a shape may take; None where nothing is measured.
        max_hours: device-hours that the pending runs may cost.
    """

    folder: Path
    artifacts: Path
    replan: bool
    measure_seconds: float | None
    max_hours: float | None
    show: "Callable[[PlanView], None]"


def _recorded(asked: _Asked, store: "Store", options: _Options) -> "PlanView | None":
    """The view of a plan that has been recorded in `store`; None where it has been shown already.

    Raises:
        IsoflopError: it would leave trained runs behind, or costs too much; or as of `measuring.measure`.
    """
    from dataclasses import replace

    from isoflop.cli import measuring
    from isoflop.sweep.stakes import left_behind

    made, view, shown = asked.made, _view(asked, store), False
    lost = left_behind(store, made.plan, view.changes, options.artifacts, dropped=bool(asked.dropped))
    if lost is not None and not options.replan:
        options.show(view)  # what there is to decide about
        if not may_leave(options.replan)(lost):
            raise lost.refusal()
        shown = True
    if options.measure_seconds is not None:
        failed = measuring.measure(
            made,
            asked.spec,
            store,
            options.artifacts,
            done=view.done,
            seconds=options.measure_seconds,
            folder=options.folder,
        )
        view, shown = replace(_view(asked, store), not_measured=failed), False
    _refuse(view, options.max_hours, options.show)
    store.save_plan(asked.spec, made.plan)
    return None if shown else view


def _refuse(view: "PlanView", max_hours: float | None, show: "Callable[[PlanView], None]") -> None:
    """Nothing, where the pending runs cost at most `max_hours` device-hours; else the plan is shown first.

    Raises:
        IsoflopError: they cost more.
    """
    from isoflop.errors import IsoflopError
    from isoflop.sweep.forecast import refuse_beyond

    if max_hours is not None:
        try:
            refuse_beyond(view.estimate, max_hours)
        except IsoflopError:
            show(view)
            raise


def _with_corpus(spec: "SweepSpec", sweep: Path, artifacts: Path, *, write: bool) -> "tuple[SweepSpec, SweepCorpus]":
    """The sweep and its corpus; of a factory with the sizes that it builds for the corpus's vocabulary."""
    from isoflop.cli.console import tokenising
    from isoflop.sweep.own_factory import counted_sweep
    from isoflop.sweep.own_program import program_place
    from isoflop.sweep.planning import sweep_corpus

    if write:
        program_place(spec, sweep)  # it is there, or this is the time to say so

    corpus = sweep_corpus(spec, sweep, artifacts, text_needed=False, write=write, progress=tokenising())
    return counted_sweep(spec, corpus.facts, sweep, artifacts, write=write), corpus


def _hold(held: "ExitStack", spec: "SweepSpec", sweep: Path, db: Path) -> None:
    """Lock the sweep, unless nothing of it will be recorded."""
    from isoflop.store import sweep_lock
    from isoflop.sweep.locks import lock_path
    from isoflop.sweep.planning import text_is_here

    if text_is_here(spec, sweep):
        held.enter_context(sweep_lock(lock_path(db, spec.name), spec.name))


def _extension(
    spec: "SweepSpec",
    made: "PlannedSweep",
    db: Path,
    number: int,
    target: str | None,
    max_hours: float | None,
    workers: int | None,
) -> "Extension":
    """The runs that --extend adds to the plan `made`."""
    from functools import partial

    from isoflop.engine.local.device_wish import ANY_DEVICE
    from isoflop.store import read_snapshot
    from isoflop.sweep.extend import Request, extend_sweep
    from isoflop.sweep.forecast import Known, hours_of_runs, known_of, packed_as_measured
    from isoflop.units import parse_quantity

    known = read_snapshot(db, lambda store: known_of(store, spec)) if db.exists() else Known()
    packed = packed_as_measured(made, known, workers=workers, wish=ANY_DEVICE)
    request = Request(
        count=number,
        target=parse_quantity(target, what="--target in FLOPs") if target else None,
        hours=hours_of_runs(spec, packed, known),
        max_hours=max_hours,
    )
    return extend_sweep(db, spec, request, partial(made.can_train, spec))


def _compared(asked: _Asked, db: Path) -> "PlanView":
    """The view against a database that is left as it is, or is not there."""
    from isoflop.store import read_snapshot

    if not db.exists():
        return _view(asked, None)
    return read_snapshot(db, lambda store: _view(asked, store))


def _view(asked: _Asked, store: "Store | None") -> "PlanView":
    """What there is to say of a plan, before it is recorded in `store`."""
    from isoflop.engine.local.device_wish import ANY_DEVICE
    from isoflop.plan.estimate import disk_bytes
    from isoflop.store import changes_since
    from isoflop.sweep.forecast import forecast, known_of, pace_of, packed_as_measured, seconds_by_run
    from isoflop.view.plan_view import PlanView

    spec, known = asked.spec, known_of(store, asked.spec)
    made = packed_as_measured(asked.made, known, workers=asked.workers, wish=ANY_DEVICE)
    plan = made.plan
    exclusions = store.exclusions() if store else {}
    statuses = store.statuses() if store else {}
    done = {run_id: statuses[run_id] for run_id in plan.runs if run_id in statuses}
    pace = pace_of(made, known)
    seconds = seconds_by_run(made, pace)
    return PlanView(
        plan=plan,
        corpus=None if plan.simulated or spec.command else made.corpus,
        estimate=forecast(made, pace, done=done),
        seconds=seconds,
        disk_bytes=disk_bytes(plan, spec.run.keep, n_workers=len(made.slots), seconds=seconds.values()),
        done=done,
        # Provisional run ids are new by nature and tell nothing.
        changes=changes_since(store, spec, plan) if store and made.recordable else None,
        next_runs=_next_runs(asked.extension) if asked.extension else None,
        dropped_suggestions=asked.dropped,
        excluded={run_id: exclusions[run_id] for run_id in plan.runs if run_id in exclusions},
        price=asked.cost,
        costs_in_full=asked.in_full or asked.cost is not None,
    )


def _next_runs(extension: "Extension") -> "NextRuns":
    """What the new runs are to gain, for a page and a document of the plan."""
    from dataclasses import asdict

    from isoflop.report.suggestion_table import suggestion_table
    from isoflop.view.plan_view import NextRuns

    table = suggestion_table(extension.suggested, extension.level)
    return NextRuns(table, [asdict(one) for one in extension.suggested], extension.findings)
