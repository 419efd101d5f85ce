"""Other people's runs: rows of budget, size, tokens and loss from CSV text."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from isoflop.errors import IsoflopError

COLUMNS = ("budget_flops", "n_params", "n_tokens", "loss")
# Of a vocabulary of e^1000 tokens a uniform guess costs 1000 nats; what is far beyond is no loss per token.
LARGEST_LOSS = 1e6

_COMMAS = "Write decimals with a point and no thousands separators, or quote fields that hold commas."
_LAYOUT = f"The first line names the columns {', '.join(COLUMNS)}, separated by commas; any others are ignored."


class Point(NamedTuple):
    """One run as a fit sees it: planned FLOPs (the grouping key), parameters, training tokens, loss."""

    budget_flops: float
    n_params: float
    n_tokens: float
    loss: float


def parse_points(text: str, *, name: str) -> tuple[Point, ...]:
    """The points of CSV `text` in its order; `name` is the file in errors.

    Budget, parameters and tokens are finite and positive; a loss is finite (normalised losses may be negative) and at
    most 1e6 either way.

    Raises:
        IsoflopError: a column is missing or named twice, no rows, or a value is not such a number.
    """
    points = tuple(_rows(text, name))
    if not points:
        raise IsoflopError(f"{name!r} has a header but no rows.", hint="Add one line per completed run.")
    return points


def names_points(text: str) -> bool:
    """Whether the first line of `text` names at least one column of a table of points."""
    first_line = text.partition("\n")[0]
    return any(column in first_line for column in COLUMNS)


def _rows(text: str, name: str) -> Iterator[Point]:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [column.strip() for column in next(reader, [])]
        indices = _column_indices(header, name)
        for fields in reader:
            place = f"{name!r}, line {reader.line_num}"
            if len(fields) > len(header):
                raise IsoflopError(f"{place}, has {len(fields)} fields for {len(header)} columns.", hint=_COMMAS)
            if any(field.strip() for field in fields):
                yield _point(fields, indices, place=place)
    except csv.Error as error:
        raise IsoflopError(f"{name!r}, line {reader.line_num}, is not CSV: {error}.", hint=_LAYOUT) from None


def _column_indices(header: Sequence[str], name: str) -> tuple[int, ...]:
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        what = "column" if len(missing) == 1 else "columns"
        raise IsoflopError(f"{name!r} lacks the {what} {', '.join(missing)}; it has {', '.join(header)}.", hint=_LAYOUT)
    twice = [column for column in COLUMNS if header.count(column) > 1]
    if twice:
        raise IsoflopError(f"{name!r} names the column {twice[0]} twice.", hint="Rename or remove one of the two.")
    return tuple(header.index(column) for column in COLUMNS)


def _point(fields: Sequence[str], indices: Sequence[int], *, place: str) -> Point:
    texts = [fields[index] if index < len(fields) else "" for index in indices]
    return Point(*(_number(text, column, place) for text, column in zip(texts, COLUMNS, strict=True)))


def _number(text: str, column: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if column == "loss" and math.isfinite(value) and abs(value) > LARGEST_LOSS:
        raise IsoflopError(
            f"{place}: loss = {text.strip()!r} is no loss: it is beyond {LARGEST_LOSS:g}.",
            hint="Give losses in nats (or bits) per token, and leave out runs that diverged.",
        )
    if math.isfinite(value) and (value > 0 or column == "loss"):
        return value
    kind = "finite number" if column == "loss" else "finite positive number"
    raise IsoflopError(
        f"{place}: {column} = {text.strip()!r} is not a {kind}.",
        hint="Leave out runs without a loss, and write numbers like 1.2e18 or 124000000.",
    )
