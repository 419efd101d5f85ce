"""The runs behind a fit as tables: each cell and its outcome, totals, where the numbers come from."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from isoflop.report.fit_wording import PARAM_COUNT, nats
from isoflop.result import Status
from isoflop.sources.findings.arithmetic import arithmetic
from isoflop.sources.source import FitInput, Origin
from isoflop.store import Standing, SweepCell, off_plan_sentence, standing
from isoflop.units import format_flops, format_seconds
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, SIMULATED_SENTENCE, count, runs, two_digits


def run_table(cells: Sequence[SweepCell]) -> Table:
    """One row per cell, also those that are not fitted, with the reason; of several sweeps, with the sweep."""
    several = len({cell.sweep for cell in cells}) > 1
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
        rows=tuple((*((cell.sweep,) if several else ()), *_run_row(cell)) for cell in cells),
        note="N: every parameter. Batch: tokens per step. Rate: peak, of embedding and norm gains; that of matrices "
        "follows width and depth. Loss: held-out, nats per token, with its standard error, and bits per byte. Of peak: "
        "model FLOPs utilisation, training FLOPs per second over the rate of a large product on the same device.",
    )


def _run_row(cell: SweepCell) -> tuple[str, ...]:
    where = standing(cell)
    return (
        format_flops(cell.budget_flops),
        cell.run_id or ABSENT,
        count(cell.n_params_total),
        count(cell.n_tokens),
        where.words,
        _why(cell, where),
        nats(cell.val_loss),
        two_digits(cell.val_loss_se),
        nats(cell.bits_per_byte),
        str(cell.shape),
        ABSENT if cell.n_steps is None else str(cell.n_steps),
        ABSENT if cell.batch_tokens is None else str(cell.batch_tokens),
        two_digits(cell.learning_rate),
        ABSENT if cell.seed is None else str(cell.seed),
        ABSENT if cell.epochs is None else f"{cell.epochs:.2f}",
        ABSENT if cell.seconds is None else format_seconds(cell.seconds),
        count(cell.tokens_per_second),
        ABSENT if cell.model_flops_utilisation is None else f"{cell.model_flops_utilisation:.1%}",
    )


def _why(cell: SweepCell, where: Standing) -> str:
    """What a row that is not fitted owes its reader: a reason, and the log of a run that broke."""
    if where is Standing.OFF_PLAN:
        return off_plan_sentence(cell)
    if where is Standing.CHECK:
        return f"{cell.role} run"
    if where is Standing.EXCLUDED:
        return cell.excluded or ""
    broke = where in (Standing.DIVERGED, Standing.FAILED)
    reasons = [
        cell.drop_reason,
        cell.reason,
        f"log: {cell.log_path}" if broke and cell.log_path else None,
        f"excluded: {cell.excluded}" if cell.excluded else None,
    ]
    return "; ".join(reason for reason in reasons if reason)


def totals(cells: Sequence[SweepCell]) -> dict[Standing, int]:
    """Cells by what they are to the fit, in a fixed order, without empty kinds."""
    numbers = Counter(standing(cell) for cell in cells)
    return {kind: numbers[kind] for kind in Standing if numbers[kind]}


def provenance_table(source: FitInput, commands: Sequence[str], generated_at: str) -> Table:
    """Where the numbers come from, and the commands that give them again."""
    facts = {
        **_source_facts(source),
        "simulated": _simulated(source),
        "rows fitted": str(len(source.points)),
        "N": PARAM_COUNT[source.param_count],
        **(_run_facts(source) if source.cells else {}),
        "report written": generated_at,
        **{f"command {number}": command for number, command in enumerate(commands, start=1)},
    }
    return Table("Provenance", (Column("what", numeric=False), Column("value", numeric=False)), tuple(facts.items()))


def _source_facts(source: FitInput) -> dict[str, str]:
    if not source.parts:
        return {"source": f"{source.path} ({source.origin})"}
    return {
        f"source {part.label}": f"{part.path} ({part.origin}), {runs(len(part.points))}; N: "
        f"{PARAM_COUNT[part.param_count]}"
        for part in source.parts
    }


def _simulated(source: FitInput) -> str:
    if source.simulated:
        return SIMULATED_SENTENCE
    return "no" if source.origin is Origin.SWEEP else "unknown: external data"


def _run_facts(source: FitInput) -> dict[str, str]:
    # A run that serves several cells was paid for once.
    paid = {cell.run_id: cell for cell in source.cells if cell.status is not None}.values()
    finished = sorted(cell.finished_at for cell in paid if cell.finished_at)
    return {
        "cells": ", ".join(f"{number} {kind.words}" for kind, number in totals(source.cells).items()),
        "FLOPs spent": format_flops(sum(cell.spent_flops or 0.0 for cell in paid)),
        "training time": format_seconds(sum(cell.seconds or 0.0 for cell in paid)),
        "utilisation": _utilisation(paid),
        "epochs": _epochs(source.cells),
        "finished": f"{finished[0]} to {finished[-1]}" if finished else ABSENT,
        "corpus": "; ".join(dict.fromkeys(part.corpus_fingerprint for part in source.each if part.corpus_fingerprint))
        or ABSENT,
        "device": _distinct(paid, lambda cell: cell.device),
        "arithmetic": _distinct(paid, _arithmetic),
        "git commit": _distinct(paid, _commit),
        "isoflop": _distinct(paid, lambda cell: cell.isoflop_version),
        "torch": _distinct(paid, lambda cell: cell.torch_version),
    }


def _utilisation(runs: Iterable[SweepCell]) -> str:
    """`2.4% to 25.0% of the device's measured peak`."""
    known = [cell.model_flops_utilisation for cell in runs if cell.model_flops_utilisation is not None]
    return f"{min(known):.1%} to {max(known):.1%} of the device's measured peak" if known else ABSENT


def _epochs(cells: Iterable[SweepCell]) -> str:
    known = [cell.epochs for cell in cells if cell.epochs is not None]
    return f"{min(known):.2f} to {max(known):.2f} passes over the text" if known else ABSENT


def _arithmetic(cell: SweepCell) -> str | None:
    """How the run was computed; None for one that failed before that was settled."""
    return arithmetic(cell.execution) if cell.execution or cell.status is Status.COMPLETED else None


def _commit(cell: SweepCell) -> str | None:
    return f"{cell.git_commit} with uncommitted changes" if cell.git_commit and cell.git_dirty else cell.git_commit


def _distinct(runs: Iterable[SweepCell], fact: Callable[[SweepCell], str | None]) -> str:
    known = sorted({value for cell in runs if (value := fact(cell)) is not None})
    return "; ".join(known) or ABSENT
