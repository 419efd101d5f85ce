"""What a cell of a table may hold: numbers that can be fitted, texts, and what counts as nothing."""

import json
import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from isoflop.errors import IsoflopError
from isoflop.sources.table.header import REQUIRED
from isoflop.sources.table.raw import RunTable

# Of a vocabulary of e^1000 tokens a uniform guess costs 1000 nats; what is far beyond is no loss per token.
LARGEST_LOSS = 1e6
# Far beyond any count or budget, whatever its unit, and far from where squares end.
SMALLEST, LARGEST = 1e-100, 1e100

_LONGEST_SHOWN = 60
_KINDS = {
    "loss": "finite number",
    "loss_se": "finite number of at least 0",
    **dict.fromkeys(("budget_flops", "n_params", "n_tokens"), "finite positive number"),
}

Numbers = npt.NDArray[np.float64]


def number(value: object) -> float:
    """The number that `value` is, also as text; NaN for anything else.

    True and false, lists, `1_000` and digits of other scripts are no numbers.
    """
    try:
        if isinstance(value, str):
            return float(value) if value.isascii() and "_" not in value else math.nan
        return float(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else math.nan
    except ValueError:
        return math.nan
    except OverflowError:  # a whole number of more digits than a float has room for
        return math.inf


def numbers_of(values: Sequence[object]) -> Numbers:
    """Each value as `number` reads it."""
    if set(map(type, values)) == {float}:
        return np.array(values, dtype=np.float64)
    return np.fromiter(map(number, values), np.float64, len(values))


def is_missing(value: object) -> bool:
    """Whether an optional cell says nothing: it is empty, null or NaN."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan")
    return value is None or (isinstance(value, float) and math.isnan(value))


def checked_numbers(table: RunTable) -> dict[str, Numbers]:
    """The columns of numbers, by our names of them; NaN where an optional one is missing.

    Raises:
        IsoflopError: the first value that cannot be fitted, with its place.
    """
    columns = {ours: values for ours, values in table.values.items() if ours in _KINDS}
    numbers = {ours: numbers_of(values) for ours, values in columns.items()}
    bad = np.array([_is_bad(ours, numbers[ours], values) for ours, values in columns.items()])
    if bad.any():
        row = int(bad.any(axis=0).argmax())
        ours = list(columns)[int(bad[:, row].argmax())]
        raise _refused(table.place(row), ours, columns[ours][row])
    return numbers


def texts(table: RunTable, ours: str) -> list[str | None]:
    """Each value of the column as text, numbers too; None where it is missing. Empty where there is no such column.

    Raises:
        IsoflopError: the first value that is neither, with its place.
    """
    values = table.values.get(ours, ())
    found = [None if is_missing(value) else _text(value) for value in values]
    for row in (row for row, text in enumerate(found) if text == ""):
        raise IsoflopError(
            f"{table.place(row)}: {ours} = {_shown(values[row])} is neither text nor a number.",
            hint="Leave the field empty where the value is not known.",
        )
    return found


def _is_bad(ours: str, numbers: Numbers, values: Sequence[object]) -> npt.NDArray[np.bool_]:
    finite = np.isfinite(numbers)
    if ours == "loss":
        return ~(finite & (np.abs(numbers) <= LARGEST_LOSS))
    bad: npt.NDArray[np.bool_] = ~(finite & (numbers >= SMALLEST) & (numbers <= LARGEST))
    if ours in REQUIRED:
        return bad
    bad &= numbers != 0
    bad[bad] = [not is_missing(values[row]) for row in np.flatnonzero(bad).tolist()]
    return bad


def _refused(place: str, ours: str, value: object) -> IsoflopError:
    if ours == "loss" and math.isfinite(number(value)):
        return IsoflopError(
            f"{place}: loss = {_shown(value)} is beyond ±{LARGEST_LOSS:g}, so it cannot be a loss per token.",
            hint="Give losses in nats (or bits) per token, and leave out runs that diverged.",
        )
    if math.isfinite(number(value)) and number(value) > 0:
        return IsoflopError(
            f"{place}: {ours} = {_shown(value)} is not between {SMALLEST:g} and {LARGEST:g}.",
            hint="Correct the line or leave the run out.",
        )
    return IsoflopError(
        f"{place}: {ours} = {_shown(value)} is not a {_KINDS[ours]}.",
        hint="Correct the line or leave the run out, and write numbers like 1.2e18 or 124000000.",
    )


def _text(value: object) -> str:
    """The value as text, whole numbers without a point; empty for what is no value of a table."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return ""
    return str(value).strip()


def _shown(value: object) -> str:
    shown = repr(value.strip()) if isinstance(value, str) else json.dumps(value, default=str)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
