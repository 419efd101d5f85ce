"""`isoflop status`: how a sweep stands, without touching it."""

from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.options import DEFAULT_ARTIFACTS, DEFAULT_DB, Artifacts, AsJson, Database, SweepFile

if TYPE_CHECKING:
    from isoflop.status.sweep_status import SweepStatus

# Between two looks of --watch, seconds.
DEFAULT_EVERY, LEAST_EVERY, MOST_EVERY = 2.0, 0.2, 86_400.0


def status(
    sweep: SweepFile,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show it again every few seconds until Ctrl-C: in place on a terminal; with --json a line of JSON at "
            "each change.",
        ),
    ] = False,
    every: Annotated[
        float | None,
        typer.Option("--every", metavar="<seconds>", help="With --watch: seconds between two looks; default: 2."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show the state of a sweep: losses by budget and size, running workers, time left, failures with reasons and logs.

    Only reads. Works while `isoflop run` trains, after it was killed, and from the database alone. With --watch it
    waits for a sweep that is not planned yet, follows one that is planned anew, and ends with Ctrl-C, exit code 0; what
    it showed last then stays on the terminal.
    """
    from isoflop.cli.console import stdout
    from isoflop.cli.watch import watch_lines, watch_screen
    from isoflop.spec import load_spec
    from isoflop.status.sweep_status import read_status
    from isoflop.sweep.locks import lock_path
    from isoflop.view.document import dumps
    from isoflop.view.status_document import status_document
    from isoflop.view.status_view import print_status

    seconds, name = _seconds(every, watch=watch), load_spec(sweep).name

    def read() -> "SweepStatus":
        spec = load_spec(sweep)
        return read_status(spec, sweep, db=db, lock=lock_path(db, spec.name), artifacts=artifacts)

    options = [] if db == DEFAULT_DB else ["--db", str(db)]
    arguments = [str(sweep), *options]
    if watch and json:
        watch_lines(read, name, seconds=seconds)
    elif watch:
        watch_screen(read, stdout(), seconds=seconds, arguments=arguments)
    elif json:
        print(dumps(status_document(read())))
    else:
        print_status(read(), stdout(), arguments=arguments)


def _seconds(every: float | None, *, watch: bool) -> float:
    """What --every asks for.

    Raises:
        IsoflopError: too often, too seldom, or of nothing.
    """
    from isoflop.errors import IsoflopError

    if every is not None and not watch:
        raise IsoflopError("--every has no effect without --watch.", hint="Add --watch, or leave --every out.")
    if every is not None and not LEAST_EVERY <= every <= MOST_EVERY:
        raise IsoflopError(
            f"--every {every:g} is no usable number of seconds.",
            hint=f"Give one between {LEAST_EVERY:g} and {MOST_EVERY:g}.",
        )
    return DEFAULT_EVERY if every is None else every
