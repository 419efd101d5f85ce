"""From the names of sources to their rows."""

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from types import MappingProxyType

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.sources.database import from_database, from_sweep_file
from isoflop.sources.findings.as_read import reading_findings
from isoflop.sources.findings.mixtures import mixture_findings
from isoflop.sources.pool import pool
from isoflop.sources.source import Origin, Pool, Row, Source, TableSource
from isoflop.sources.table.formats import read_table
from isoflop.sources.table.header import REQUIRED, choose_columns, lacks_renamed
from isoflop.sources.table.raw import RunTable, choose
from isoflop.sources.table.values import checked_numbers, texts

_SQLITE_HEADER = b"SQLite format 3\x00"  # sqlite.org/fileformat.html, section 1.3

_KINDS = "Give a sweep file (.toml), an isoflop database, or a table of runs (CSV, JSON, Parquet or Excel)."


def load_sources(
    sources: Sequence[str], *, db: Path, sweep: str | None, renames: Mapping[str, str] = MappingProxyType({})
) -> Source | Pool:
    """The rows of all `sources`, each `PATH` or `LABEL=PATH`, as one; a run that several databases have counts once.

    Raises:
        IsoflopError: a source cannot be read, is given twice or has another's label, or an option concerns none.
    """
    parts = _load(sources, db=db, sweep=sweep, renames=renames)
    return pool(parts) if len(parts) > 1 else _alone(parts[0])


def load_each(
    sources: Sequence[str], *, db: Path, sweep: str | None, renames: Mapping[str, str] = MappingProxyType({})
) -> list[Source]:
    """The rows of each of `sources` by itself, all of them; arguments and errors as of `load_sources`."""
    return [_alone(part) for part in _load(sources, db=db, sweep=sweep, renames=renames)]


def _alone(part: Source) -> Source:
    return replace(part, findings=part.findings + mixture_findings([part]))


def _load(sources: Sequence[str], *, db: Path, sweep: str | None, renames: Mapping[str, str]) -> list[Source]:
    named = [split_label(source) for source in sources]
    parts = [load_source(path, db=db, sweep=sweep, renames=renames, label=label) for label, path in named]
    _refuse_twice(parts)
    _refuse_idle_options(parts, sweep, renames)
    return _labelled(parts, [label is not None for label, _ in named])


def load_source(
    source: str,
    *,
    db: Path,
    sweep: str | None,
    renames: Mapping[str, str] = MappingProxyType({}),
    label: str | None = None,
) -> Source:
    """The rows that `source` names: a sweep file's sweep in `db`, a database's `sweep`, or a table's runs.

    `renames` gives the table's name of a column by ours; `label` replaces the name of the sweep or file.

    Raises:
        IsoflopError: no such file, none of these kinds, a bad value, no such sweep, or nothing completed.
    """
    path = Path(source)
    if path.suffix == ".toml":
        return from_sweep_file(path, db, sweep, label)
    content = _read_unless_sqlite(path)
    if content is None:
        return from_database(path, sweep, label)
    if not content.strip():
        raise IsoflopError(f"{str(path)!r} is empty.", hint=_KINDS)
    wanted = (*REQUIRED, *renames.values())
    table = read_table(content, name=source, suffix=path.suffix.lower(), wanted=wanted)
    if table is None:
        raise IsoflopError(
            f"{str(path)!r} is not a sweep file, a database, or a table: CSV, JSON, Parquet or Excel.",
            hint=_KINDS,
        )
    columns = choose_columns(table.header, renames, name=table.name)
    return _table_source(path, choose(table, columns), label or path.name)


def _read_unless_sqlite(path: Path) -> bytes | None:
    """The file's bytes; None for a SQLite database. Opened once, so that a pipe will do."""
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE_HEADER))
            return None if header == _SQLITE_HEADER else header + file.read()
    except FileNotFoundError:
        raise IsoflopError(f"There is no file {str(path)!r}.", hint=_KINDS) from None
    except IsADirectoryError:
        raise IsoflopError(f"{str(path)!r} is a folder; a source is a file.", hint=f"Name a file. {_KINDS}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise IsoflopError(f"Cannot read {str(path)!r}: {why_inaccessible(error, path)}.", hint=_KINDS) from None


def _table_source(path: Path, table: RunTable, label: str) -> TableSource:
    """The rows of `table`, all of which can be fitted, marked with `label`.

    Budget, parameters and tokens are finite and positive; a loss is finite (normalised losses may be negative) and at
    most 1e6 either way; what else is known of a row may be missing.

    Raises:
        IsoflopError: no rows, or a bad value.
    """
    if not len(table):
        raise IsoflopError(f"{table.raw.name!r} has a header but no rows.", hint="Add one line per completed run.")
    numbers = checked_numbers(table)
    errors = numbers["loss_se"].tolist() if "loss_se" in numbers else ()
    fields = zip(
        *(numbers[ours].tolist() for ours in REQUIRED),
        map(_none_for_nan, errors) if errors else repeat(None),
        texts(table, "trunk") or repeat(None),
        texts(table, "seed") or repeat(None),
        repeat(label),
        repeat(None),
        repeat(None),
        strict=False,  # of endless repetitions
    )
    return TableSource(
        label=label,
        origin=Origin(table.raw.kind),
        path=path,
        rows=tuple(map(Row._make, fields)),
        columns=table.columns,
        findings=reading_findings(table.raw.notes),
        tokenizers=_distinct(texts(table, "tokenizer")),
        param_counts=_distinct(name and name.lower() for name in texts(table, "param_count")),
    )


def _none_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _distinct(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(names) if name is not None)


def split_label(source: str) -> tuple[str | None, str]:
    """Label and path. A file of that very name wins, and what a label cannot hold (a slash) makes it a path."""
    label, _, path = source.partition("=")
    if not label.strip() or not path or "/" in label or os.sep in label or os.path.lexists(source):
        return None, source
    return label.strip(), path


def _refuse_twice(parts: Sequence[Source]) -> None:
    """Raises IsoflopError where a file, or a sweep of a database, is there under two names."""
    seen: dict[tuple[str, str | None], Path] = {}
    for part in parts:
        place = (os.path.realpath(part.path), part.sweep)
        if place in seen:
            what = f"The sweep {part.sweep!r} of {str(part.path)!r}" if part.sweep else repr(str(part.path))
            first = "" if seen[place] == part.path else f", first as {str(seen[place])!r}"
            raise IsoflopError(
                f"{what} is given twice{first}: its rows would count twice.", hint="Name each source once."
            )
        seen[place] = part.path


def _refuse_idle_options(parts: Sequence[Source], sweep: str | None, renames: Mapping[str, str]) -> None:
    """Raises IsoflopError where --sweep or --column concerns none of the sources."""
    tables = [(part.path, part.columns) for part in parts if isinstance(part, TableSource)]
    if sweep is not None and len(tables) == len(parts):
        raise IsoflopError(
            f"{str(parts[0].path)!r} is a table of runs: it has no sweep {sweep!r}.", hint="Leave out --sweep."
        )
    if renames and not tables:
        raise IsoflopError(
            f"--column renames a column of a table, and {str(parts[0].path)!r} is a sweep.",
            hint="Leave out --column, or give a table of runs (CSV, JSON, Parquet or Excel).",
        )
    for ours, theirs in renames.items():
        if not any(theirs in columns.header for _, columns in tables):
            path, columns = tables[0]
            raise lacks_renamed(ours, theirs, str(path), columns.header)


def _labelled(parts: Sequence[Source], chosen: Sequence[bool]) -> list[Source]:
    """The parts under labels that differ: a default that is not the only one of its name is joined by the path.

    Raises:
        IsoflopError: the user gave two sources one label.
    """
    numbers = Counter(part.label for part in parts)
    labels = [
        part.label if own or numbers[part.label] == 1 else f"{part.label} ({part.path})"
        for part, own in zip(parts, chosen, strict=True)
    ]
    for label, number in Counter(labels).items():
        if number > 1:
            raise IsoflopError(
                f"{number} sources have the label {label!r}.", hint="Give each source its own label: LABEL=PATH."
            )
    return [_renamed(part, label) for part, label in zip(parts, labels, strict=True)]


def _renamed(part: Source, label: str) -> Source:
    if part.label == label:
        return part
    return replace(part, label=label, rows=tuple(row._replace(source=label) for row in part.rows))
