"""How a sweep stands, as a page of text that reads the same on a terminal and in a log file."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console, Group, RenderableType

from isoflop.status.holder import Holder
from isoflop.status.sweep_status import Failure, Next, Omission, SweepStatus
from isoflop.status.time_left import TimeLeft, done
from isoflop.status.work import Activity, Work
from isoflop.store import RunCell, Standing
from isoflop.units import format_flops, format_seconds
from isoflop.view.drawing import findings_block, table_block, text
from isoflop.view.standing_words import standing_count
from isoflop.view.status_grid import grid_lines, legend
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, SIMULATED_SENTENCE, count, runs

# Of a long list a screen shows this much; JSON has all of it.
MOST_LISTED = 20

_ENDED = "Ended: its result is on disk and not yet recorded."


def print_status(status: SweepStatus, console: Console, *, arguments: Sequence[str]) -> None:
    """Nothing; `console` shows the status and what to type next, with the `arguments` that name the sweep."""
    console.print(status_page(status, console, arguments=arguments))


def status_page(status: SweepStatus, console: Console, *, arguments: Sequence[str]) -> Group:
    """The same to be drawn, for the present width of `console`."""
    return Group(*_page(status, console, arguments))


def _page(status: SweepStatus, console: Console, arguments: Sequence[str]) -> Iterator[RenderableType]:
    yield text(f"Status of {status.sweep} at {status.at:%Y-%m-%d %H:%M:%S} UTC", "bold")
    if status.simulated:
        yield text(SIMULATED_SENTENCE, "bold magenta")
    yield from map(text, _headlines(status))
    yield from _grid(status, console)
    for table in _tables(status):
        yield table_block(table, console)
    if status.failures:
        yield from _failed(status.failures)
    if status.omissions:
        yield from _left_out(status.omissions)
    if status.findings:
        yield findings_block(status.findings)
    yield text("")
    yield text(_next(status, arguments), "dim")


def _headlines(status: SweepStatus) -> Iterator[str]:
    counts = dict(status.counts)
    n_dropped = counts.pop(Standing.DROPPED, 0)
    checks = {place.role for place in status.positions if place.state is Standing.CHECK}
    said = ", ".join(standing_count(number, state, checks) for state, number in counts.items())
    dropped = f"; {n_dropped} {'cell' if n_dropped == 1 else 'cells'} dropped" if n_dropped else ""
    yield f"{runs(status.n_runs)}: {said}{dropped}"
    yield _progress(status)
    if status.holder is not None:
        yield _held(status.holder)
    if status.abandoned_by is not None:
        yield _abandoned(status.abandoned_by)
    if status.unattended:
        yield (
            "No `isoflop run` holds this sweep now; the workers below were left by one that was killed, or work for "
            "another sweep."
        )


def _progress(status: SweepStatus) -> str:
    planned = status.flops_planned or 1.0
    said = f"{status.flops_done / planned:.0%} of {format_flops(status.flops_planned)} FLOPs done"
    if status.flops_failed:
        said += f", {status.flops_failed / planned:.0%} diverged or failed"
    if status.time_left is None:
        return said
    return f"{said}; {_left(status.time_left, held=status.holder is not None)}"


def _left(left: TimeLeft, *, held: bool) -> str:
    workers = f"{left.n_workers} x {left.device_name}"
    when = f"left on {workers}" if left.at_work or held else f"on {workers} once it continues"
    return f"about {format_seconds(left.seconds)} {when} ({'measured' if left.measured else 'guessed'})"


def _held(holder: Holder) -> str:
    signed = holder.signature
    if signed is None:
        return "Held by a process that has not yet written its id: it is just starting, or is another version."
    if holder.alive:
        return f"Held by {signed.words}."
    return f"Held by {signed.words}; whether it still runs cannot be seen from here."


def _abandoned(holder: Holder) -> str:
    gone = holder.signature
    assert gone is not None, "only a process that said who it is can be seen to be gone"
    return f"Process {gone.pid} on {gone.host}, which held it ({gone.typed}), is gone; finished runs are kept."


def _grid(status: SweepStatus, console: Console) -> Iterator[RenderableType]:
    shares = {work.run_id: done(cell, work) for work, cell in status.works}
    yield from _title("Grid")
    for line in grid_lines(status.positions, shares, console.width):
        line.overflow = "ignore"
        yield line
    yield text(legend(status.positions), "dim")


def _title(title: str) -> tuple[RenderableType, ...]:
    return text(""), text(title, "bold")


def _tables(status: SweepStatus) -> Iterator[Table]:
    running = [entry for entry in status.works if entry[0].activity is Activity.RUNNING]
    others = [entry for entry in status.works if entry[0].activity is not Activity.RUNNING]
    if running:
        yield _running(running, status.at)
    if others:
        yield _stopped(others)


def _running(works: Sequence[tuple[Work, RunCell]], at: datetime) -> Table:
    hosts = {work.host for work, _ in works}
    columns = (
        Column("run", numeric=False, whole=True), Column("FLOPs", spare=1), Column("N"),
        Column("step", essential=False), Column("done"), Column("loss", spare=2), Column("tokens/s", spare=3),
        Column("heard", spare=4), Column("attempt", essential=False), Column("process", numeric=False, spare=5),
    )  # fmt: skip
    rows = tuple(
        (
            work.run_id, format_flops(cell.budget_flops), count(cell.n_params_total), _step(work, cell),
            f"{done(cell, work):.0%}", f"{work.reported.loss:.3f}" if work.reported else ABSENT,
            count(work.reported.tokens_per_second if work.reported else None), _heard(work), str(work.attempt),
            _process(work, one_host=len(hosts) == 1),
        )
        for work, cell in works[:MOST_LISTED]
    )  # fmt: skip
    title = f"Running on {next(iter(hosts))}" if len(hosts) == 1 else "Running"
    note = "Loss: of one training step. Heard: time since the worker's last heartbeat." + _more(len(works))
    return Table(title, columns, rows, note)


def _process(work: Work, *, one_host: bool) -> str:
    """Where the worker is found: its job of a cluster and its node, or its process."""
    if work.engine_job:
        return f"{work.engine} {work.engine_job} on {work.host}"
    return str(work.pid) if one_host else f"{work.host} {work.pid}"


def _step(work: Work, cell: RunCell) -> str:
    return f"{work.reported.step} of {cell.n_steps}" if work.reported else ABSENT


def _heard(work: Work) -> str:
    return ABSENT if work.heartbeat_seconds is None else f"{format_seconds(work.heartbeat_seconds)} ago"


def _stopped(works: Sequence[tuple[Work, RunCell]]) -> Table:
    columns = (
        Column("run", numeric=False, whole=True), Column("FLOPs", spare=1), Column("N"),
        Column("state", numeric=False, whole=True), Column("done"), Column("attempt", spare=2),
        Column("last on", numeric=False, spare=3),
    )  # fmt: skip
    rows = tuple(
        (
            work.run_id, format_flops(cell.budget_flops), count(cell.n_params_total), work.activity.words,
            ABSENT if work.activity is Activity.ENDED else f"{done(cell, work):.0%}", str(work.attempt), work.host,
        )
        for work, cell in works[:MOST_LISTED]
    )  # fmt: skip
    return Table("Begun", columns, rows, _begun_note([work for work, _ in works]) + _more(len(works)))


def _begun_note(works: Sequence[Work]) -> str:
    """What becomes of runs whose worker is gone."""
    kept = {work.resumable for work in works if work.activity is Activity.STOPPED}
    goes_on = {
        frozenset({True}): ["Stopped: continues from its checkpoint."],
        frozenset({False}): ["Stopped: has no checkpoint and starts again."],
        frozenset({True, False}): ["Stopped: continues from its checkpoint, or starts again where it has none."],
    }.get(frozenset(kept), [])
    ended = [_ENDED] if any(work.activity is Activity.ENDED for work in works) else []
    return " ".join(goes_on + ended)


def _failed(failures: Sequence[Failure]) -> Iterator[RenderableType]:
    yield from _title("Failures")
    for failure in failures[:MOST_LISTED]:
        cell = failure.cell
        attempts = "1 attempt" if failure.n_attempts == 1 else f"{failure.n_attempts} attempts"
        place = f"{format_flops(cell.budget_flops)} FLOPs at {count(cell.n_params_total)}"
        yield text(f"{failure.status} {cell.run_id}, {place}, {attempts}: {failure.reason}", "red")
        if failure.log_path is not None:
            yield text(f"  log: {_near(failure.log_path)}", "dim")
    if more := _more(len(failures)).strip():
        yield text(more, "dim")


def _near(path: Path) -> str:
    """The path from here, where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _left_out(entries: Sequence[Omission]) -> Iterator[RenderableType]:
    yield from _title("Left out")
    for entry in entries[:MOST_LISTED]:
        place = f"{format_flops(entry.cell.budget_flops)} FLOPs at {count(entry.cell.n_params_total)}"
        name = f" {entry.cell.run_id}," if entry.cell.run_id else ""
        yield text(f"{entry.state.words}{name} {place}: {entry.why}")
    if more := _more(len(entries)).strip():
        yield text(more, "dim")


def _more(number: int) -> str:
    return f" And {number - MOST_LISTED} more: --json lists all." if number > MOST_LISTED else ""


def _next(status: SweepStatus, arguments: Sequence[str]) -> str:
    """What to type next, as a sentence."""
    sweep = shlex.join(arguments)
    failed = "; with --retry also failed runs" if status.failures else ""
    match status.next:
        case Next.WAIT:
            return f"The sweep is running: `isoflop status {sweep} --watch` follows it."
        case Next.RUN:
            there = "".join(sorted({f" --engine {work.engine}" for work, _ in status.works if work.engine})[:1])
            return f"Next: `isoflop run {sweep}{there}` trains the remaining runs{failed}."
        case Next.RETRY:
            others = f"; `isoflop fit {sweep}` fits the others" if Standing.USED in status.counts else ""
            return f"Next: `isoflop run {sweep} --retry` tries failed runs again{others}."
        case Next.FIT:
            if Standing.USED in status.counts:
                return f"Next: `isoflop fit {sweep}`."
            return "There is nothing to fit: no run counts. `isoflop include RUN` takes an exclusion back."
