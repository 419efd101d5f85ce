"""`isoflop run`: train what is planned and not yet done."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.boundary import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED
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

if TYPE_CHECKING:
    from types import FrameType

    from isoflop.engine.local.local_engine import LocalEngine
    from isoflop.sweep.session import Session

# What workers have to checkpoint after SIGTERM, seconds: the command ends within ten.
TERM_SECONDS = 8.0


def run(
    sweep: SweepFile,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    device: Device = DeviceName.AUTO,
    workers: Workers = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run diverged and failed runs again.")] = False,
    json: AsJson = False,
) -> None:
    """Train every planned run that has no result yet, one process per GPU or per CPU core.

    The same command resumes: finished runs are never repeated, killed ones go on from their checkpoint.

    Ctrl-C once checkpoints and stops, twice kills. Exits 3 when some runs did not complete.
    """
    from isoflop.cli.console import stderr, stdout, tokenising_line
    from isoflop.sweep.session import open_session
    from isoflop.view.document import dumps
    from isoflop.view.live import run_display
    from isoflop.view.run_view import print_run, run_document

    with open_session(
        sweep,
        db,
        artifacts,
        device=device.value,
        workers=workers,
        retry=retry,
        on_progress=tokenising_line(),
    ) as session:
        _tell_what_changed(session)
        with run_display(session.outline, stderr()) as display, _signals(session.engine) as received:
            told = False
            for event in session.events():
                display.show(event)
                if received and not told:
                    told = True
                    display.say("Stopping: workers checkpoint. Ctrl-C again kills them.")
        outcome = session.outcome()
    if json:
        print(dumps(run_document(outcome)))
    else:
        print_run(outcome, stdout())
    raise typer.Exit(_exit_code(received, complete=outcome.n_completed == outcome.n_planned))


def _tell_what_changed(session: "Session") -> None:
    """One line on stderr for each: a plan unlike the one before, runs that a person excluded, warnings of the plan."""
    from isoflop.finding import Severity
    from isoflop.units import plural
    from isoflop.view.plan_changes import changes_sentence
    from isoflop.wording import excluded_sentence, one_line

    plan, changes = session.plan, session.changes
    if changes is not None and changes.differ:
        print(f"{plan.sweep} changed since it was last planned: {changes_sentence(changes)}.", file=sys.stderr)
    if excluded := session.excluded:
        print(f"{plan.sweep}: {one_line(excluded_sentence(excluded))}.", file=sys.stderr)
    warnings = [finding for finding in plan.findings if finding.severity is not Severity.INFO]
    told = [(len(plan.dropped), "dropped cell"), (len(warnings), "warning")]
    if said := ", ".join(plural(number, noun) for number, noun in told if number):
        print(f"{plan.sweep}: {said} of the plan; `isoflop plan` shows them.", file=sys.stderr)


@contextlib.contextmanager
def _signals(engine: "LocalEngine") -> Iterator[list[int]]:
    """Signals received inside the block: the first asks the engine to stop, the second makes it kill."""
    received: list[int] = []

    def handle(number: int, frame: "FrameType | None") -> None:
        received.append(number)
        if len(received) == 1:
            # Whoever sends SIGTERM (a scheduler, a shutdown) kills soon after; a person can press Ctrl-C again.
            engine.stop(within=TERM_SECONDS if number == signal.SIGTERM else None)
        else:
            engine.kill()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit_code(received: list[int], *, complete: bool) -> int:
    if complete:
        return EXIT_OK
    if received:
        return EXIT_INTERRUPTED if received[0] == signal.SIGINT else EXIT_TERMINATED
    return EXIT_INCOMPLETE
