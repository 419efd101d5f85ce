"""CSV: the first line names the columns."""

import csv
import io
from collections.abc import Iterator
from functools import cache

from isoflop.errors import IsoflopError
from isoflop.sources.table.header import REQUIRED
from isoflop.sources.table.raw import RawTable

_COMMAS = "Write decimals with a point and no thousands separators, or quote fields that hold commas."
_LAYOUT = f"The first line names the columns {', '.join(REQUIRED)}, separated by commas; any others are ignored."


def read_csv(text: str, *, name: str) -> RawTable:
    """The table in `text`; a short row ends in empty fields, a row of blanks is none.

    Raises:
        IsoflopError: a field is endless, or, when columns are read, a row has more fields than there are columns.
    """
    lines = _lines(text, name)
    _, header = next(lines)
    rows = cache(lambda: list(lines))

    def read(index: int) -> list[str]:
        return [fields[index] if index < len(fields) else "" for _, fields in rows()]

    return RawTable(name, "csv", tuple(header), read, lambda: [line for line, _ in rows()])


def _lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of every line that is not blank, the header first."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [column.strip() for column in next(reader, [])]
        yield 1, header
        for fields in reader:
            if len(fields) > len(header):
                place = f"{name!r}, line {reader.line_num}"
                raise IsoflopError(f"{place}, has {len(fields)} fields for {len(header)} columns.", hint=_COMMAS)
            if any(map(str.strip, fields)):
                yield reader.line_num, fields
    except csv.Error:  # the only one that a text, whatever its content, leads to with the reader's own settings
        raise IsoflopError(
            f"{name!r}, line {reader.line_num}, has a field of more than {csv.field_size_limit()} characters.",
            hint=f"Look for a quotation mark that is never closed, there or above. {_LAYOUT}",
        ) from None
