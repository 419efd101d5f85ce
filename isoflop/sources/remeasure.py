"""Sources whose rows have something else than the loss in nats: a metric of the models, or bits per byte."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from isoflop.errors import IsoflopError
from isoflop.finding import Finding, Severity
from isoflop.result import TEXT_METRIC, CurvePoint
from isoflop.sources.measure import BITS_PER_BYTE, IN_NATS, Measure
from isoflop.sources.source import Row, Source, SweepSource, TableSource
from isoflop.store import run_cells
from isoflop.wording import runs

_NAMED, _LISTED = 6, 50
_BITS = Measure(per_byte=True)
LossIn = Literal["nats", "bits-per-byte"]


@dataclass(frozen=True)
class Wanted:
    """What the command line says is to be fitted.

    Attributes:
        metric: name of a metric, in place of the loss.
        loss_in: of sweeps; None: nats, and bits per byte where tokenizers differ.
    """

    metric: str | None = None
    loss_in: LossIn | None = None


AS_USUAL = Wanted()


def remeasured(parts: Sequence[Source], wanted: Wanted) -> tuple[list[Source], tuple[Finding, ...]]:
    """The sources with what is wanted in place of their losses, and a finding where tokenizers made the choice.

    Raises:
        IsoflopError: a table stands where only a sweep has what is wanted, no run has it, or runs have it of other
            questions or texts than others.
    """
    if wanted.metric is not None:
        if wanted.loss_in is not None:
            raise IsoflopError("--loss has no effect with --metric: a metric has its own unit.", hint="Leave one out.")
        found = [_on_metric(part, wanted.metric) for part in parts]
        _refuse_other_questions(found, wanted.metric)
        return list[Source](found), ()
    if wanted.loss_in is not None:
        _refuse_other_tables(parts, wanted.loss_in)
        return (_per_byte(parts) if wanted.loss_in == "bits-per-byte" else list(parts)), ()
    tokenizers = _tokenizers(parts)
    if len(tokenizers) > 1 and all(_comparable(part) for part in parts) and _sweeps(parts):
        return _per_byte(parts), (_by_itself(tokenizers),)
    return list(parts), ()


def _sweeps(parts: Sequence[Source]) -> list[SweepSource]:
    return [part for part in parts if isinstance(part, SweepSource)]


def _tokenizers(parts: Sequence[Source]) -> dict[str, list[str]]:
    """Labels of sources by tokenizer."""
    found: dict[str, list[str]] = {}
    for part in parts:
        for name in part.tokenizers:
            found.setdefault(name, []).append(part.label)
    return found


def _comparable(part: Source) -> bool:
    """Whether the source has bits per byte, or can."""
    if isinstance(part, SweepSource):
        return all(_BITS.of(row.cell) is not None for row in part.rows if row.cell)
    return isinstance(part, TableSource) and part.loss_scale.unit == BITS_PER_BYTE


def _by_itself(tokenizers: dict[str, list[str]]) -> Finding:
    named = "; ".join(f"{name} ({', '.join(labels[:_NAMED])})" for name, labels in list(tokenizers.items())[:_NAMED])
    return Finding(
        code="losses_in_bits_per_byte",
        severity=Severity.INFO,
        message=f"Losses are in bits per byte, because the tokenizers differ: {named}.",
        hint="A loss per token depends on the tokenizer, bits per byte do not; `--loss nats` fits nats per token.",
        values={"tokenizers": {name: labels[:_LISTED] for name, labels in list(tokenizers.items())[:_LISTED]}},
    )


def _refuse_other_tables(parts: Sequence[Source], loss_in: LossIn) -> None:
    for part in parts:
        if not isinstance(part, TableSource):
            continue
        per_byte = part.loss_scale.unit == BITS_PER_BYTE
        if per_byte != (loss_in == "bits-per-byte"):
            what = part.loss_scale.unit or "a unit that nobody named"
            raise IsoflopError(
                f"--loss {loss_in} is for sweeps, which have both; {part.label!r} is a table with losses in {what}.",
                hint="--column loss=THEIRS names another of its columns and --loss-unit what a column is in.",
            )


def _per_byte(parts: Sequence[Source]) -> list[Source]:
    return [_in_bits(part) if isinstance(part, SweepSource) else part for part in parts]


def _in_bits(part: SweepSource) -> SweepSource:
    lacking = [row.cell.run_id for row in part.rows if row.cell and _BITS.of(row.cell) is None]
    if lacking and part.simulated:
        raise IsoflopError(
            f"The sweep {part.label!r} is simulated: its losses are of no text, so there are no bits per byte.",
            hint="Leave out --loss bits-per-byte.",
        )
    if lacking:
        raise IsoflopError(
            f"No bits per byte are known of {runs(len(lacking))} of the sweep {part.label!r} "
            f"({', '.join(lacking[:_NAMED])}): of their tokens nobody said how many bytes of text they stand for.",
            hint="Leave out --loss bits-per-byte, or state the bytes per token of the corpus and train again.",
        )
    curves = {
        row.cell.run_id: _scaled(part.curves[row.cell.run_id], row)
        for row in part.rows
        if row.cell and row.cell.run_id in part.curves
    }
    return replace(part, rows=tuple(_with(row, _BITS) for row in part.rows), curves=curves, measure=_BITS)


def _scaled(curve: Iterable[CurvePoint], row: Row) -> tuple[CurvePoint, ...]:
    """The training losses of a run in bits per byte: they are of tokens of as many bytes as the held-out ones."""
    loss = _with(row, _BITS).loss
    return tuple(point.model_copy(update={"loss": point.loss * loss / row.loss}) for point in curve)


def _with(row: Row, measure: Measure) -> Row:
    found = measure.of(row.cell) if row.cell else None
    assert found is not None, f"row {row} has no such number"
    return row._replace(loss=found[0], loss_se=found[1])


def _on_metric(part: Source, name: str) -> SweepSource:
    """The source with the metric in place of the loss; training curves, which are of losses, are left out."""
    if not isinstance(part, SweepSource):
        raise IsoflopError(
            f"--metric names what `isoflop evaluate` measured of a sweep's runs, and {part.label!r} is a table.",
            hint=f"Name its column: --column loss={name}, with --higher-is-better if that is a score.",
        )
    measure = Measure(metric=name)
    rows = [row for row in part.rows if row.cell and measure.of(row.cell) is not None]
    if not rows:
        raise _no_metric(part, name)
    lacking = [row.cell.run_id for row in part.rows if row.cell and measure.of(row.cell) is None]
    return replace(
        part,
        rows=tuple(_with(row, measure) for row in rows),
        curves={},
        measure=measure,
        findings=(*part.findings, *_lacking(lacking, name, len(part.rows))),
    )


def _refuse_other_questions(parts: Sequence[SweepSource], name: str) -> None:
    """Nothing, where every run was asked the same questions: what one name stands for may differ by database.

    Probes are of a sweep's own corpus, as its losses are: where corpora differ, a finding says so.

    Raises:
        IsoflopError: runs have the metric of different texts, or of questions of different versions.
    """
    metrics = [(part.label, row.cell.metrics[name]) for part in parts for row in part.rows if row.cell]
    texts = {metric.corpus_fingerprint: label for label, metric in metrics if name.startswith(TEXT_METRIC)}
    if len(texts) > 1:
        raise IsoflopError(
            f"The metric {name} stands for {len(texts)} texts: runs of {', '.join(dict.fromkeys(texts.values()))} were "
            "measured on different ones.",
            hint="Measure all runs on one text: `isoflop evaluate SWEEP --all --text PATH` with a new file name.",
        )
    if len({metric.probe_version for _, metric in metrics}) > 1:
        raise IsoflopError(
            f"The metric {name} was measured by older questions in some runs and by newer ones in others.",
            hint="`isoflop evaluate SWEEP --all` asks those of older questions again, where weights are on disk.",
        )


def _no_metric(part: SweepSource, name: str) -> IsoflopError:
    known = sorted({metric for cell in run_cells(part.cells) for metric in cell.metrics})
    near = get_close_matches(name, known, n=1)
    file = part.file or "SWEEP"
    hint = (
        'No model was trained; trainer = "builtin" trains them.'
        if part.simulated
        else f"`isoflop evaluate {file} --all` measures those whose weights are on disk."
    )
    if known:
        hint = f"{f'Did you mean {near[0]}? ' if near else ''}It has: {', '.join(known)}. {hint}"
    return IsoflopError(f"No fitted run of the sweep {part.label!r} has the metric {name!r}.", hint=hint)


def _lacking(run_ids: Sequence[str], name: str, n_rows: int) -> tuple[Finding, ...]:
    if not run_ids:
        return ()
    return (
        Finding(
            code="runs_without_metric",
            severity=Severity.WARNING,
            message=f"{len(run_ids)} of {runs(n_rows)} {'does' if len(run_ids) == 1 else 'do'} not have the metric "
            f"{name} and {'is' if len(run_ids) == 1 else 'are'} left out of the fit.",
            hint="`isoflop evaluate SWEEP --all` measures those whose weights are on disk; [evaluation] probes = true "
            "measures probes as runs are trained.",
            values={"n_runs": len(run_ids), "run_ids": list(run_ids[:_LISTED])},
        ),
    )


def on_loss(source_rows: Iterable[Row]) -> list[Row]:
    """The same runs with their losses in nats."""
    return [_with(row, IN_NATS) for row in source_rows]
