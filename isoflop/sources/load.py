"""From the names of sources to their rows."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.sources.columns.column_request import ColumnRequest
from isoflop.sources.columns.header import REQUIRED, term_of
from isoflop.sources.columns.missing_columns import lacks_renamed
from isoflop.sources.database import from_database, from_sweep_file
from isoflop.sources.findings.mixtures import mixture_findings
from isoflop.sources.pool import pool
from isoflop.sources.raw_table import RawTable
from isoflop.sources.remeasure import AS_USUAL, Wanted, remeasured
from isoflop.sources.source import Pool, Source, TableSource
from isoflop.sources.table.formats import read_table
from isoflop.sources.table_options import TableOptions
from isoflop.sources.table_rows import table_source, table_sources

_SQLITE_HEADER = b"SQLite format 3\x00"  # sqlite.org/fileformat.html, section 1.3

AS_THEY_ARE = TableOptions()
_KINDS = "Give a sweep file (.toml), an isoflop database, or a table of runs (CSV, JSON, Parquet or Excel)."


def load_sources(
    sources: Sequence[str],
    *,
    db: Path,
    sweep: str | None,
    options: TableOptions = AS_THEY_ARE,
    wanted: Wanted = AS_USUAL,
) -> Source | Pool:
    """The rows of all `sources`, each `PATH` or `LABEL=PATH`, as one; a run that several databases have counts once.

    Raises:
        IsoflopError: a source cannot be read, is given twice or has another's label, or an option concerns none.
    """
    parts, found = remeasured(_load(sources, db=db, sweep=sweep, options=options), wanted)
    together = pool(parts) if len(parts) > 1 else _alone(parts[0])
    return replace(together, findings=(*together.findings, *found))


def load_each(
    sources: Sequence[str],
    *,
    db: Path,
    sweep: str | None,
    options: TableOptions = AS_THEY_ARE,
    wanted: Wanted = AS_USUAL,
) -> list[Source]:
    """The rows of each of `sources` by itself, all of them; arguments and errors as of `load_sources`."""
    parts, found = remeasured(_load(sources, db=db, sweep=sweep, options=options), wanted)
    return [replace(alone, findings=(*alone.findings, *found)) for alone in map(_alone, parts)]


def _alone(part: Source) -> Source:
    return replace(part, findings=part.findings + mixture_findings([part]))


def _load(sources: Sequence[str], *, db: Path, sweep: str | None, options: TableOptions) -> list[Source]:
    named = [split_label(source) for source in sources]
    groups = [
        _read_of_several(path, db=db, sweep=sweep, options=options, label=label)
        if len(named) > 1
        else _read(path, db=db, sweep=sweep, options=options, label=label)
        for label, path in named
    ]
    firsts = [next(iter(parts.values())) for parts in groups]
    _refuse_twice(firsts)
    _refuse_idle_options(firsts, sweep, options, [label for label, _ in named])
    labels = _labels(firsts, [label is not None for label, _ in named])
    return [
        _renamed(part, label if group is None else group if len(groups) == 1 else f"{label} {group}")
        for label, parts in zip(labels, groups, strict=True)
        for group, part in parts.items()
    ]


def _read_of_several(
    source: str, *, db: Path, sweep: str | None, options: TableOptions, label: str | None
) -> Mapping[str | None, Source]:
    """As `_read`; the hint of an error gives --column for this source alone.

    Raises:
        IsoflopError: see `load_sources`.
    """
    try:
        return _read(source, db=db, sweep=sweep, options=options, label=label)
    except IsoflopError as error:
        hint = re.sub(r"--column (?=\w+=)", f"--column {label or 'x'}:", error.hint)
        if hint != error.hint and label is None:
            hint += f" Of several sources, x=PATH gives this one the label x: x={shlex.quote(source)}."
        raise IsoflopError(error.message, hint=hint) from None


def _read(
    source: str, *, db: Path, sweep: str | None, options: TableOptions, label: str | None
) -> Mapping[str | None, Source]:
    """What `source` names: of a table that is to be read by groups, a source for each of them."""
    found = _open(source, db, sweep, options, label)
    if isinstance(found, Source):
        return {None: found}
    path = Path(source)
    return table_sources(path, found, label or path.name, options)


def load_source(
    source: str, *, db: Path, sweep: str | None, options: TableOptions = AS_THEY_ARE, label: str | None = None
) -> Source:
    """The rows that `source` names: a sweep file's sweep in `db`, a database's `sweep`, or a table's runs.

    `options` say how a table is read; `label` replaces the name of the sweep or file.

    Raises:
        IsoflopError: no such file, none of these kinds, a bad value, no such sweep, or nothing completed.
    """
    found = _open(source, db, sweep, options, label)
    path = Path(source)
    return found if isinstance(found, Source) else table_source(path, found, label or path.name, options)


def _open(source: str, db: Path, sweep: str | None, options: TableOptions, label: str | None) -> Source | RawTable:
    """The sweep that `source` names, or the table as its file has it."""
    path = Path(source)
    if path.suffix == ".toml":
        return from_sweep_file(path, db, sweep, label)
    content = _read_unless_sqlite(path)
    if content is None:
        return from_database(path, sweep, label)
    if not content.strip():
        raise IsoflopError(f"{str(path)!r} is empty.", hint=_KINDS)
    wanted = (*REQUIRED, *(request.theirs for request in options.columns))
    table = read_table(content, name=source, suffix=path.suffix.lower(), wanted=wanted)
    if table is None:
        raise IsoflopError(
            f"{str(path)!r} is not a sweep file, a database, or a table: CSV, JSON, Parquet or Excel.",
            hint=_KINDS,
        )
    return table


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


def _refuse_idle_options(
    parts: Sequence[Source], sweep: str | None, options: TableOptions, given: Sequence[str | None]
) -> None:
    """Raises IsoflopError where an option concerns none of the sources; `given` are the labels that the user gave."""
    tables = [part for part in parts if isinstance(part, TableSource)]
    if sweep is not None and len(tables) == len(parts):
        raise IsoflopError(
            f"{str(parts[0].path)!r} is a table of runs: it has no sweep {sweep!r}.", hint="Leave out --sweep."
        )
    if options.given and not tables:
        what = "renames a column of a table" if options.given == "--column" else "is for tables"
        raise IsoflopError(
            f"{options.given} {what}, and {str(parts[0].path)!r} is a sweep.",
            hint=f"Leave out {options.given}, or give a table of runs (CSV, JSON, Parquet or Excel).",
        )
    for request in options.columns:
        if request.label is not None and request.label not in given:
            raise IsoflopError(
                f"--column {request.name}={request.theirs}: no source has the label {request.label!r}.",
                hint=f"Give the source as {request.label}=PATH.",
            )
        if request.label is None and not _is_met(request, options.columns, tables):
            lacking = next((table for table in tables if request.ours not in table.columns.header), tables[0])
            header = lacking.columns.header
            raise lacks_renamed(request, term_of(request, header), str(lacking.path), header)


def _is_met(request: ColumnRequest, requests: Sequence[ColumnRequest], tables: Sequence[TableSource]) -> bool:
    """Whether some table has what this or another request for the column names."""
    alike = [other for other in requests if other.ours == request.ours and other.label is None]
    return any(not isinstance(term_of(other, table.columns.header), str) for other in alike for table in tables)


def _labels(parts: Sequence[Source], chosen: Sequence[bool]) -> list[str]:
    """Labels that differ: a default that is not the only one of its name is joined by the path.

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
    return labels


def _renamed(part: Source, label: str) -> Source:
    if part.label == label:
        return part
    return replace(part, label=label, rows=tuple(row._replace(source=label) for row in part.rows))
