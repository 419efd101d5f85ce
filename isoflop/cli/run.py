"""`isoflop run`: train what is planned and not yet done."""

import contextlib
import signal
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

    from isoflop.engine.local import LocalEngine

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
    from isoflop.cli.console import stderr, stdout
    from isoflop.cli.session import open_session
    from isoflop.view.document import dumps
    from isoflop.view.live import run_display
    from isoflop.view.run_view import print_run, run_document

    with open_session(sweep, db, artifacts, device=device.value, workers=workers, retry=retry) as session:
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
