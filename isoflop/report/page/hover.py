"""What a pointer on the interactive figure is told. Lines are joined by `<br>`; names and reasons are escaped."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from html import escape
from textwrap import shorten
from typing import NamedTuple

from isoflop.decision.confirmation import Confirmation
from isoflop.fit.results.profile import Profile
from isoflop.fit.results.target import Target
from isoflop.plan.types import Role
from isoflop.report.fit_wording import interval, nats, percent
from isoflop.report.loss_words import scale_of_losses
from isoflop.sources.source import Pool, Row, Source, SweepSource
from isoflop.store import CompletedResult, RunCell, Standing, run_cells
from isoflop.units import format_flops, format_seconds
from isoflop.view.metrics_view import heading, shown
from isoflop.wording import count, one_line, ratio, two_digits

# Longer reasons do not fit beside a point; the table of runs has them whole.
_REASON_LENGTH = 60


class DrawnRun(NamedTuple):
    """A completed run as a point: where it lies, what it says, and why it is not in the fit if it is not.

    `lines` are made only for those that are drawn.
    """

    budget_flops: float
    n_params: float
    loss: float
    lines: Callable[[], Iterable[str]]
    omission: str | None

    @property
    def hover(self) -> str:
        """What it says."""
        return hover_text(self.lines())


def drawn_runs(source: Source | Pool) -> list[DrawnRun]:
    """Every run with a loss, also those that are left out of the fit; of several sources, with its source."""
    pooled = isinstance(source, Pool)
    return [run for part in source.each for run in _of_source(part, f" of {plain(part.label)}" if pooled else "")]


def _of_source(source: Source, whose: str) -> Iterator[DrawnRun]:
    if isinstance(source, SweepSource):
        found = ((cell, source.measure.of(cell)) for cell in run_cells(source.cells))
        return (_from_cell(cell, measured[0], source, whose) for cell, measured in found if measured)
    name = plain(scale_of_losses(source).what)
    return (
        DrawnRun(row.budget_flops, row.n_params, row.loss, partial(_row_lines, number, whose, row, name), None)
        for number, row in enumerate(source.rows, start=1)
    )


def _row_lines(number: int, whose: str, row: Row, name: str) -> Iterable[str]:
    error = f" ± {two_digits(row.loss_se)}" if row.loss_se is not None else ""
    known = {"trunk": row.trunk, "seed": row.seed}
    return (
        f"<b>row {number}</b>{whose}",
        _size(row.budget_flops, row.n_params, row.n_tokens),
        f"{name} {row.loss:.6g}{error}",
        _as_read(row, name),
        ", ".join(f"{what} {plain(value)}" for what, value in known.items() if value is not None),
    )


def _as_read(row: Row, name: str) -> str:
    if row.as_read is None:
        return ""
    flops, tokens, loss = row.as_read
    return f"in the table: {format_flops(flops)} FLOPs, D {count(tokens)}, {name} {loss:.6g}"


def _from_cell(cell: RunCell, height: float, source: SweepSource, whose: str) -> DrawnRun:
    assert cell.completed is not None
    n_params = source.n_params(cell)
    lines = partial(_cell_lines, cell, cell.completed, n_params, whose, source.measure.metric)
    return DrawnRun(cell.budget_flops, n_params, height, lines, None if cell.used else _omission(cell))


def _omission(cell: RunCell) -> str:
    """Why a run with a loss is not in the fit: `confirm run`, `excluded`."""
    confirms = cell.role is Role.CONFIRM and cell.standing is Standing.CHECK
    return "confirm run" if confirms else cell.standing.words


def _cell_lines(
    cell: RunCell, result: CompletedResult, n_params: float, whose: str, metric: str | None
) -> Iterator[str]:
    yield f"<b>run {plain(cell.run_id)}</b>{whose}"
    yield _size(cell.budget_flops, n_params, cell.n_tokens)
    error = f" ± {two_digits(result.val_loss_se)}" if result.val_loss_se is not None else ""
    bits = f", {nats(result.bits_per_byte)} bits/byte" if result.bits_per_byte is not None else ""
    yield f"loss {nats(result.val_loss)}{error}{bits}"
    if metric is not None:
        yield f"{heading(metric)} {shown(cell.metrics[metric])}"
    yield f"{cell.shape}, seed {cell.seed}"
    if cell.n_steps is not None:
        yield f"{cell.n_steps} steps of {cell.batch_tokens} tokens, peak rate {two_digits(cell.learning_rate)}"
    yield ", ".join(_cost(result))
    if not cell.used:
        reason = shorten(cell.excluded or cell.role, _REASON_LENGTH, placeholder=" ...")
        yield f"not in the fit: {cell.standing.words}" + (f" ({plain(reason)})" if reason else "")


def _cost(result: CompletedResult) -> Iterator[str]:
    """What the run took, as far as it is known."""
    yield plain(result.device)
    yield format_seconds(result.seconds)
    if result.tokens_per_second is not None:
        yield f"{count(result.tokens_per_second)} tokens/s"
    if result.model_flops_utilisation is not None:
        yield f"{percent(round(result.model_flops_utilisation, 3))} of peak FLOP/s"


def _size(budget_flops: float, n_params: float, n_tokens: float) -> str:
    per_param = ratio(n_tokens / n_params)
    return f"{format_flops(budget_flops)} FLOPs: N {count(n_params)}, D {count(n_tokens)}, {per_param} tokens/param"


def floor_text(profile: Profile, level: float, what: str) -> str:
    """Where the floor of a profile lies, with intervals; `what` is what is lowest there, such as the loss."""
    within = f"{percent(level)} interval"
    return hover_text(
        (
            f"<b>floor at {format_flops(profile.budget_flops)} FLOPs</b>",
            f"N_opt {count(profile.n_opt)} ({within} {interval(profile.n_opt_ci)})",
            f"D_opt {count(profile.d_opt)} ({interval(profile.d_opt_ci)})",
            f"{plain(what)} {nats(profile.loss_opt)}, {profile.n_points} runs, rmse {two_digits(profile.rmse)}",
        )
    )


def target_text(target: Target, level: float) -> str:
    """The frontier read at a target, with intervals."""
    beyond = target.extrapolation_decades
    return hover_text(
        (
            f"<b>target {format_flops(target.budget_flops)} FLOPs</b>",
            f"N_opt {count(target.n_opt)} ({percent(level)} interval {interval(target.n_opt_ci)})",
            f"D_opt {count(target.d_opt)} ({interval(target.d_opt_ci)})",
            f"{ratio(target.tokens_per_param)} tokens/param"
            + (f", {beyond:.1f} decades beyond the data" if beyond else ""),
        )
    )


def confirm_text(one: Confirmation) -> str:
    """A confirm run and what was predicted for it."""
    prediction, done = one.prediction, one.observed
    bounds = interval((prediction.loss_low, prediction.loss_high), nats)
    return hover_text(
        (
            f"<b>confirm run {plain(one.cell.run_id)}</b>, not fitted",
            _size(prediction.budget_flops, prediction.n_params, prediction.n_tokens),
            f"loss {nats(done.val_loss)}" if done else "",
            f"predicted {nats(prediction.loss)} ({percent(prediction.level)} interval {bounds})",
        )
    )


def hover_text(lines: Iterable[str]) -> str:
    """The lines that say something, one below the other."""
    return "<br>".join(line for line in lines if line)


def plain(text: str) -> str:
    """`text` of a stranger without meaning to plotly, which reads a few HTML tags and all entities."""
    return escape(one_line(text), quote=False)
