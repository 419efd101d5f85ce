"""Excel workbooks (.xlsx): which sheet is the table, and which of its rows names the columns."""

import zipfile
from collections.abc import Collection, Mapping

from isoflop.errors import IsoflopError
from isoflop.sources.table.known_names import known
from isoflop.sources.table.raw import RawTable
from isoflop.sources.table.workbook_parts import Parts, Row, Value, rows_of, shared_strings, sheets_of

# What may stand above the columns' names: a title, notes, blank rows.
_TITLE_ROWS = 20


def read_workbook(archive: zipfile.ZipFile, *, name: str, wanted: Collection[str]) -> RawTable:
    """The table in the first sheet that names one of the columns `wanted`, else in the first that is not empty.

    Formulas count as the values that were saved with them. Rows are counted as Excel does.

    Raises:
        IsoflopError: it is damaged, too large, or has no cells.
    """
    return _table(Parts(archive, name), name, wanted)


def _table(parts: Parts, name: str, wanted: Collection[str]) -> RawTable:
    strings = shared_strings(parts)
    best: tuple[str, dict[int, Row], int, int] | None = None
    sheets = sheets_of(parts)
    for title, part in sheets:
        rows = rows_of(parts, part, strings)
        if not rows:
            continue
        number, n_known = _header_row(rows, wanted)
        if best is None or n_known > best[3]:
            best = (title, rows, number, n_known)
        if n_known:
            break
    if best is None:
        raise IsoflopError(f"{name!r} is an Excel workbook without cells.", hint="Give a table of runs.")
    title, rows, number, _ = best
    notes = [f"The table is the sheet {title!r} of {len(sheets)}."] if len(sheets) > 1 else []
    if number != min(rows):
        notes.append(f"The columns are named in row {number}; what stands above is left out.")
    return _below(name, rows, number, tuple(notes))


def _below(name: str, rows: Mapping[int, Row], header_row: int, notes: tuple[str, ...]) -> RawTable:
    """The table whose columns row `header_row` names."""
    columns = sorted(rows[header_row])
    header = tuple(_name(rows[header_row][column]) for column in columns)
    found = {number: row for number, row in rows.items() if number > header_row and _is_given(row)}

    def read(index: int) -> list[object]:
        return [row.get(columns[index]) for row in found.values()]

    return RawTable(name, "xlsx", header, read, lambda: list(found), lambda: notes)


def _name(value: Value) -> str:
    return value.strip() if isinstance(value, str) else f"{value:g}"


def _is_given(row: Row) -> bool:
    """Whether a row holds more than blanks, and is no comment."""
    first = row[min(row)]
    return any(not isinstance(value, str) or value.strip() for value in row.values()) and not (
        isinstance(first, str) and first.startswith("#") and len(row) == 1
    )


def _header_row(rows: Mapping[int, Row], wanted: Collection[str]) -> tuple[int, int]:
    """The row that names the columns, and how many of those that are looked for; else the first of several cells."""
    head = [number for number in rows if _is_given(rows[number])][:_TITLE_ROWS] or [min(rows)]
    names = {number: known({str(value).strip() for value in rows[number].values()}, wanted) for number in head}
    best = max(head, key=lambda number: len(names[number]))
    if names[best]:
        return best, len(names[best])
    return next((number for number in head if len(rows[number]) > 1), head[0]), 0
