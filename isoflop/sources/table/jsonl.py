"""JSON lines: one object per line, whose keys are the columns."""

from collections.abc import Iterator

from isoflop.errors import IsoflopError, why_unparsed
from isoflop.sources.raw_table import RawTable
from isoflop.sources.table.json_values import flat, json_decoder

LAYOUT = 'Write one object per line, such as {"budget_flops": 1e18, "n_params": 1e8, "n_tokens": 2e9, "loss": 2.5}.'


def read_jsonl(text: str, *, name: str) -> RawTable:
    """The table in `text`: a key that a line does not have is None there; blank lines are none.

    Raises:
        IsoflopError: a line is no JSON object or names a key twice.
    """
    lines = list(_lines(text, name))
    rows = flat([row for _, row in lines], name=name) if _is_nested(text, len(lines)) else [row for _, row in lines]
    header = tuple(dict.fromkeys(key for row in rows for key in row))

    def read(index: int) -> list[object]:
        return [row.get(header[index]) for row in rows]

    return RawTable(name, "jsonl", header, read, lambda: [line for line, _ in lines])


def _is_nested(text: str, n_rows: int) -> bool:
    return text.count("{") > n_rows


def _lines(text: str, name: str) -> Iterator[tuple[int, dict[str, object]]]:
    decode = json_decoder().decode
    # Not splitlines: a string of JSON may hold other separators of lines.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        try:
            row = decode(line)
        except (ValueError, RecursionError) as error:
            why = why_unparsed(error, line)
            raise IsoflopError(f"{name!r}, line {number}, is not JSON: {why}.", hint=LAYOUT) from None
        if not isinstance(row, dict):
            raise IsoflopError(f"{name!r}, line {number}, is not a JSON object.", hint=LAYOUT)
        yield number, row
