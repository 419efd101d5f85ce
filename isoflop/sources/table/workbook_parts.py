"""The parts of an Excel workbook, read with Python's own unpacker and parser of XML (ECMA-376, part 1)."""

import re
import zipfile
from collections.abc import Sequence
from functools import cache
from xml.parsers import expat

from isoflop.sources.table.packed import DAMAGE, LARGEST_BYTES, DamagedError, damaged

WORKBOOK = "xl/workbook.xml"

_CHUNK = 2**16
_LETTERS = re.compile(r"[A-Z]{1,3}")

Value = str | float | bool
Row = dict[int, Value]


class Parts:
    """The parts of a workbook, all of which together may unpack to `LARGEST_BYTES`."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        self._left = LARGEST_BYTES

    def __contains__(self, part: str) -> bool:
        return part in self._archive.namelist()

    def parse(self, part: str, handlers: "_Handlers") -> None:
        """Give all tags and texts of a part of XML to `handlers`.

        Raises:
            IsoflopError: there is no such part, it is not XML, or it cannot be unpacked.
        """
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = handlers.begin
        parser.EndElementHandler = handlers.end
        parser.CharacterDataHandler = handlers.text
        parser.StartDoctypeDeclHandler = _refuse_doctype
        try:
            self._feed(parser, part)
        except (expat.ExpatError, *DAMAGE) as error:
            why = error if isinstance(error, DAMAGE) else DamagedError("a part of it was cut off or altered")
            raise damaged(self._name, "an Excel workbook", why) from None

    def _feed(self, parser: expat.XMLParserType, part: str) -> None:
        """Parse a part.

        Raises:
            expat.ExpatError, *DAMAGE: as `parse` says.
        """
        if part not in self:
            raise DamagedError(f"it lacks {part[:40]!r}")
        with self._archive.open(part) as stream:
            while chunk := stream.read(_CHUNK):
                self._left -= len(chunk)
                if self._left < 0:
                    raise DamagedError(f"it unpacks to more than {LARGEST_BYTES // 2**20} MiB")
                parser.Parse(chunk, False)
        parser.Parse(b"", True)


class _Handlers:
    """What is done at a tag that begins, at one that ends, and with text between two; here nothing."""

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        """A tag begins."""

    def end(self, tag: str) -> None:
        """A tag ends."""

    def text(self, text: str) -> None:
        """Text, which may come in pieces."""


def _local(tag: str) -> str:
    """A name without the prefix of its namespace."""
    return tag.rpartition(":")[2] if ":" in tag else tag


def _refuse_doctype(*_: object) -> None:
    """Raises DamagedError: Excel declares no document types, and entities could grow without end."""
    raise DamagedError("a part of it declares a document type")


class _Tags(_Handlers):
    """The attributes of every tag of one name; those of attributes without their prefixes."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.found: list[dict[str, str]] = []

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        """Keep the attributes."""
        if _local(tag) == self._tag:
            self.found.append({_local(key): value for key, value in attributes.items()})


def sheets_of(parts: Parts) -> list[tuple[str, str]]:
    """Title and part of every sheet of cells, in the workbook's order."""
    relations, named = _Tags("Relationship"), _Tags("sheet")
    parts.parse("xl/_rels/workbook.xml.rels", relations)
    parts.parse(WORKBOOK, named)
    places = {
        relation.get("Id"): relation.get("Target", "")
        for relation in relations.found
        if relation.get("Type", "").endswith("/worksheet")
    }
    found = [(sheet.get("name", ""), places[sheet.get("id")]) for sheet in named.found if sheet.get("id") in places]
    return [(title, place[1:] if place.startswith("/") else f"xl/{place}") for title, place in found]


class _Strings(_Handlers):
    """The texts that cells refer to by their number, without the readings of Japanese ones (rPh)."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._pieces: list[str] = []
        self._inside: list[str] = []

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        """Note where we are."""
        self._inside.append(_local(tag))

    def end(self, tag: str) -> None:
        """Join the pieces of a text that ends."""
        if self._inside.pop() == "si":
            self.found.append("".join(self._pieces))
            self._pieces = []

    def text(self, text: str) -> None:
        """Keep a piece of a text."""
        if self._inside[-1] == "t" and "rPh" not in self._inside:
            self._pieces.append(text)


def shared_strings(parts: Parts) -> list[str]:
    """The texts that cells refer to by their number."""
    strings = _Strings()
    if "xl/sharedStrings.xml" in parts:
        parts.parse("xl/sharedStrings.xml", strings)
    return strings.found


class _Cells(_Handlers):
    """The rows of a sheet that have cells, by their number; cells by their column."""

    def __init__(self, strings: Sequence[str]) -> None:
        self.rows: dict[int, Row] = {}
        self._strings = strings
        self._number, self._column = 0, -1
        self._row: Row = {}
        self._kind = "n"
        self._pieces: list[str] = []
        self._takes = False

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        """Note which row or cell begins."""
        tag = _local(tag)
        if tag == "c":
            self._column = _column(attributes.get("r"), self._column + 1)
            self._kind, self._pieces = attributes.get("t", "n"), []
        elif tag in ("v", "t"):
            self._takes = True
        elif tag == "row":
            self._number, self._column, self._row = _whole(attributes.get("r"), self._number + 1), -1, {}

    def end(self, tag: str) -> None:
        """Keep the cell or row that ends."""
        tag = _local(tag)
        if tag in ("v", "t"):
            self._takes = False
        elif tag == "c":
            value = _value(self._kind, "".join(self._pieces), self._strings)
            if value is not None:
                self._row[self._column] = value
        elif tag == "row" and self._row:
            self.rows[self._number] = self._row

    def text(self, text: str) -> None:
        """Keep a piece of a cell's value."""
        if self._takes:
            self._pieces.append(text)


def rows_of(parts: Parts, part: str, strings: Sequence[str]) -> dict[int, Row]:
    """The rows of a sheet that have cells, by their number; cells by their column, of which A is 0."""
    cells = _Cells(strings)
    parts.parse(part, cells)
    return cells.rows


def _column(reference: str | None, following: int) -> int:
    """The column of a cell: A is 0; `following` where the cell does not say."""
    if reference is None:
        return following
    return _column_of_letters(reference.rstrip("0123456789"))


@cache
def _column_of_letters(letters: str) -> int:
    if not _LETTERS.fullmatch(letters):
        raise DamagedError(f"a cell is called {letters[:20]!r}")
    column = 0
    for letter in letters:
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
