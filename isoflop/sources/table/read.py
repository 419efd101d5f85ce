"""A file of other people's runs as rows of a fit, whatever its format."""

import math
from collections.abc import Iterable, Mapping
from itertools import repeat
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.sources.row import Row
from isoflop.sources.source import Origin, TableSource
from isoflop.sources.table.csv import read_csv
from isoflop.sources.table.header import REQUIRED
from isoflop.sources.table.jsonl import read_jsonl
from isoflop.sources.table.parquet import MAGIC, read_parquet
from isoflop.sources.table.raw import RawTable
from isoflop.sources.table.values import checked_numbers, texts

_JSONL_SUFFIXES = (".jsonl", ".ndjson")


def read_table(path: Path, content: bytes, renames: Mapping[str, str], *, label: str) -> TableSource | None:
    """The table in `content`, whose rows are marked with `label`; None for no table.

    Raises:
        IsoflopError: the content is not of its format, a column is missing or twice, no rows, or a bad value.
    """
    table = _raw_table(path, content, renames)
    return _source(path, table, label) if table is not None else None


def _raw_table(path: Path, content: bytes, renames: Mapping[str, str]) -> RawTable | None:
    """In the format that the first bytes or the file's ending tell."""
    name, suffix = str(path), path.suffix.lower()
    if content.startswith(MAGIC):
        return read_parquet(content, renames, name=name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if suffix in _JSONL_SUFFIXES or (suffix != ".csv" and text.lstrip().startswith("{")):
        return read_jsonl(text, renames, name=name)
    return read_csv(text, renames, name=name) if suffix == ".csv" or _names_columns(text, renames) else None


def _source(path: Path, table: RawTable, label: str) -> TableSource:
    """The rows of `table`, all of which can be fitted.

    Budget, parameters and tokens are finite and positive; a loss is finite (normalised losses may be negative) and at
    most 1e6 either way; what else is known of a row may be missing.
    """
    if not table.places:
        raise IsoflopError(f"{table.name!r} has a header but no rows.", hint="Add one line per completed run.")
    numbers = checked_numbers(table)
    errors = numbers["loss_se"].tolist() if "loss_se" in numbers else ()
    fields = zip(
        *(numbers[ours].tolist() for ours in REQUIRED),
        map(_none_for_nan, errors) if errors else repeat(None),
        texts(table, "trunk") or repeat(None),
        texts(table, "seed") or repeat(None),
        repeat(label),
        repeat(None),
        strict=False,  # of endless repetitions
    )
    return TableSource(
        label=label,
        origin=Origin(table.kind),
        path=path,
        rows=tuple(map(Row._make, fields)),
        columns=table.columns,
        tokenizers=_distinct(texts(table, "tokenizer")),
        param_counts=_distinct(name and name.lower() for name in texts(table, "param_count")),
    )


def _names_columns(text: str, renames: Mapping[str, str]) -> bool:
    """Whether the first line names at least one column that is looked for."""
    first_line = text.partition("\n")[0]
    return any(column in first_line for column in (*REQUIRED, *renames.values()))


def _none_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _distinct(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(names) if name is not None)
