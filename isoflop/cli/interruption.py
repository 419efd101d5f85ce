"""Ctrl-C, SIGTERM, SIGHUP and Ctrl-Z while runs are trained: asked to stop, checkpointed, paused."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from isoflop.cli.boundary import EXIT_HUNG_UP, EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console

    from isoflop.engine.dispatch import Dispatcher
    from isoflop.engine.notices import Notice
    from isoflop.sweep.run_outcome import Outline

# What workers have to checkpoint after SIGTERM or SIGHUP, seconds: the command ends within ten.
TERM_SECONDS = 8.0
# Of a terminal (ECMA-48, DEC private modes 25 and 1049), to leave and to enter: the live picture hides the cursor.
_CURSOR = (b"\x1b[?25h", b"\x1b[?25l")
ALTERNATE_SCREEN = (b"\x1b[?1049l\x1b[?25h", b"\x1b[?1049h\x1b[?25l")
_WORKERS_REST = b"\r\nPaused: workers rest after their step until `fg` or `bg`.\r\n"
_CODES = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_TERMINATED,
    signal.SIGHUP: EXIT_HUNG_UP,
}


@contextlib.contextmanager
def answered_signals(engine: "Dispatcher") -> Iterator[list[int]]:
    """Signals received inside the block: the first asks the engine to stop, a second Ctrl-C or SIGTERM makes it kill.

    A terminal that closes sends SIGHUP more than once (the shell, then the system), so that never kills.
    """
    received: list[int] = []

    def handle(number: int, frame: "FrameType | None") -> None:
        again = number != signal.SIGHUP and any(earlier != signal.SIGHUP for earlier in received)
        received.append(number)
        if again:
            engine.kill()
        else:
            # Whoever sends SIGTERM (a scheduler, a shutdown) kills soon after; a person can press Ctrl-C again.
            engine.stop(within=None if number == signal.SIGINT else TERM_SECONDS)

    # `nohup` has SIGHUP ignored: the sweep is to outlive its terminal.
    answered = [n for n in _CODES if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in answered}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def suspension(
    console: "Console",
    *,
    screen: tuple[bytes, bytes] = _CURSOR,
    said: bytes = b"",
    back: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """A block in which Ctrl-Z leaves a terminal in order before it stops this process; workers see that and rest.

    `screen`: what to write to leave the terminal to the shell, with `said` after it, and to take it again, after which
    `back` is called.
    """
    leave, enter = screen

    def suspend(number: int, frame: "FrameType | None") -> None:
        _write(leave + said, console)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when the process is continued
        signal.signal(signal.SIGTSTP, suspend)
        _write(enter, console)
        back()

    if not console.is_terminal or signal.getsignal(signal.SIGTSTP) != signal.SIG_DFL:
        yield  # nothing to put in order, or a shell without job control
        return
    signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)


def _write(data: bytes, console: "Console") -> None:
    """Past every buffer: the handler may have interrupted a write."""
    with contextlib.suppress(OSError):
        os.write(console.file.fileno(), data)


def shown(events: "Iterator[Notice]", outline: "Outline", console: "Console", received: list[int]) -> None:
    """Take in all events and show them on `console`, and the first of the signals `received` meanwhile."""
    from isoflop.view.live import run_display

    told = False
    with run_display(outline, console) as display, suspension(console, said=_WORKERS_REST):
        for event in events:
            display.show(event)
            if received and not told:
                told = True
                display.say(_stopping(received[0]))


def _stopping(number: int) -> str:
    """Why no more runs are started, and what a person can do about it."""
    if number == signal.SIGINT:
        return "Stopping: workers checkpoint. Ctrl-C again kills them."
    name = signal.Signals(number).name
    return f"Stopping after {name}: workers have {TERM_SECONDS:.0f} s to checkpoint; the same command continues."


def exit_code(received: list[int], *, complete: bool) -> int:
    """What the command ends with."""
    if complete:
        return EXIT_OK
    return _CODES[signal.Signals(received[0])] if received else EXIT_INCOMPLETE
