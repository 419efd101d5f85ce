"""The runs behind a fit as tables: each cell and its outcome, totals, where the numbers come from."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from isoflop.report.fit_wording import PARAM_COUNT, nats
from isoflop.sources.source import Origin, Pool, Source, TableSource
from isoflop.store import CellResult, CompletedResult, EmptyCell, RunCell, Standing, SweepCell, run_cells
from isoflop.units import format_flops, format_seconds
from isoflop.view.standing_words import standing_count
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, SIMULATED_SENTENCE, count, runs, two_digits

# Rows of runs that a page has: a browser shows no more of them well.
MOST_ROWS = 5000


def listed_cells(cells: Sequence[SweepCell]) -> Sequence[SweepCell]:
    """Those of the cells that a page lists, in their order: all, or of very many those that a person should look at.

    Those are runs that are not fitted, then cells that were dropped, then the others, cheapest first.
    """
    if len(cells) <= MOST_ROWS:
        return cells
    ranks = {Standing.USED: 2, Standing.DROPPED: 1}
    first = sorted(range(len(cells)), key=lambda place: ranks.get(cells[place].standing, 0))[:MOST_ROWS]
    return [cells[place] for place in sorted(first)]


def run_table(cells: Sequence[SweepCell]) -> Table:
    """One row per cell, also those that are not fitted, with the reason; of several sweeps, with the sweep."""
    several = len({cell.sweep for cell in cells}) > 1
    listed = listed_cells(cells)
    left_out = ""
    if len(listed) < len(cells):
        left_out = f" {len(listed)} of {len(cells)} rows; `isoflop status SWEEP --json` has all."
    return Table(
        title="Runs",
        columns=(
            *((Column("sweep", numeric=False),) if several else ()),
            Column("FLOPs"),
            Column("run", numeric=False, whole=True),
            Column("N"),
            Column("D"),
            Column("in the fit", numeric=False),
            Column("why", numeric=False),
            Column("loss"),
            Column("error"),
            Column("bits/byte"),
            Column("shape", numeric=False),
            Column("steps"),
            Column("batch"),
            Column("rate"),
            Column("seed"),
            Column("epochs"),
            Column("time"),
            Column("tokens/s"),
            Column("of peak"),
        ),
        rows=tuple((*((cell.sweep,) if several else ()), *_run_row(cell)) for cell in listed),
        note="N: every parameter. Batch: tokens per step. Rate: peak learning rate of embedding and norm gains; the "
        "rate of matrices follows width and depth. Loss: held-out, nats per token, with its standard error, and bits "
        "per byte. Of peak: model FLOPs utilisation, training FLOPs per second over the rate of a large matrix "
        f"product on the same device.{left_out}",
    )


def _run_row(cell: SweepCell) -> tuple[str, ...]:
    place, size, where = format_flops(cell.budget_flops), count(cell.n_params_total), cell.standing.words
    if isinstance(cell, EmptyCell):
        absent = (ABSENT,) * 3, (ABSENT,) * 8
        return place, ABSENT, size, ABSENT, where, cell.drop_reason, *absent[0], str(cell.shape), *absent[1]
    loss, result = cell.completed, cell.result
    return (
        place,
        cell.run_id,
        size,
        count(cell.n_tokens),
        where,
        _why(cell),
        nats(loss.val_loss if loss else None),
        two_digits(loss.val_loss_se if loss else None),
        nats(loss.bits_per_byte if loss else None),
        str(cell.shape),
        ABSENT if cell.n_steps is None else str(cell.n_steps),
        ABSENT if cell.batch_tokens is None else str(cell.batch_tokens),
        two_digits(cell.learning_rate),
        str(cell.seed),
        f"{cell.epochs:.2f}",
        *(_speed(result) if result else (ABSENT,) * 3),
    )


def _speed(result: CellResult) -> tuple[str, str, str]:
    share = result.model_flops_utilisation
    return format_seconds(result.seconds), count(result.tokens_per_second), ABSENT if share is None else f"{share:.1%}"


def _why(cell: RunCell) -> str:
    """What a row that is not fitted owes its reader: a reason, and the log of a run that broke."""
    if cell.standing is Standing.CHECK:
        return f"{cell.role} run"
    if cell.standing is Standing.EXCLUDED:
        return cell.excluded or ""
    reasons = [
        cell.plan_miss,
        cell.broken.reason if cell.broken else None,
        f"log: {cell.log_path}" if cell.broken and cell.log_path else None,
        f"excluded: {cell.excluded}" if cell.excluded else None,
    ]
    return "; ".join(reason for reason in reasons if reason)


def totals(cells: Sequence[SweepCell]) -> dict[Standing, int]:
    """Cells by what they are to the fit, in a fixed order, without empty kinds."""
    numbers = Counter(cell.standing for cell in cells)
    return {kind: numbers[kind] for kind in Standing if numbers[kind]}


def totals_in_words(cells: Sequence[SweepCell]) -> dict[Standing, str]:
    """The same in words: `3 used`, `2 confirm runs`."""
    checks = {cell.role for cell in run_cells(cells) if cell.standing is Standing.CHECK}
    return {kind: standing_count(number, kind, checks) for kind, number in totals(cells).items()}


def provenance_table(source: Source | Pool, commands: Sequence[Sequence[str]], generated_at: str) -> Table:
    """Where the numbers come from, and the commands that give them again."""
    facts = {
        **_source_facts(source),
        "simulated": _simulated(source),
        "rows fitted": str(len(source.rows)),
        "N": PARAM_COUNT[source.param_count],
        **(_run_facts(source) if source.cells else {}),
        "report written": generated_at,
        **{f"command {number}": shlex.join(words) for number, words in enumerate(commands, start=1)},
    }
    return Table("Provenance", (Column("what", numeric=False), Column("value", numeric=False)), tuple(facts.items()))


def _source_facts(source: Source | Pool) -> dict[str, str]:
    if not isinstance(source, Pool):
        return {"source": f"{source.path} ({source.origin})", **_table_facts(source)}
    facts = {
        f"source {part.label}": f"{part.path} ({part.origin}), {runs(len(part.rows))}; N: "
        f"{PARAM_COUNT[part.param_count]}"
        for part in source.parts
    }
    of_tables = [(part.label, _table_facts(part)) for part in source.parts]
    return facts | {f"{what} of {label}": fact for label, told in of_tables for what, fact in told.items()}


def _table_facts(source: Source) -> dict[str, str]:
    """How a table was read, where that is not by our names of columns and all of its rows."""
    if not isinstance(source, TableSource):
        return {}
    scale, conditions = source.loss_scale, source.options.where
    told = {
        "columns": ", ".join(f"{ours} = {theirs}" for ours, theirs in source.columns.chosen.items() if ours != theirs),
        "rows read": " and ".join(map(str, conditions)),
        "loss": ", ".join(part for part in (scale.formula, scale.unit) if part),
    }
    return {what: fact for what, fact in told.items() if fact}


def _simulated(source: Source | Pool) -> str:
    if source.simulated:
        return SIMULATED_SENTENCE
    return "no" if source.origin is Origin.SWEEP else "unknown: external data"


def _run_facts(source: Source | Pool) -> dict[str, str]:
    # A run that serves several cells was paid for once.
    paid = {cell.run_id: cell.result for cell in run_cells(source.cells) if cell.result}.values()
    finished = sorted(result.finished_at for result in paid)
    return {
        "cells": ", ".join(totals_in_words(source.cells).values()),
        "FLOPs spent": format_flops(sum(result.spent_flops for result in paid)),
        "training time": format_seconds(sum(result.seconds for result in paid)),
        "utilisation": _utilisation(paid),
        "epochs": _epochs(run_cells(source.cells)),
        "finished": f"{finished[0]} to {finished[-1]}" if finished else ABSENT,
        "corpus": "; ".join(dict.fromkeys(part.corpus_fingerprint for part in source.sweeps)) or ABSENT,
        "device": _distinct(paid, lambda result: result.device),
        "arithmetic": _distinct(paid, _arithmetic),
        "git commit": _distinct(paid, _commit),
        "isoflop": _distinct(paid, lambda result: result.isoflop_version),
        "torch": _distinct(paid, lambda result: result.torch_version),
    }


def _utilisation(results: Iterable[CellResult]) -> str:
    """`2.4% to 25.0% of the device's measured peak`."""
    known = [result.model_flops_utilisation for result in results if result.model_flops_utilisation is not None]
    return f"{min(known):.1%} to {max(known):.1%} of the device's measured peak" if known else ABSENT


def _epochs(cells: Iterable[RunCell]) -> str:
    known = [cell.epochs for cell in cells]
    return f"{min(known):.2f} to {max(known):.2f} passes over the text" if known else ABSENT


def _arithmetic(result: CellResult) -> str | None:
    """How the run was computed; None for one that failed before that was settled."""
    return result.arithmetic if result.execution or isinstance(result, CompletedResult) else None


def _commit(result: CellResult) -> str | None:
    commit = result.git_commit
    return f"{commit} with uncommitted changes" if commit and result.git_dirty else commit


def _distinct(results: Iterable[CellResult], fact: Callable[[CellResult], str | None]) -> str:
    known = sorted({value for result in results if (value := fact(result)) is not None})
    return "; ".join(known) or ABSENT
