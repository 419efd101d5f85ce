"""From a table to the rows of a fit."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import numpy as np

from isoflop.errors import IsoflopError
from isoflop.finding import Finding
from isoflop.sources.columns.cell_numbers import Numbers
from isoflop.sources.columns.conditions import groups_of, rows_where
from isoflop.sources.columns.header import REQUIRED, choose_columns
from isoflop.sources.columns.loss_scale import PLAIN, LossScale, fitted_losses
from isoflop.sources.columns.results import kept_rows, missing_results
from isoflop.sources.columns.run_table import RunTable, choose
from isoflop.sources.columns.values import checked_numbers, texts
from isoflop.sources.findings.clusters import mixed_groups
from isoflop.sources.findings.scores import perplexity_findings, score_findings
from isoflop.sources.findings.table_reading import (
    NoResultError,
    column_findings,
    groups_left_out,
    missing_rows,
    none_left,
    reading_findings,
    rows_selected,
)
from isoflop.sources.findings.unit_ratios import unit_findings
from isoflop.sources.raw_table import RawTable
from isoflop.sources.source import Origin, Row, TableSource
from isoflop.sources.table_options import TableOptions


def table_sources(path: Path, raw: RawTable, label: str, options: TableOptions) -> Mapping[str | None, TableSource]:
    """The rows of a table: for each value of the column by which `options` group them, else under None.

    Raises:
        IsoflopError: no rows, or a bad value; see `table_source`.
    """
    if options.group is None:
        return {None: table_source(path, raw, label, options)}
    _refuse_empty(raw)
    selected, findings = _selected(raw, options)
    found: dict[str | None, TableSource] = {}
    unfinished: dict[str, NoResultError] = {}
    for group, rows in groups_of(selected, options.group).items():
        try:
            found[group] = table_source(path, selected.take(rows), label, options, found=findings)
        except NoResultError as error:
            unfinished[group] = error
    if not found:
        raise next(iter(unfinished.values()))
    return {group: _beside(source, list(unfinished)) for group, source in found.items()}


def _beside(source: TableSource, unfinished: Sequence[str]) -> TableSource:
    """The source with a finding on the groups beside it that have no result."""
    return replace(source, findings=(*source.findings, *groups_left_out(unfinished))) if unfinished else source


def _refuse_empty(raw: RawTable) -> None:
    if not len(raw.places):
        raise IsoflopError(f"{raw.name!r} has a header but no rows.", hint="Add one line per completed run.")


def _selected(raw: RawTable, options: TableOptions) -> tuple[RawTable, tuple[Finding, ...]]:
    """The rows that --where asks for, and a finding where there are others."""
    if not options.where:
        return raw, ()
    rows = rows_where(raw, options.where)
    return raw.take(rows), rows_selected(options.where, len(rows), len(raw.places))


def table_source(
    path: Path, raw: RawTable, label: str, options: TableOptions, *, found: tuple[Finding, ...] | None = None
) -> TableSource:
    """The rows of `raw` that are results, marked with `label`; all of them can be fitted.

    Budget, parameters and tokens are finite and positive; a loss is finite (normalised losses may be negative) and at
    most 1e6 either way; what else is known of a row may be missing. `found` are findings of a selection that was made.

    Raises:
        IsoflopError: no rows or no result, a bad value, or units that no training has.
    """
    columns = choose_columns(raw.header, options.columns, name=raw.name, label=label, scores=options.higher_is_better)
    _refuse_empty(raw)
    if found is None:
        raw, found = _selected(raw, options)
    table = choose(raw, columns)
    missing = missing_results(raw, table.values["loss"], sorted(columns.read))
    if len(missing) == len(table):
        raise none_left(raw, missing)
    if missing:
        found += missing_rows(raw, missing)
        table = table.take(kept_rows(len(table), missing))
    numbers = checked_numbers(table)
    if options.check_units:
        found += unit_findings(table, numbers)
    read = _read(table, numbers, options)
    return TableSource(
        label=label,
        origin=Origin(raw.kind),
        path=path,
        rows=_rows(table, read, label),
        columns=columns,
        loss_scale=read.scale,
        options=options,
        places=tuple(table.raw.places),
        counted_in=raw.noun,
        tokenizers=_distinct(texts(table, "tokenizer")),
        param_counts=_distinct(name and name.lower() for name in texts(table, "param_count")),
        findings=(
            *reading_findings(raw.notes),
            *column_findings(columns, read.scale),
            *found,
            *_of_losses(table, read, options),
        ),
    )


@dataclass(frozen=True)
class _Read:
    """The numbers of a table as they are fitted, by our names of the columns, and what the losses are."""

    numbers: dict[str, Numbers]
    scale: LossScale


def _read(table: RunTable, numbers: dict[str, Numbers], options: TableOptions) -> _Read:
    losses, errors, scale = fitted_losses(
        numbers["loss"],
        numbers.get("loss_se"),
        table.columns.chosen["loss"],
        options.loss_unit,
        higher_is_better=options.higher_is_better,
    )
    fitted = {**numbers, "loss": losses, **({} if errors is None else {"loss_se": errors})}
    return _Read(fitted, scale)


def _of_losses(table: RunTable, read: _Read, options: TableOptions) -> Iterator[Finding]:
    scores = list(score_findings(table, read.numbers, told=options.higher_is_better))
    yield from scores
    if read.scale == PLAIN and not scores:
        yield from perplexity_findings(table, read.numbers["loss"])
    yield from mixed_groups(table, read.numbers)


def _rows(table: RunTable, read: _Read, label: str) -> tuple[Row, ...]:
    errors = read.numbers["loss_se"].tolist() if "loss_se" in read.numbers else ()
    unique = _unique_tokens(read.numbers)
    fields = zip(
        *(read.numbers[ours].tolist() for ours in REQUIRED),
        map(_none_for_nan, errors) if errors else repeat(None),
        texts(table, "trunk") or repeat(None),
        texts(table, "seed") or repeat(None),
        repeat(label),
        repeat(None),
        repeat(None),
        map(_none_for_nan, unique.tolist()) if unique is not None else repeat(None),
        strict=False,  # of endless repetitions
    )
    return tuple(map(Row._make, fields))


def _unique_tokens(numbers: Mapping[str, Numbers]) -> Numbers | None:
    """Distinct tokens of each row, as they stand or from its epochs; NaN where neither is given, None without both."""
    unique = numbers.get("unique_tokens")
    epochs = numbers.get("epochs")
    if epochs is None:
        return unique
    of_epochs = numbers["n_tokens"] / np.where(epochs > 0, epochs, np.nan)
    return of_epochs if unique is None else np.where(unique > 0, unique, of_epochs)


def _none_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _distinct(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(names) if name is not None)
