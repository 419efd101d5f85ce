"""`isoflop run`: train what is planned and not yet done."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.boundary import output_of
from isoflop.cli.device_options import Devices, PerDevice, ShareDevices, device_wish, tell_of_devices
from isoflop.cli.engine_options import Engine, EngineChoiceName, EngineOptions, engine_choice, refuse_engine
from isoflop.cli.interruption import answered_signals, exit_code, shown
from isoflop.cli.measuring import MaxHours, require_hours
from isoflop.cli.options import (
    DEFAULT_ARTIFACTS,
    DEFAULT_DB,
    Artifacts,
    AsJson,
    Database,
    Device,
    DeviceName,
    Events,
    SweepFile,
    Workers,
)
from isoflop.cli.replan import Replan, may_leave
from isoflop.cli.until_goal import goal_document, last_line, required_of, train_until

if TYPE_CHECKING:
    from rich.console import Console

    from isoflop.cli.listeners import Listeners
    from isoflop.sweep.confirm import ConfirmRequest
    from isoflop.sweep.session import Session


def run(
    sweep: SweepFile,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    device: Device = DeviceName.AUTO,
    workers: Workers = None,
    devices: Devices = None,
    per_device: PerDevice = "auto",
    retry: Annotated[bool, typer.Option("--retry", help="Run diverged and failed runs again.")] = False,
    replan: Replan = False,
    share_devices: ShareDevices = False,
    confirm: Annotated[
        str | None,
        typer.Option(
            "--confirm",
            metavar="<FLOPs>",
            help="Also train the size that the finished sweep predicts to be best for this many FLOPs, and "
            "compare its loss with the prediction; 3 to 10 times the sweep's largest budget is a good distance.",
        ),
    ] = None,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="With --confirm: also train half and twice that size.")
    ] = False,
    again: Annotated[
        list[str] | None,
        typer.Option(
            "--again",
            metavar="<run>",
            help="Only this: train a completed run once more, keep its weights, and compare its loss with the recorded "
            "one, which stays; may be repeated.",
        ),
    ] = None,
    max_hours: MaxHours = None,
    until_goal: Annotated[
        bool,
        typer.Option(
            "--until-goal",
            help="Go on by itself: fit, add the runs that tell most, train them, until \\[goal] of the sweep file is "
            "met or its hours are gone.",
        ),
    ] = False,
    engine: Engine = EngineChoiceName.LOCAL,
    engine_option: EngineOptions = None,
    events: Events = None,
    json: AsJson = False,
) -> None:
    """Train every planned run that has no result yet, one process per GPU or per CPU core.

    After `plan --measure` several runs may share a GPU without being told to, where the measurement showed a gain
    (--per-device auto). --workers switches that off: then, as without a measurement, it is one process per GPU.

    GPUs whose memory other programs have taken are left out and named. One on which two different runs in a row crash
    is taken out; its runs go on elsewhere. Where none is left the sweep stops, and what is not done stays pending.

    The same command resumes: finished runs are never repeated, killed runs continue from their checkpoint. Where the
    sweep file or the text changed so that trained runs would be left behind, the command asks at a terminal, and
    refuses elsewhere.

    A confirm run is never fitted. What is predicted for it is stored before it is trained and stays as it is; `fit` and
    `report` say whether it held. The run stays part of the sweep: `isoflop run` without --confirm finishes it too.

    With --until-goal every decision is recorded with the plan before its runs are trained, so that the same command
    goes on after any kill. It stops by itself where more runs gain nothing, and says what stands in the way.

    One Ctrl-C stops the sweep after a checkpoint, a second one kills the workers. SIGTERM and a terminal that closes
    stop it after a checkpoint, within ten seconds. Ctrl-Z pauses it. A reader that ends (`| head`) stops nothing.

    With --events every event is a line of JSON as it happens; nothing that happens to the file harms the sweep.

    Exits 3 when some runs did not complete, or with --until-goal when the goal was not met; 130, 143 or 129 when it was
    stopped by Ctrl-C, SIGTERM or SIGHUP.
    """
    from isoflop.cli.again import train_again
    from isoflop.cli.console import stderr, stdout, tokenising
    from isoflop.cli.listeners import listeners
    from isoflop.errors import IsoflopError
    from isoflop.report.confirmation_words import confirmations_document, told
    from isoflop.sweep.session import open_session
    from isoflop.view.document import dumps
    from isoflop.view.drawing import text
    from isoflop.view.run_view import print_run, run_document

    request, wish = _confirm_request(sweep, confirm, neighbours), device_wish(devices, per_device, share_devices)
    limit = require_hours(max_hours)
    refuse_engine(engine, engine_option, {"--again": bool(again)})
    goal = required_of(sweep, confirm, limit) if until_goal else None
    if json and events == "-":
        raise IsoflopError(
            "--json and --events - both take standard output.",
            hint="Leave --json out: the last event has what it prints. Or name a file for the events.",
        )
    if again:
        if retry or replan or request or until_goal or events or limit is not None:
            raise IsoflopError(
                "--again trains what it names and nothing else.",
                hint="Leave out --retry, --replan, --max-hours, --confirm, --until-goal and --events.",
            )
        code = train_again(
            sweep,
            db,
            artifacts,
            again,
            device=device.value,
            workers=workers,
            wish=wish,
            json=json,
        )
        raise typer.Exit(code)
    with listeners(sweep, events, db) as told_to:
        opened = open_session(
            sweep,
            db,
            artifacts,
            device=device.value,
            workers=workers,
            retry=retry,
            may_leave=may_leave(replan),
            wish=wish,
            progress=tokenising(),
            confirm=request,
            max_hours=limit,
            engine=engine_choice(sweep, engine, engine_option),
        )
        with opened as session, told_to.stream.of(session):
            _tell_what_changed(session)
            _tell_what_is_predicted(session)
            tell_of_devices(session.plan.sweep, session.busy, session.slots)
            console = stderr()
            train = partial(_train, session, console, told_to)
            received, rounds = train_until(goal, session, train, told_to.stream) if goal else (train(), ())
            outcome, confirmations = session.outcome(), session.confirmations()
        complete = outcome.n_completed == outcome.n_planned
        code = exit_code(received, complete=complete if goal is None else any(one.meets_goal for one in rounds[-1:]))
        judged = {"confirmations": confirmations_document(confirmations), "goal": goal_document(rounds)}
        document = {**run_document(outcome), **judged}
        told_to.end(code, document, sweep=sweep, db=db, fit=not received)
    with output_of(code):
        if json:
            print(dumps(document))
        else:
            console = stderr() if told_to.stream.on_stdout else stdout()
            print_run(outcome, console)
            for sentence in told(confirmations):
                console.print(text(sentence))
            for line in last_line(rounds, simulated=outcome.simulated):
                console.print(text(line))
    raise typer.Exit(code)


def _confirm_request(sweep: Path, confirm: str | None, neighbours: bool) -> "ConfirmRequest | None":
    """What --confirm and --neighbours ask for.

    Raises:
        IsoflopError: a bad number of FLOPs, or neighbours of nothing.
    """
    from isoflop.errors import IsoflopError
    from isoflop.sweep.confirm import ConfirmRequest
    from isoflop.units import parse_quantity

    if confirm is not None:
        return ConfirmRequest(parse_quantity(confirm, what="--confirm in FLOPs"), neighbours, sweep)
    if neighbours:
        raise IsoflopError(
            "--neighbours has no effect without --confirm.", hint="Give the budget of the confirm run: --confirm 1e13."
        )
    return None


def _tell_what_is_predicted(session: "Session") -> None:
    """A line on stderr for each confirm run that is planned now, and for what to know of it."""
    from isoflop.report.confirmation_words import planned_sentence
    from isoflop.wording import one_line

    said = [planned_sentence(prediction) for prediction in session.confirming.new]
    for sentence in (*said, *session.confirming.notes):
        print(f"{session.plan.sweep}: {one_line(sentence)}", file=sys.stderr)


def _tell_what_changed(session: "Session") -> None:
    """One line on stderr for each: a plan unlike the one before, runs that a person excluded, warnings of the plan."""
    from isoflop.finding import Severity
    from isoflop.sweep.stakes import why_changed
    from isoflop.units import plural
    from isoflop.view.plan_changes import changes_sentence
    from isoflop.wording import excluded_sentence, one_line

    plan, changes = session.plan, session.changes
    if changes is not None and changes.differ:
        said = f"{plan.sweep} changed since it was last planned: {changes_sentence(changes)}; {why_changed(changes)}."
        print(one_line(said), file=sys.stderr)
    if excluded := session.excluded:
        print(f"{plan.sweep}: {one_line(excluded_sentence(excluded))}.", file=sys.stderr)
    warnings = [finding for finding in plan.findings if finding.severity is not Severity.INFO]
    told = [(len(plan.dropped), "dropped cell"), (len(warnings), "warning")]
    if said := ", ".join(plural(number, noun) for number, noun in told if number):
        print(f"{plan.sweep}: {said} of the plan; `isoflop plan` shows them.", file=sys.stderr)


def _train(session: "Session", console: "Console", told_to: "Listeners") -> list[int]:
    """Signals received while the sweep was trained, shown on `console` and told to whoever else listens."""
    from isoflop.wording import read_sentence

    with answered_signals(session.engine) as received:
        if n_read := session.read_results(told_to.stream.notice):
            print(f"{session.plan.sweep}: {read_sentence(n_read)}", file=sys.stderr)
        shown(told_to.passing(session, received), session.outline, console, received)
    return received
