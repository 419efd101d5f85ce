"""`isoflop status --watch`: the status again and again, in place on a terminal or as JSON Lines, until Ctrl-C."""

import contextlib
import json
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from isoflop.cli.boundary import EXIT_HUNG_UP, EXIT_TERMINATED
from isoflop.cli.interruption import ALTERNATE_SCREEN, suspension
from isoflop.cli.streams import STDOUT
from isoflop.errors import IsoflopError

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console, RenderableType

    from isoflop.status.sweep_status import SweepStatus

# A terminal that was resized is drawn again after this time.
IDLE_SECONDS = 0.2
# What passes by itself: a look that differs in nothing else is not worth a line.
_PASSING = ("at", "estimate")
_PASSING_OF_A_RUN = ("heartbeat_seconds",)


@dataclass(frozen=True)
class Look:
    """A look at the sweep: its status, or why it cannot be read now."""

    at: datetime
    status: "SweepStatus | None"
    problem: IsoflopError | None = None


def watch_screen(
    read: Callable[[], "SweepStatus"], console: "Console", *, seconds: float, arguments: list[str]
) -> None:
    """Nothing, once Ctrl-C came; `console` then shows the last status as `isoflop status` does.

    Raises:
        IsoflopError: `console` is no terminal that can be redrawn.
    """
    if not sys.stdout.isatty() or not console.is_terminal or console.is_dumb_terminal:
        raise IsoflopError(
            "--watch redraws a terminal, and standard output is none.",
            hint="Add --json for a line of JSON at each change, or leave --watch out.",
        )
    screen = _Screen(console, seconds, arguments)
    with _ended_by_signals():
        with screen.live, suspension(console, screen=ALTERNATE_SCREEN, back=screen.spoil):
            _look_on(read, seconds, screen.show, screen.restore)
        console.print(screen.page(console))


class _Screen:
    """The latest look on a terminal, drawn by the main thread alone and never by a signal handler.

    Another thread would draw on after Ctrl-Z has left the terminal to the shell; a handler may interrupt a write.
    """

    def __init__(self, console: "Console", seconds: float, arguments: list[str]) -> None:
        from rich.live import Live

        from isoflop.view.status_screen import StatusScreen

        self._console, self._arguments = console, arguments
        self._look: Look | None = None
        self._size: object = None
        drawn = StatusScreen(self.page, seconds)
        self.live = Live(console=console, get_renderable=lambda: drawn, screen=True, auto_refresh=False)

    def page(self, console: "Console") -> "RenderableType":
        """The latest look; empty before the first."""
        return "" if self._look is None else _page(self._look, console, self._arguments)

    def show(self, look: Look) -> None:
        """Draw this look."""
        self._look = look
        self._draw()

    def restore(self) -> None:
        """Draw again where the terminal has another size, or was used by somebody else."""
        if self._console.size != self._size:
            self._draw()

    def spoil(self) -> None:
        """Have the next `restore` draw again."""
        self._size = None

    def _draw(self) -> None:
        self._size = self._console.size
        self.live.refresh()


def watch_lines(read: Callable[[], "SweepStatus"], name: str, *, seconds: float) -> None:
    """Nothing, once Ctrl-C came or nobody reads on; stdout has a line of JSON for each status unlike the one before."""
    before: object = None

    def show(look: Look) -> None:
        nonlocal before
        document = _document(look, name)
        if (lasting := _lasting(document)) != before:
            before = lasting
            print(json.dumps(document, allow_nan=False), flush=True)

    with _ended_by_signals():
        _look_on(read, seconds, show, lambda: None)


def _look_on(
    read: Callable[[], "SweepStatus"], seconds: float, show: Callable[[Look], None], idle: Callable[[], None]
) -> None:
    """Show a look at once, then one every `seconds`; of a large sweep, whose reading takes longer, half of the time.

    Ends with Ctrl-C, or when the reader of stdout has gone. `idle` is called a few times per second.
    """
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            begun = time.monotonic()
            show(_look(read))
            until = time.monotonic() + max(seconds, time.monotonic() - begun)
            while (left := until - time.monotonic()) > 0:
                if _reader_left(min(left, IDLE_SECONDS)):
                    return
                idle()


def _look(read: Callable[[], "SweepStatus"]) -> Look:
    try:
        status = read()
    except IsoflopError as error:  # not planned yet, being replaced, a file that is being written
        return Look(datetime.now(UTC), None, error)
    return Look(status.at, status)


def _reader_left(seconds: float) -> bool:
    """Whether whoever reads stdout, a pipe or a terminal, has gone; after `seconds`, or as soon as that is so."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    return bool(poll.poll(seconds * 1000))


def _page(look: Look, console: "Console", arguments: list[str]) -> "RenderableType":
    from rich.console import Group

    from isoflop.view.drawing import text
    from isoflop.view.status_view import status_page

    if look.status is not None:
        return status_page(look.status, console, arguments=arguments)
    assert look.problem is not None, "a look has the one or the other"
    waits = text(f"Nothing to show at {look.at:%Y-%m-%d %H:%M:%S} UTC.", "bold")
    return Group(waits, text(look.problem.message, "yellow"), text(look.problem.hint, "dim"))


def _document(look: Look, name: str) -> dict[str, object]:
    from isoflop.view.document import SCHEMA_VERSION
    from isoflop.view.status_document import status_document

    if look.status is not None:
        return status_document(look.status)
    assert look.problem is not None, "a look has the one or the other"
    problem = {"message": look.problem.message, "hint": look.problem.hint}
    at = look.at.isoformat(timespec="seconds")
    return {"schema_version": SCHEMA_VERSION, "sweep": name, "at": at, "problem": problem}


def _lasting(document: dict[str, object]) -> dict[str, object]:
    """The document without what changes though nothing happens."""
    kept = {key: value for key, value in document.items() if key not in _PASSING}
    begun = document.get("begun")
    if isinstance(begun, list):
        kept["begun"] = [{key: run[key] for key in run if key not in _PASSING_OF_A_RUN} for run in begun]
    return kept


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A block that SIGTERM, and a terminal that closes, end as Ctrl-C does, so that the terminal is left in order."""
    codes = {signal.SIGTERM: EXIT_TERMINATED, signal.SIGHUP: EXIT_HUNG_UP}

    def end(number: int, frame: "FrameType | None") -> None:
        raise typer.Exit(codes[signal.Signals(number)])

    previous = {number: signal.signal(number, end) for number in codes if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.stdout.flush()
