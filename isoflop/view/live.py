"""What `isoflop run` shows while it trains: a live picture on a terminal, plain lines elsewhere."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from isoflop.engine.notices import (
    ASKED_TO_STOP,
    AttemptEnded,
    AttemptStarted,
    DeviceHeld,
    DeviceTakenOut,
    EngineSaid,
    Holder,
    LateResult,
    Notice,
    Progressed,
    RunFinished,
    Waiting,
)
from isoflop.plan.estimate import Unfinished, seconds_left
from isoflop.plan.types import Cell, Role
from isoflop.result import RunResult, Status
from isoflop.store import Timing
from isoflop.store.store import NTIMINGS
from isoflop.sweep.run_outcome import Outline
from isoflop.units import format_flops, format_seconds, plural
from isoflop.view.drawing import text
from isoflop.wording import SIMULATED_SENTENCE, count, runs

REFRESH_PER_SECOND = 4
# Where nothing can be redrawn, a line this often, beside one for every result.
PLAIN_SECONDS = 30.0
# A worker that has ended is followed by the next within this time, seconds: until then it counts as one at work.
NEXT_RUN_SECONDS = 5.0


class Display(Protocol):
    """Shows events."""

    def show(self, event: Notice) -> None:
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
    """How far a sweep is, by FLOPs, and how long the rest takes by the estimate that `isoflop status` shows too."""

    def __init__(self, outline: Outline, clock: Callable[[], float] = time.monotonic) -> None:
        self.outline = outline
        self.cells: dict[str, Cell] = {}
        for cell in outline.cells:
            self.cells.setdefault(cell.run.run_id, cell)
        self.total_flops = sum(cell.run.planned_flops for cell in self.cells.values())
        self.latest: dict[int, Progressed] = {}
        self.ended = set(outline.done)
        self._shares = {run_id: share for run_id, share in outline.shares.items() if run_id not in self.ended}
        self._timings = outline.timings
        self._clock = clock
        # Until when each worker counts as at work, on the clock.
        self._at_work: dict[int, float] = {}

    @property
    def flops(self) -> float:
        """Of the ended runs, and of the others as far as they are."""
        ended = sum(self.cells[run_id].run.planned_flops for run_id in self.ended)
        return ended + sum(share * self.cells[run_id].run.planned_flops for run_id, share in self._shares.items())

    @property
    def seconds_left(self) -> float | None:
        """What the runs without a result take on the workers at work; None where nothing is trained, or left."""
        estimate = self._estimate()
        return estimate[0] if estimate else None

    def _estimate(self) -> tuple[float, bool] | None:
        left = [cell.run for run_id, cell in self.cells.items() if run_id not in self.ended]
        if not left or self.outline.simulated:
            return None
        speeds = {at.run_id: at.tokens_per_second for at in self.latest.values()}
        own = [timing for timing in self._timings if timing.device == self.outline.devices[0]]
        return seconds_left(
            [Unfinished(run, self._shares.get(run.run_id, 0.0), speeds.get(run.run_id)) for run in left],
            own,
            device_kind=self.outline.device_kind,
            n_workers=self._n_workers,
            measurements=self.outline.measurements,
        )

    @property
    def _n_workers(self) -> int:
        """Workers at work, or about to be: where memory does not suffice for all, fewer than there are devices."""
        return sum(until > self._clock() for until in self._at_work.values()) or len(self.outline.devices)

    @property
    def headline(self) -> str:
        """`quickstart  3/21 runs  14 %  2m 10s left`."""
        done = f"{self.outline.sweep}  {len(self.ended)}/{len(self.cells)} runs"
        if len(self.ended) == len(self.cells):
            return f"{done}: nothing left to train"
        share = f"{done}  {self.flops / self.total_flops:.0%}"
        if (estimate := self._estimate()) is None:
            return share
        seconds, measured = estimate
        return f"{share}  {format_seconds(seconds)} left{'' if measured else ' (guessed)'}"

    def take_in(self, event: Notice) -> None:
        """Note what an event says."""
        match event:
            case AttemptStarted():
                self._at_work[event.worker] = math.inf
            case Progressed():
                self.latest[event.worker] = event
                self._shares[event.run_id] = min(1.0, event.n_tokens / self.cells[event.run_id].run.n_tokens)
            case RunFinished():
                self._end(event.result)
                if event.worker is not None:
                    self.latest.pop(event.worker, None)
            case AttemptEnded():
                self.latest.pop(event.worker, None)
                self._at_work[event.worker] = self._clock() + NEXT_RUN_SECONDS
            case Waiting() | DeviceHeld() | DeviceTakenOut() | LateResult() | EngineSaid():
                pass

    def _end(self, result: RunResult) -> None:
        self.ended.add(result.run_id)
        self._shares.pop(result.run_id, None)
        if result.status is Status.COMPLETED and not result.simulated:
            shape = self.cells[result.run_id].run.shape
            timing = Timing(shape, result.n_steps, result.achieved_flops, result.seconds, result.provenance.device)
            self._timings = (timing, *self._timings)[:NTIMINGS]


class _Lines:
    """A line per result, and one now and then between."""

    def __init__(self, progress: SweepProgress, console: Console) -> None:
        self.progress, self.console = progress, console
        self._next = time.monotonic() + PLAIN_SECONDS
        console.print(text(progress.headline), soft_wrap=True)

    def show(self, event: Notice) -> None:
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

    def show(self, event: Notice) -> None:
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
        text(f"{at.n_tokens / run.n_tokens:4.0%}"),
        text(f"loss {at.loss:.3f}"),
        text(f"{count(at.tokens_per_second)} tok/s"),
    )


def event_line(progress: SweepProgress, event: Notice) -> str | None:
    """What an event is worth on a line of its own; None for nothing."""
    match event:
        case RunFinished():
            cell = progress.cells[event.result.run_id]
            place = f"[{len(progress.ended)}/{len(progress.cells)}] {event.result.run_id}"
            size = f"C {format_flops(cell.budget_flops)}  N {count(cell.run.shape.n_params_total)}"
            role = "  confirm run" if cell.role is Role.CONFIRM else ""
            return f"{place}  {size}{role}  {_verdict(event.result)}"
        case AttemptEnded():
            return _attempt_line(event)
        case LateResult():
            late = f"attempt {event.attempt} at {event.run_id}, which had been given up, left a result after all"
            return f"{late}: it does not count"
        case Waiting():
            waiting = f"waiting for another process that trains {runs(len(event.run_ids))} of this sweep"
            return "; ".join([waiting, *map(_holder_line, event.holders)])
        case DeviceHeld() | DeviceTakenOut() | EngineSaid():
            return _device_line(event)
        case _:
            return None


def _attempt_line(ended: AttemptEnded) -> str | None:
    """That an attempt came to nothing, and why; None where it did not, or a person stopped it."""
    who = f"attempt {ended.attempt} at {', '.join(ended.run_ids)}"
    if ended.outcome == "interrupted":
        is_news = ended.engine != "local" and ended.reason != ASKED_TO_STOP
        return f"{who} was stopped: {ended.reason}" if is_news else None
    return f"{who}: {ended.reason}; log: {ended.log_path}" if ended.outcome != "done" else None


def _device_line(said: DeviceHeld | DeviceTakenOut | EngineSaid) -> str:
    if isinstance(said, EngineSaid):
        return said.sentence
    if isinstance(said, DeviceTakenOut):
        left = f"{plural(said.n_left, 'worker')} left" if said.n_left else "no worker is left, the sweep stops"
        why = f"different runs in a row crashed there; at the last, {said.reason}"
        return f"{said.device} is taken out: {why}; {left}"
    process = f"process {said.pid}" if said.pid else "another process"
    if said.waits:
        return f"waiting for {said.device}: {process} trains on it; `--share-devices` trains beside it"
    return f"{process} trains on the cores of this machine too: both sweeps take longer than alone"


def _holder_line(holder: Holder) -> str:
    """Which process it is, and what can be done about one that does not go on by itself."""
    who = f"process {holder.pid} works on {', '.join(holder.run_ids)}"
    if holder.orphan:
        return f"{who}: a killed `isoflop run` left it; where it does not end within seconds it is killed"
    if holder.stopped:
        return f"{who} and is stopped: `kill -CONT {holder.pid}` continues it, `kill -9 {holder.pid}` ends it"
    return who


def _verdict(result: RunResult) -> str:
    if result.val_loss is None:
        return f"{result.status}: {result.reason}"
    bits = f" ({result.bits_per_byte:.3f} bits/byte)" if result.bits_per_byte is not None else ""
    label = "  SIMULATED" if result.simulated else ""
    return f"loss {result.val_loss:.4f}{bits}  {format_seconds(result.seconds)}{label}"
