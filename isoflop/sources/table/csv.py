"""CSV and its kin: the first line names the columns, and a sign that is found out separates the fields."""

import csv
import io
from collections.abc import Collection, Iterator
from functools import cache

from isoflop.errors import IsoflopError
from isoflop.sources.columns.header import REQUIRED
from isoflop.sources.columns.known_names import known
from isoflop.sources.raw_table import RawTable
from isoflop.sources.table.decimals import with_points
from isoflop.sources.table.dialect import Layout, is_numeric, is_rule, layout_of
from isoflop.sources.table.encoding import Text

_COMMAS = "Write decimals with a point and no thousands separators, or quote fields that hold commas."
_LAYOUT = f"The first line names the columns {', '.join(REQUIRED)}, separated by commas; any others are ignored."
# Where a comma is the decimal sign, another sign separates the fields.
_OF_DECIMAL_COMMAS = (";", "\t")

Numbered = tuple[int, list[str]]


def read_csv(text: Text, *, name: str, suffix: str, wanted: Collection[str]) -> RawTable | None:
    """The table in `text`; a short row ends in empty fields, a row of blanks is none. None for no table.

    Arguments are as of `read_table`. A text that is not called .csv, or whose encoding is a guess, has to look like a
    table.

    Raises:
        IsoflopError: a field is endless, or, when columns are read, a row has more fields than there are columns.
    """
    layout = layout_of(text.text, suffix=suffix, wanted=wanted)
    if not layout.sure and (suffix not in (".csv", ".tsv") or text.guessed):
        return None
    lines = _Lines(text.text, name, layout)
    if any("\0" in column for column in lines.header):
        return None
    _refuse_numbers(lines.header, name, layout.line, wanted)

    @cache
    def read_all() -> tuple[list[Numbered], tuple[str, ...]]:
        rows = list(lines.rows())
        return with_points(rows) if layout.separator in _OF_DECIMAL_COMMAS else (rows, ())

    def read(index: int) -> list[str]:
        return [fields[index] if index < len(fields) else "" for _, fields in read_all()[0]]

    @cache
    def numbers() -> tuple[int, ...]:
        return tuple(line for line, _ in read_all()[0])

    return RawTable(
        name,
        "csv",
        tuple(lines.header),
        read,
        numbers,
        lambda: (*text.notes, *layout.notes, *read_all()[1], *lines.notes()),
    )


class _Lines:
    """The lines of a table, read once, from its header on.

    Attributes:
        header: the names of the columns.
        left_out: the lines of those that have a field for every column, and begin with #.
    """

    def __init__(self, text: str, name: str, layout: Layout) -> None:
        self._name, self._layout = name, layout
        stream = io.StringIO(text[layout.start :] if layout.start else text, newline="")
        self._reader = csv.reader(stream, delimiter=layout.separator, skipinitialspace=True)
        self.left_out: list[int] = []
        try:
            header = [column.strip() for column in next(self._reader, [])]
        except csv.Error:
            raise self._endless() from None
        self.header = ["", *header] if layout.names_rows else header

    def rows(self) -> Iterator[Numbered]:
        """The number and the fields of every line that is not blank and no comment."""
        reader, columns, strip = self._reader, len(self.header), str.strip
        above, ruled = self._layout.line - 1, self._layout.separator in "| "
        try:
            for fields in reader:
                if len(fields) > columns:
                    self._refuse_more(fields)
                if any(map(strip, fields)) and not (fields[0].startswith("#") and self._is_comment(fields)):
                    if ruled and is_rule(fields):
                        continue
                    yield above + reader.line_num, fields
        except csv.Error:  # the only one that a text, whatever its content, leads to with the reader's own settings
            raise self._endless() from None

    def notes(self) -> tuple[str, ...]:
        """A sentence on the rows that were left out for their first sign."""
        if not self.left_out:
            return ()
        several = len(self.left_out) > 1
        lines = ", ".join(map(str, self.left_out[:3])) + (", ..." if len(self.left_out) > 3 else "")
        what = "Rows that begin with # are comments" if several else "A row that begins with # is a comment"
        return (f"{what} and left out (line{'s' if several else ''} {lines}).",)

    @property
    def _line(self) -> int:
        return self._layout.line - 1 + self._reader.line_num

    def _is_comment(self, fields: list[str]) -> bool:
        """Whether a row that begins with # is none."""
        if len(fields) != len(self.header) or len(fields) == 1:
            return True
        if not self._layout.keeps_signs:
            self.left_out.append(self._line)
        return not self._layout.keeps_signs

    def _refuse_more(self, fields: list[str]) -> None:
        """Raises IsoflopError where a row has more fields than there are columns, and the last are not empty."""
        if fields[0][:1] != "#" and any(map(str.strip, fields[len(self.header) :])):
            place = f"{self._name!r}, line {self._line}"
            said = f"{place}, has {len(fields)} fields for {len(self.header)} columns."
            raise IsoflopError(said, hint=_COMMAS)

    def _endless(self) -> IsoflopError:
        return IsoflopError(
            f"{self._name!r}, line {self._line}, has a field of more than {csv.field_size_limit()} characters.",
            hint=f"Look for a quotation mark that is never closed, there or above. {_LAYOUT}",
        )


def _refuse_numbers(header: list[str], name: str, line: int, wanted: Collection[str]) -> None:
    """Raises IsoflopError where the first line has numbers for names, none of which is looked for."""
    given = [column for column in header if column]
    if len(given) > 1 and all(map(is_numeric, given)) and not known(given, wanted):
        raise IsoflopError(
            f"{name!r}, line {line}, holds numbers where the columns should be named.", hint=f"Add a line. {_LAYOUT}"
        )
