"""Excel workbooks (.xlsx): the values of one sheet, read with Python's own unpacker and parser of XML.

The format is that of ECMA-376, part 1: a ZIP archive whose sheets name their cells and hold numbers as text.
"""

import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple
from xml.parsers import expat

from isoflop.errors import IsoflopError
from isoflop.sources.table.packed import DAMAGE, LARGEST_BYTES, DamagedError, damaged
from isoflop.sources.table.raw import RawTable

WORKBOOK = "xl/workbook.xml"
_KIND = "an Excel workbook"

_CHUNK = 2**16
_CELL = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
# What may stand above the columns' names: a title, notes, blank rows.
_TITLE_ROWS = 20

Value = str | float | bool
Row = dict[int, Value]


class _Event(NamedTuple):
    """A tag that begins or ends, or text between two."""

    kind: Literal["begin", "end", "text"]
    name: str
    attributes: Mapping[str, str]


def read_workbook(archive: zipfile.ZipFile, *, name: str, wanted: Collection[str]) -> RawTable:
    """The table in the first sheet that names one of the columns `wanted`, else in the first that is not empty.

    Formulas count as the values that were saved with them. Rows are counted as Excel does.

    Raises:
        IsoflopError: it is damaged, too large, or has no cells.
    """
    try:
        return _table(_Parts(archive), name, wanted)
    except (KeyError, expat.ExpatError, *DAMAGE) as error:
        why = error if isinstance(error, DAMAGE) else DamagedError("a part of it was cut off or altered")
        raise damaged(name, _KIND, why) from None


class _Parts:
    """The parts of a workbook, all of which together may unpack to `LARGEST_BYTES`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = LARGEST_BYTES

    def __contains__(self, part: str) -> bool:
        return part in self._archive.namelist()

    def events(self, part: str) -> Iterator[_Event]:
        """The tags and texts of a part of XML, in its order.

        Raises:
            KeyError, expat.ExpatError, DAMAGE: there is no such part, it is not XML, or it cannot be unpacked.
        """
        parser, events = expat.ParserCreate(), list[_Event]()
        parser.buffer_text = True
        parser.StartElementHandler = lambda tag, given: events.append(_Event("begin", _local(tag), given))
        parser.EndElementHandler = lambda tag: events.append(_Event("end", _local(tag), {}))
        parser.CharacterDataHandler = lambda text: events.append(_Event("text", text, {}))
        parser.StartDoctypeDeclHandler = _refuse_doctype
        with self._archive.open(part) as stream:
            while chunk := stream.read(_CHUNK):
                self._left -= len(chunk)
                if self._left < 0:
                    raise DamagedError(f"it unpacks to more than {LARGEST_BYTES // 2**20} MiB")
                parser.Parse(chunk, False)
                yield from events
                events.clear()
        parser.Parse(b"", True)
        yield from events


def _local(tag: str) -> str:
    return tag.rpartition(":")[2]


def _refuse_doctype(*_: object) -> None:
    """Raises DamagedError: Excel declares no document types, and entities could grow without end."""
    raise DamagedError("a part of it declares a document type")


def _table(parts: _Parts, name: str, wanted: Collection[str]) -> RawTable:
    strings = list(_shared_strings(parts))
    best: tuple[str, dict[int, Row], int, int] | None = None
    sheets = _sheets(parts)
    for title, part in sheets:
        rows = {number: row for number, row in _rows(parts, part, strings) if row}
        if not rows:
            continue
        number, known = _header_row(rows, wanted)
        if best is None or known > best[3]:
            best = (title, rows, number, known)
        if known:
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
    known = {number: len({str(value).strip() for value in rows[number].values()} & {*wanted}) for number in head}
    best = max(head, key=lambda number: known[number])
    if known[best]:
        return best, known[best]
    return next((number for number in head if len(rows[number]) > 1), head[0]), 0


def _sheets(parts: _Parts) -> list[tuple[str, str]]:
    """Title and part of every sheet of cells, in the workbook's order."""
    places: dict[str, str] = {}
    for event in parts.events("xl/_rels/workbook.xml.rels"):
        target = event.attributes.get("Target", "")
        if event.name == "Relationship" and event.attributes.get("Type", "").endswith("/worksheet"):
            places[event.attributes.get("Id", "")] = target.removeprefix("/") if target[:1] == "/" else f"xl/{target}"
    sheets: list[tuple[str, str]] = []
    for event in parts.events(WORKBOOK):
        if event.kind == "begin" and event.name == "sheet":
            attributes = {_local(key): value for key, value in event.attributes.items()}
            if attributes.get("id") in places:
                sheets.append((attributes.get("name", ""), places[attributes["id"]]))
    return sheets


def _shared_strings(parts: _Parts) -> Iterator[str]:
    """The texts that cells refer to by their number, without the readings of Japanese ones (rPh)."""
    if "xl/sharedStrings.xml" not in parts:
        return
    pieces: list[str] = []
    inside: list[str] = []
    for event in parts.events("xl/sharedStrings.xml"):
        if event.kind == "begin":
            inside.append(event.name)
        elif event.kind == "text":
            if inside and inside[-1] == "t" and "rPh" not in inside:
                pieces.append(event.name)
        else:
            inside.pop()
            if event.name == "si":
                yield "".join(pieces)
                pieces.clear()


def _rows(parts: _Parts, part: str, strings: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """Number and cells of every row of a sheet; cells by their column."""
    number, column = 0, -1
    row: Row = {}
    kind, pieces, takes = "n", list[str](), False
    for event in parts.events(part):
        if event.kind == "text":
            if takes:
                pieces.append(event.name)
        elif event.name in ("v", "t"):
            takes = event.kind == "begin"
        elif event.name == "c" and event.kind == "begin":
            column = _column(event.attributes.get("r"), column + 1)
            kind, pieces = event.attributes.get("t", "n"), []
        elif event.name == "c":
            value = _value(kind, "".join(pieces), strings)
            if value is not None:
                row[column] = value
        elif event.name == "row" and event.kind == "begin":
            number, column, row = _whole(event.attributes.get("r"), number + 1), -1, {}
        elif event.name == "row":
            yield number, row


def _column(reference: str | None, following: int) -> int:
    """The column of a cell: A is 0; `following` where the cell does not say."""
    if reference is None:
        return following
    match = _CELL.fullmatch(reference)
    if match is None:
        raise DamagedError(f"a cell is called {reference[:20]!r}")
    column = 0
    for letter in match[1]:
        column = 26 * column + ord(letter) - ord("A") + 1
    return column - 1


def _whole(text: str | None, absent: int) -> int:
    if text is None:
        return absent
    if not (text.isascii() and text.isdecimal() and len(text) < 8):
        raise DamagedError(f"a row is called {text[:20]!r}")
    return int(text)


def _value(kind: str, text: str, strings: Sequence[str]) -> Value | None:
    """What a cell holds; None for nothing. Kinds are those of ECMA-376, part 1, 18.18.11."""
    if kind == "s":
        index = _whole(text, 0)
        if index >= len(strings):
            raise DamagedError(f"a cell refers to text {index} of {len(strings)}")
        return strings[index] or None
    if kind == "n":
        return _number(text) if text else None
    if kind == "b":
        return text == "1"
    return text or None


def _number(text: str) -> Value:
    try:
        return float(text)
    except ValueError:
        return text
