"""Excel workbooks (.xlsx), read with openpyxl where that is installed: the sheet and row that name the columns."""

import io
import warnings
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from isoflop.errors import IsoflopError
from isoflop.sources.columns.known_names import known
from isoflop.sources.raw_table import RawTable
from isoflop.sources.table.packed import LARGEST_BYTES, DamagedError, damaged

if TYPE_CHECKING:
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

WORKBOOK = "xl/workbook.xml"

Value = str | float | bool
Row = dict[int, Value]

# Excel's own bound: "Excel specifications and limits", support.microsoft.com.
_ROWS = 2**20
# Of one workbook, blank ones between others too: 100,000 runs of 80 columns.
_CELLS = 2**23
# What may stand above the columns' names: a title, notes, blank rows.
_TITLE_ROWS = 20


def read_workbook(content: bytes, archive: zipfile.ZipFile, *, name: str, wanted: Collection[str]) -> RawTable:
    """The table in the first sheet that names one of the columns `wanted`, else in the first that is not empty.

    `archive` is that of `content`. Formulas count as the values that were saved with them; one that no program has
    calculated is empty. Rows are counted as Excel does.

    Raises:
        IsoflopError: openpyxl is not installed, or the workbook is damaged, too large, or has no cells.
    """
    try:
        import openpyxl
    except ImportError:
        raise IsoflopError(
            f"{name!r} is an Excel workbook, and openpyxl, which reads such files, is not installed.",
            hint="`pip install 'isoflop[xlsx]'`, or save the table as CSV.",
        ) from None
    try:
        # zipfile unpacks no more of a file than the directory says, so the bound holds where the directory lies.
        if sum(file.file_size for file in archive.infolist()) > LARGEST_BYTES:
            raise DamagedError(f"it unpacks to more than {LARGEST_BYTES // 2**20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions, which hold no values
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
            sheets = list(_sheets(book.worksheets))
    except Exception as error:  # openpyxl checks little: damage raises whatever it meets, KeyError to AssertionError
        raise damaged(name, "an Excel workbook", error) from None
    return _table(sheets, name, wanted)


def _sheets(worksheets: Iterable["ReadOnlyWorksheet"]) -> Iterator[tuple[str, dict[int, Row]]]:
    """Title and rows of every sheet; rows that have cells by their number, cells by their column, of which A is 0.

    Raises:
        DamagedError: there are more rows or cells than a table of runs has.
    """
    n_cells = 0
    for sheet in worksheets:
        sheet.reset_dimensions()  # what some programs write there is smaller than the sheet
        rows: dict[int, Row] = {}
        for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
            n_cells += len(values)
            if number > _ROWS or n_cells > _CELLS:
                raise DamagedError(f"it has more than {_ROWS} rows or {_CELLS} cells")
            row = _row(values)
            if row:
                rows[number] = row
        yield sheet.title, rows


def _row(values: Sequence[object]) -> Row:
    return {column: _value(value) for column, value in enumerate(values) if value is not None and value != ""}


def _value(value: object) -> Value:
    """What a cell holds; a date as text, so that it is no number."""
    if isinstance(value, str | bool):
        return value
    return float(value) if isinstance(value, int | float) else str(value)


def _table(sheets: Sequence[tuple[str, dict[int, Row]]], name: str, wanted: Collection[str]) -> RawTable:
    best: tuple[str, dict[int, Row], int, int] | None = None
    for title, rows in sheets:
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
