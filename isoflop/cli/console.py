"""Where the commands print."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from isoflop.corpus import OnProgress, Progress

# The standard library takes about a second; what takes longer says how far it is this often.
TOKENISING_SECONDS = 3.0
# A bar that is gone at once is only a flicker.
_BAR_SECONDS = 1.0


def stdout() -> Console:
    """What a command has to say."""
    return Console()


def stderr() -> Console:
    """Progress and messages."""
    return Console(stderr=True)


@contextmanager
def tokenising() -> "Iterator[OnProgress]":
    """Shows on stderr how far a long tokenisation is: a bar on a terminal, elsewhere a line every few seconds."""
    console = stderr()
    if not console.is_terminal:
        yield _Lines().show
        return
    bar = _Bar(console)
    try:
        yield bar.show
    finally:
        bar.stop()


class _Lines:
    def __init__(self) -> None:
        self._due = time.monotonic() + TOKENISING_SECONDS
        self._stage, self._begun, self._first = "", 0.0, 0

    def show(self, at: "Progress") -> None:
        now = time.monotonic()
        if not at.n_bytes_in_all:
            print(at.stage, file=sys.stderr)
            return
        if at.stage != self._stage:
            self._stage, self._begun, self._first = at.stage, now, at.n_bytes
        if now >= self._due:
            self._due = now + TOKENISING_SECONDS
            speed = (at.n_bytes - self._first) / (now - self._begun) if now > self._begun else 0.0
            left = f", {speed / 1e6:.1f} MB/s, {_left(at, speed)} left" if speed else ""
            print(f"{at.stage}: {at.share:.0%}{left}", file=sys.stderr)


def _left(at: "Progress", speed: float) -> str:
    from isoflop.units import format_seconds

    return format_seconds(max(at.n_bytes_in_all - at.n_bytes, 0) / speed)


class _Bar:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._bar: Bar | None = None
        self._stage = ""

    def show(self, at: "Progress") -> None:
        if self._bar is None:
            if at.n_bytes_in_all and time.monotonic() - self._begun < _BAR_SECONDS:
                return
            self._bar = self._started()
        if at.stage != self._stage:
            self._stage = at.stage
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(at.stage, total=at.n_bytes_in_all or None, completed=at.n_bytes)
        self._bar.update(self._bar.task_ids[0], completed=min(at.n_bytes, at.n_bytes_in_all))

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _started(self) -> "Bar":
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        bar = progress.Progress(*columns, console=self._console, transient=True)
        bar.start()
        return bar
