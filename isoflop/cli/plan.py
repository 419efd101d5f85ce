"""`isoflop plan`: what a sweep would train, and what it would cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    from contextlib import ExitStack

    from isoflop.spec import SweepSpec
    from isoflop.store import Store
    from isoflop.sweep.extend import Extension
    from isoflop.sweep.planning import PlannedSweep
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
    max_hours: Annotated[
        float | None,
        typer.Option(
            "--max-hours",
            metavar="<hours>",
            help="Device-hours that all runs without a result may take: --extend adds what fits into them.",
        ),
    ] = None,
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
    shown, and recorded only with --replan or a yes at the terminal. The time covers only runs that have no result yet.
    """
    from contextlib import ExitStack
    from functools import partial

    from isoflop.cli.console import stderr, stdout, tokenising
    from isoflop.errors import IsoflopError
    from isoflop.store import open_store
    from isoflop.sweep.extend import planned_extras
    from isoflop.sweep.own_program import load_sweep
    from isoflop.sweep.planning import plan_sweep, sweep_corpus
    from isoflop.sweep.stakes import left_behind
    from isoflop.view.document import dumps
    from isoflop.view.drawing import text
    from isoflop.view.plan_view import plan_document, print_plan

    for option, given in (("--target", target is not None), ("--max-hours", max_hours is not None)):
        if given and not extend:
            raise IsoflopError(
                f"{option} has no effect without --extend.", hint="Give the number of runs to add: --extend 7."
            )
    if drop_suggested and extend:
        raise IsoflopError(
            "--drop-suggested and --extend exclude each other.",
            hint="Drop first, then extend with a second command.",
        )

    def show(view: "PlanView") -> None:
        if json:
            print(dumps(plan_document(view)), flush=True)
        else:
            print_plan(view, stdout())

    spec, shown = load_sweep(sweep, artifacts, write=not dry_run), False
    with ExitStack() as held:
        if not dry_run:  # before the corpus, which its builder may hold for long
            _hold(held, spec, sweep, db)
        corpus = sweep_corpus(spec, sweep, artifacts, text_needed=False, write=not dry_run, progress=tokenising())
        plan_with = partial(plan_sweep, spec, corpus, device=device.value, workers=workers)
        extra, extension = planned_extras(db, spec, drop_waiting=drop_suggested), None
        dropped = len(planned_extras(db, spec)) - len(extra) if drop_suggested else None
        made = plan_with(extra=extra)
        if extend:
            extension = _extension(spec, made, db, extend, target, max_hours)
            made = plan_with(extra=extra + extension.extras)
        if dry_run or not made.recordable:
            view = _compared(spec, made, db, extension, dropped)
        else:
            with open_store(db, write=True) as store:
                view = _view(spec, made, store, extension, dropped)
                lost = left_behind(store, made.plan, view.changes, artifacts)
                if lost is not None and not replan:
                    show(view)  # what there is to decide about
                    if not may_leave(replan)(lost):
                        raise lost.refusal()
                    shown = True
                store.save_plan(spec, made.plan)
    if not shown:
        show(view)
    if dry_run:
        (stderr() if json else stdout()).print(text("Dry run: nothing was written.", "bold"))


def _hold(held: "ExitStack", spec: "SweepSpec", sweep: Path, db: Path) -> None:
    """Lock the sweep, unless nothing of it will be recorded."""
    from isoflop.store import sweep_lock
    from isoflop.sweep.locks import lock_path
    from isoflop.sweep.planning import text_is_here

    if text_is_here(spec, sweep):
        held.enter_context(sweep_lock(lock_path(db, spec.name), spec.name))


def _extension(
    spec: "SweepSpec", made: "PlannedSweep", db: Path, number: int, target: str | None, max_hours: float | None
) -> "Extension":
    """The runs that --extend adds to the plan `made`."""
    from functools import partial

    from isoflop.store import read_snapshot
    from isoflop.sweep.extend import Request, extend_sweep
    from isoflop.sweep.planning import hours_of_runs
    from isoflop.units import parse_quantity, require_positive

    timings = read_snapshot(db, lambda store: store.throughput()) if db.exists() else ()
    request = Request(
        count=number,
        target=parse_quantity(target, what="--target in FLOPs") if target else None,
        hours=hours_of_runs(spec, made, timings),
        max_hours=None if max_hours is None else require_positive(max_hours, "--max-hours"),
    )
    return extend_sweep(db, spec, request, partial(made.can_train, spec))


def _compared(
    spec: "SweepSpec", made: "PlannedSweep", db: Path, extension: "Extension | None", dropped: int | None
) -> "PlanView":
    """The view against a database that is left as it is, or is not there."""
    from isoflop.store import read_snapshot

    if not db.exists():
        return _view(spec, made, None, extension, dropped)
    return read_snapshot(db, lambda store: _view(spec, made, store, extension, dropped))


def _view(
    spec: "SweepSpec", made: "PlannedSweep", store: "Store | None", extension: "Extension | None", dropped: int | None
) -> "PlanView":
    """What there is to say of a plan, before it is recorded in `store`."""
    from isoflop.cli.device_options import tell_of_devices
    from isoflop.plan.estimate import disk_bytes
    from isoflop.store import changes_since
    from isoflop.sweep.planning import cost, seconds_by_run
    from isoflop.view.plan_view import PlanView

    tell_of_devices(spec.name, made.busy)
    plan = made.plan
    exclusions = store.exclusions() if store else {}
    statuses = store.statuses() if store else {}
    done = {run_id: statuses[run_id] for run_id in plan.runs if run_id in statuses}
    timings = store.throughput() if store else ()
    seconds = seconds_by_run(made, timings)
    return PlanView(
        plan=plan,
        corpus=None if plan.simulated or spec.command else made.corpus,
        estimate=cost(made, timings, done=done),
        seconds=seconds,
        disk_bytes=disk_bytes(plan, spec.run.keep, n_workers=len(made.slots), seconds=seconds.values()),
        done=done,
        # Provisional run ids are new by nature and tell nothing.
        changes=changes_since(store, spec, plan) if store and made.recordable else None,
        next_runs=_next_runs(extension) if extension else None,
        dropped_suggestions=dropped,
        excluded={run_id: exclusions[run_id] for run_id in plan.runs if run_id in exclusions},
    )


def _next_runs(extension: "Extension") -> "NextRuns":
    """What the new runs are to gain, for a page and a document of the plan."""
    from dataclasses import asdict

    from isoflop.report.suggestion_table import suggestion_table
    from isoflop.view.plan_view import NextRuns

    table = suggestion_table(extension.suggested, extension.level)
    return NextRuns(table, [asdict(one) for one in extension.suggested], extension.findings)
