"""JSON lines: one object per line, whose keys are the columns."""

import json
from collections.abc import Iterator, Sequence

from isoflop.errors import IsoflopError, why_unparsed
from isoflop.sources.table.raw import RawTable

_LAYOUT = 'Write one object per line, such as {"budget_flops": 1e18, "n_params": 1e8, "n_tokens": 2e9, "loss": 2.5}.'


class _KeyTwiceError(ValueError):
    """An object that has a key twice, of which JSON's own reader would keep the last."""


def read_jsonl(text: str, *, name: str) -> RawTable:
    """The table in `text`: a key that a line does not have is None there; blank lines are none.

    Raises:
        IsoflopError: a line is no JSON object or names a key twice.
    """
    lines = list(_lines(text, name))
    header = tuple(dict.fromkeys(key for _, row in lines for key in row))

    def read(index: int) -> list[object]:
        return [row.get(header[index]) for _, row in lines]

    return RawTable(name, "jsonl", header, read, lambda: [line for line, _ in lines])


def _lines(text: str, name: str) -> Iterator[tuple[int, dict[str, object]]]:
    decode = json.JSONDecoder(object_pairs_hook=_object).decode
    # Not splitlines: a string of JSON may hold other separators of lines.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        try:
            row = decode(line)
        except (ValueError, RecursionError) as error:
            why = why_unparsed(error, line)
            raise IsoflopError(f"{name!r}, line {number}, is not JSON: {why}.", hint=_LAYOUT) from None
        if not isinstance(row, dict):
            raise IsoflopError(f"{name!r}, line {number}, is not a JSON object.", hint=_LAYOUT)
        yield number, row


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """The pairs as a dict.

    Raises:
        _KeyTwiceError: a key is there twice.
    """
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _KeyTwiceError(f"it names {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return row
