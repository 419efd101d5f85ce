"""JSON that is one document, indented or not: told from JSON lines, and read in the shape that it has."""

import json
import re
from collections.abc import Collection

from isoflop.errors import IsoflopError, why_unparsed
from isoflop.sources.raw_table import RawTable
from isoflop.sources.table.json_shapes import Grid, grid_of, is_one_run
from isoflop.sources.table.json_values import json_decoder
from isoflop.sources.table.jsonl import LAYOUT, read_jsonl

_SUFFIXES = (".json", ".jsonl", ".ndjson")
_OF_LINES = (".jsonl", ".ndjson")
_BEGINNING = re.compile(r'\s*(\{|\[\s*([\[{\]"\d-]|$))')
# A CSV file's own header may begin with a bracket.
_BEGINNING_DESPITE_CSV = re.compile(r'\s*(\{\s*"|\[\s*\{)')
_SPACE = re.compile(r"\s*")


def is_json(text: str, suffix: str) -> bool:
    """Whether `text`, of a file with that ending, is to be read as JSON."""
    if suffix in _SUFFIXES:
        return True
    return (_BEGINNING_DESPITE_CSV if suffix == ".csv" else _BEGINNING).match(text) is not None


def read_json(text: str, *, name: str, suffix: str, wanted: Collection[str]) -> RawTable:
    """The table in `text`: JSON lines, or one document, or several objects one after the other.

    Raises:
        IsoflopError: it is not JSON, names a key twice, or has no shape that is a table.
    """
    if _begins_with_lines(text):
        return read_jsonl(text, name=name)
    try:
        values = _values(text)
    except (ValueError, RecursionError) as error:
        if suffix in _OF_LINES or _looks_like_lines(text):
            return read_jsonl(text, name=name)
        raise _unread(error, text, name) from None
    if len(values) == 1 and is_one_run(values[0], wanted):
        return _one_run(values[0], text, name)
    grid = grid_of(values[0] if len(values) == 1 else values, name=name, wanted=wanted)
    return _table(grid, name)


def _table(grid: Grid, name: str) -> RawTable:
    return RawTable(name, "json", grid.header, grid.read, lambda: range(1, grid.n_rows + 1), lambda: grid.notes)


def _one_run(value: object, text: str, name: str) -> RawTable:
    """The table of one object that is a row itself: JSON lines of one line, however that is broken."""
    if "\n" not in text.strip():
        return read_jsonl(text, name=name)
    return _table(grid_of([value], name=name, wanted=()), name)


def _begins_with_lines(text: str) -> bool:
    """Whether the first line is an object, and other lines follow."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _looks_like_lines(text: str) -> bool:
    lines = [line.strip() for line in text.split("\n")]
    whole = sum(line.startswith("{") and line.endswith("}") for line in lines)
    return whole > 1 and 2 * whole > sum(map(bool, lines))


def _values(text: str) -> list[object]:
    """The values that follow one another in `text`.

    Raises:
        ValueError, RecursionError: as of `json.JSONDecoder.raw_decode`.
    """
    decode = json_decoder().raw_decode
    values: list[object] = []
    position = _after_space(text, 0)
    while position < len(text) or not values:
        value, position = decode(text, position)
        values.append(value)
        position = _after_space(text, position)
    return values


def _after_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _unread(error: ValueError | RecursionError, text: str, name: str) -> IsoflopError:
    if isinstance(error, json.JSONDecodeError):
        line = text.count("\n", 0, error.pos) + 1
        return IsoflopError(f"{name!r}, line {line}, is not JSON: {error.msg} (column {error.colno}).", hint=LAYOUT)
    return IsoflopError(f"{name!r} is not JSON: {why_unparsed(error, text)}.", hint=LAYOUT)
