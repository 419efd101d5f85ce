"""What `isoflop run` shows while it trains: a live picture on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from isoflop.engine.events import AttemptEnded, AttemptStarted, Event, Progressed, RunFinished, Waiting
from isoflop.plan.types import Cell
from isoflop.result import RunResult
from isoflop.sweep.outcome import Outline
from isoflop.units import format_flops, format_seconds
from isoflop.view.drawing import text
from isoflop.wording import SIMULATED_SENTENCE, count, runs

REFRESH_PER_SECOND = 4
# Where nothing can be redrawn, a line this often, beside one for every result.
PLAIN_SECONDS = 30.0


class Display(Protocol):
    """Shows events."""

    def show(self, event: Event) -> None:
        """Take in one event."""

    def say(self, message: str) -> None:
        """Show a message of its own."""


@contextlib.contextmanager
def run_display(outline: Outline, console: Console) -> Iterator[Display]:
    """The display that suits `console`, for the time of the block."""
    if outline.simulated:
        console.print(text(SIMULATED_SENTENCE, "bold magenta"))
    progress = SweepProgress(outline)
    if not console.is_terminal:
        yield _Lines(progress, console)
        return
    picture = _Picture(progress, console)
    with Live(console=console, get_renderable=picture.render, refresh_per_second=REFRESH_PER_SECOND, transient=True):
        yield picture


class SweepProgress:
    """How far a sweep is, by FLOPs."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.cells: dict[str, Cell] = {}
        for cell in outline.cells:
            self.cells.setdefault(cell.run.run_id, cell)
        self.total_flops = sum(cell.run.planned_flops for cell in self.cells.values())
        self.latest: dict[int, Progressed] = {}
        self.ended: set[str] = set()
        self._ended_flops = 0.0
        for run_id in outline.done:
            self._end(run_id)
        self._begun = time.monotonic()
        self._flops_then = self.flops

    def _end(self, run_id: str) -> None:
        if run_id not in self.ended:
            self.ended.add(run_id)
            self._ended_flops += self.cells[run_id].run.planned_flops

    @property
    def flops(self) -> float:
        """Of the ended runs, and of the others as far as they are."""
        working = (at.n_tokens * self.cells[at.run_id].run.shape.flops_per_token for at in self.latest.values())
        return self._ended_flops + sum(working)

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None before there is one."""
        done, seconds = self.flops - self._flops_then, time.monotonic() - self._begun
        return (self.total_flops - self.flops) * seconds / done if done > 0 else None

    @property
    def headline(self) -> str:
        """`quickstart  3/21 runs  14 %  2m 10s left`."""
        done = f"{self.outline.sweep}  {len(self.ended)}/{len(self.cells)} runs"
        if len(self.ended) == len(self.cells):
            return f"{done}: nothing left to train"
        left = self.seconds_left
        remaining = f"{format_seconds(left)} left" if left is not None else "starting"
        return f"{done}  {self.flops / self.total_flops:.0%}  {remaining}"

    def take_in(self, event: Event) -> None:
        """Note what an event says."""
        match event:
            case Progressed():
                self.latest[event.worker] = event
            case RunFinished():
                self._end(event.result.run_id)
                if event.worker is not None:
                    self.latest.pop(event.worker, None)
            case AttemptEnded():
                self.latest.pop(event.worker, None)
            case AttemptStarted() | Waiting():
                pass


class _Lines:
    """A line per result, and one now and then between."""

    def __init__(self, progress: SweepProgress, console: Console) -> None:
        self.progress, self.console = progress, console
        self._next = time.monotonic() + PLAIN_SECONDS
        console.print(text(progress.headline), soft_wrap=True)

    def show(self, event: Event) -> None:
        """Print what is worth a line."""
        self.progress.take_in(event)
        line = event_line(self.progress, event)
        if line is None and time.monotonic() >= self._next:
            line = self.progress.headline
        if line is not None:
            self._next = time.monotonic() + PLAIN_SECONDS
            self.say(line)

    def say(self, message: str) -> None:
        """Print the message."""
        self.console.print(text(message), soft_wrap=True)


class _Picture:
    """Progress over all, then a line per worker; results scroll away above."""

    def __init__(self, progress: SweepProgress, console: Console) -> None:
        self.progress, self.console = progress, console

    def show(self, event: Event) -> None:
        """Redraw happens by itself; a result gets its line."""
        self.progress.take_in(event)
        line = event_line(self.progress, event)
        if line is not None:
            self.say(line)

    def say(self, message: str) -> None:
        """Print the message above the picture."""
        self.console.print(text(message))

    def render(self) -> RenderableType:
        """The picture now."""
        progress = self.progress
        bar = RichTable.grid(expand=True)  # a bar alone would not end its line
        bar.add_row(ProgressBar(total=progress.total_flops, completed=progress.flops))
        grid = RichTable.grid(padding=(0, 2, 0, 0))
        for number, _ in enumerate(progress.outline.devices):
            grid.add_row(*_worker_row(progress, number))
        return Group(text(progress.headline, "bold"), bar, grid)


def _worker_row(progress: SweepProgress, number: int) -> tuple[Text, ...]:
    at = progress.latest.get(number)
    if at is None:
        return (text(f"{number}", "dim"), text("-", "dim"))
    run = progress.cells[at.run_id].run
    return (
        text(f"{number}", "dim"),
        text(at.run_id),
        text(f"C {format_flops(progress.cells[at.run_id].budget_flops)}"),
        text(f"N {count(run.shape.n_params_total)}"),
        text(f"{at.step / run.n_steps:4.0%}"),
        text(f"loss {at.loss:.3f}"),
        text(f"{count(at.tokens_per_second)} tok/s"),
    )


def event_line(progress: SweepProgress, event: Event) -> str | None:
    """What an event is worth on a line of its own; None for nothing."""
    match event:
        case RunFinished():
            cell = progress.cells[event.result.run_id]
            place = f"[{len(progress.ended)}/{len(progress.cells)}] {event.result.run_id}"
            size = f"C {format_flops(cell.budget_flops)}  N {count(cell.run.shape.n_params_total)}"
            return f"{place}  {size}  {_verdict(event.result)}"
        case AttemptEnded(outcome="died" | "given_up" | "out_of_memory"):
            return f"attempt {event.attempt} at {', '.join(event.run_ids)}: {event.reason}; log: {event.log_path}"
        case Waiting():
            return f"waiting for another process that trains {runs(len(event.run_ids))} of this sweep"
        case _:
            return None


def _verdict(result: RunResult) -> str:
    if result.val_loss is None:
        return f"{result.status}: {result.reason}"
    bits = f" ({result.bits_per_byte:.3f} bits/byte)" if result.bits_per_byte is not None else ""
    label = "  SIMULATED" if result.simulated else ""
    return f"loss {result.val_loss:.4f}{bits}  {format_seconds(result.seconds)}{label}"
