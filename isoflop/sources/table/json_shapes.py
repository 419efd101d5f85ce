"""The shapes that a table has in one JSON document: a list of runs, runs by name, columns, what pandas writes."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from isoflop.errors import IsoflopError
from isoflop.sources.columns.known_names import known
from isoflop.sources.table.json_values import DEEPEST, flat

_SHAPES = (
    'A list of objects, one per run, is read: [{"budget_flops": 1e18, "n_params": 1e8, "n_tokens": 2e9, "loss": 2.5}].'
)
_SHOWN_KEYS = 5


@dataclass(frozen=True)
class Grid:
    """A table in a document.

    Attributes:
        read: from a position in the header to that column.
        notes: which part of the document it is.
    """

    header: tuple[str, ...]
    n_rows: int
    read: Callable[[int], Sequence[object]]
    notes: tuple[str, ...] = ()


def is_one_run(value: object, wanted: Collection[str]) -> bool:
    """Whether an object is one row: it has a plain value, by a name that is looked for or beside no table."""
    if not isinstance(value, dict):
        return False
    if _has_one_of(value, wanted):
        return True
    return any(map(_is_plain, value.values())) and not _split(value) and not _tables_in(value)


def grid_of(value: object, *, name: str, wanted: Collection[str], depth: int = 1) -> Grid:
    """The table that `value`, at that depth of the document, is or holds.

    Raises:
        IsoflopError: it has none of the shapes of a table, or holds several.
    """
    if isinstance(value, list):
        return _of_list(value, name)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        _refuse(
            name,
            "is a JSON text that holds JSON: it was encoded twice",
            "Write the table once, as `df.to_json(path)` does.",
        )
    if not isinstance(value, dict):
        _refuse(name, "is JSON, but neither a list nor an object")
    split = _split(value)
    if split:
        return _of_lists(*split, name)
    objects = [entry for entry in value.values() if isinstance(entry, dict)]
    if depth < DEEPEST and not any(_has_one_of(entry, wanted) for entry in objects):
        part = _part_of(value, objects, name, wanted, depth)
        if part is not None:
            return part
    if objects and len(objects) == len(value):
        return _of_columns(value, name) if _are_columns(value, wanted) else _of_runs(objects, name)
    if value and all(isinstance(entry, list) for entry in value.values()):
        return _of_columns(value, name)
    return _of_runs([value], name)


def _part_of(
    value: Mapping[str, object], objects: Sequence[object], name: str, wanted: Collection[str], depth: int
) -> Grid | None:
    """The table that an object holds under one of its keys, or in lists that are called by numbers; None for none.

    Raises:
        IsoflopError: it holds several, or the one is none.
    """
    tables = list(value) if len(value) == len(objects) == 1 else _tables_in(value)
    promising = [key for key in tables if known(_columns_in(value[key]), wanted)]
    only = next((keys[0] for keys in (promising, tables) if len(keys) == 1), None)
    if only is not None:
        return _inside(only, value, grid_of(value[only], name=name, wanted=wanted, depth=depth + 1))
    if len(tables) == len(value) and not objects and tables and all(map(_is_number, tables)):
        return _of_groups(value, name)
    if len(tables) > len(objects):
        shown = ", ".join(map(repr, tables[:_SHOWN_KEYS]))
        _refuse(name, f"holds {len(tables)} tables ({shown})", "Give each of them as a file of its own.")
    return None


def _columns_in(table: object) -> set[str]:
    """What may be the names of a table's columns."""
    entries = list(table.values()) if isinstance(table, dict) else table if isinstance(table, list) else []
    inner = {key for entry in entries[:_SHOWN_KEYS] if isinstance(entry, dict) for key in entry}
    return inner | {*table} if isinstance(table, dict) else inner


def _inside(key: str, value: Mapping[str, object], grid: Grid) -> Grid:
    note = f"The table is what the document holds as {key!r}."
    return replace(grid, notes=(note, *grid.notes)) if len(value) > 1 else grid


def _has_one_of(run: Mapping[str, object], wanted: Collection[str]) -> bool:
    """Whether an object has a plain value by one of the names that are looked for."""
    return any(_is_plain(run[column]) for column in known(run, wanted))


def _is_plain(value: object) -> bool:
    return not isinstance(value, dict | list)


def _split(value: Mapping[str, object]) -> tuple[list[object], list[object]] | None:
    """Columns and rows of what pandas writes with orient="split"."""
    columns, data = value.get("columns"), value.get("data")
    if not isinstance(columns, list) or not isinstance(data, list):
        return None
    return (columns, data) if all(isinstance(row, list) for row in data) else None


def _tables_in(value: Mapping[str, object]) -> list[str]:
    """The keys of an object that hold a table each."""
    return [key for key, entry in value.items() if _is_table(entry)]


def _is_table(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(row, dict) for row in value)
    if not isinstance(value, dict) or not value:
        return False
    if _split(value) or all(isinstance(entry, dict) and entry for entry in value.values()):
        return True
    lists = [entry for entry in value.values() if isinstance(entry, list)]
    return len(lists) == len(value) > 1 and len({*map(len, lists)}) == 1 and len(lists[0]) > 1


def _of_list(rows: Sequence[object], name: str) -> Grid:
    """The table of a list: objects, lists of objects one after the other, or lists of which the first has the names."""
    lists = [row for row in rows if isinstance(row, list)]
    if len(lists) < len(rows) or len(rows) < 2:
        return _of_runs(rows, name)
    if all(_is_table(part) for part in lists):
        return _of_runs([row for part in lists for row in part], name)
    header, *data = lists
    named = bool(header) and all(isinstance(column, str) for column in header)
    if named and not all(isinstance(cell, str) for row in data for cell in row):
        return _of_lists(header, data, name)
    return _of_runs(rows, name)


def _of_groups(value: Mapping[str, object], name: str) -> Grid:
    """The table of lists of runs that are called by numbers, such as budgets."""
    grid = _of_runs([row for rows in value.values() if isinstance(rows, list) for row in rows], name)
    return replace(grid, notes=(f"The {len(value)} lists of the document are taken as one table.",))


def _of_runs(rows: Sequence[object], name: str) -> Grid:
    if not rows:
        _refuse(name, "holds an empty list")
    objects = [row for row in rows if isinstance(row, dict)]
    if len(objects) < len(rows):
        number = next(index for index, row in enumerate(rows, start=1) if not isinstance(row, dict))
        if isinstance(rows[0], list):
            _refuse(name, "is a list of lists, which do not name their columns")
        _refuse(name, f"is a list whose row {number} is not a JSON object")
    flat_rows = flat(objects, name=name)
    header = tuple(dict.fromkeys(key for row in flat_rows for key in row))
    return Grid(header, len(rows), lambda index: [row.get(header[index]) for row in flat_rows])


def _of_lists(columns: Sequence[object], data: Sequence[object], name: str) -> Grid:
    header = tuple(".".join(map(str, column)) if isinstance(column, list) else str(column) for column in columns)
    rows = [row for row in data if isinstance(row, list)]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            _refuse(name, f"has {len(header)} columns, and row {number} of its data is of length {len(row)}")
    return Grid(header, len(rows), lambda index: [row[index] for row in rows])


def _are_columns(value: Mapping[str, object], wanted: Collection[str]) -> bool:
    """Whether the objects in `value` are columns, as pandas writes them, not runs.

    The names of rows are most often whole numbers; else the side is that of the columns which has more names that are
    looked for.
    """
    inner = {key for entry in value.values() if isinstance(entry, dict) for key in entry}
    if inner and all(map(_is_number, inner)):
        return True
    return len(known(value, wanted)) > len(known(inner, wanted))


def _is_number(key: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", key, re.IGNORECASE) is not None


def _of_columns(value: Mapping[str, object], name: str) -> Grid:
    """The table of columns that are lists, or objects from the name of a row to a value."""
    header = tuple(value)
    if all(isinstance(column, dict) for column in value.values()):
        keys = list(dict.fromkeys(key for column in value.values() if isinstance(column, dict) for key in column))
        by_name = [column if isinstance(column, dict) else {} for column in value.values()]
        return Grid(header, len(keys), lambda index: [by_name[index].get(key) for key in keys])
    lists = [column for column in value.values() if isinstance(column, list)]
    lengths = {key: len(column) for key, column in zip(header, lists, strict=True)}
    for key, length in lengths.items():
        if length != len(lists[0]):
            _refuse(name, f"has columns of different lengths: {header[0]!r} has {len(lists[0])} and {key!r} {length}")
    return Grid(header, len(lists[0]), lambda index: lists[index])


def _refuse(name: str, what: str, hint: str = _SHAPES) -> NoReturn:
    raise IsoflopError(f"{name!r} {what}.", hint=hint)
