"""What a cell of a table may hold: numbers that can be fitted, texts, and what counts as nothing."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from isoflop.errors import IsoflopError
from isoflop.sources.columns.cell_numbers import Numbers, counts_of, number, numbers_of
from isoflop.sources.columns.expression import FORMULAS
from isoflop.sources.columns.header import REQUIRED
from isoflop.sources.columns.results import is_missing
from isoflop.sources.columns.run_table import RunTable

# Of a vocabulary of e^1000 tokens a uniform guess costs 1000 nats; what is far beyond is no loss per token.
LARGEST_LOSS = 1e6
# Far beyond any count or budget, whatever its unit, and far from where squares end.
SMALLEST, LARGEST = 1e-100, 1e100

_LONGEST_SHOWN = 60
_KINDS = {
    "loss": "finite number",
    **dict.fromkeys(("loss_se", "unique_tokens", "epochs"), "finite number of at least 0"),
    **dict.fromkeys(("budget_flops", "n_params", "n_tokens"), "finite positive number"),
}
_COUNTS = ("budget_flops", "n_params", "n_tokens")
# A counter with a sign and so many further bits shows what goes beyond them as a negative number; -1 is no such.
_BITS = {31: "32-bit", 63: "64-bit"}
_NEGATIVE = re.compile("-[0-9]{1,19}")
_SMALLEST_WRAPPED = 1000


def checked_numbers(table: RunTable) -> dict[str, Numbers]:
    """The columns of numbers by our names, also those that formulas give; NaN where an optional one is missing.

    Raises:
        IsoflopError: the first value that cannot be fitted, with its place.
    """
    columns = {ours: values for ours, values in table.values.items() if ours in _KINDS}
    numbers = {
        ours: counts_of(values, ours) if ours in _COUNTS else numbers_of(values) for ours, values in columns.items()
    }
    _refuse_bad(table, columns, numbers)
    computed = {ours: formula.of(numbers) for ours, formula in table.columns.computed.items()}
    _refuse_bad(table, {ours: values.tolist() for ours, values in computed.items()}, computed)
    return numbers | computed


def _refuse_bad(table: RunTable, columns: Mapping[str, Sequence[object]], numbers: Mapping[str, Numbers]) -> None:
    """Nothing.

    Raises:
        IsoflopError: the first value that cannot be fitted, with its place.
    """
    bad = np.array([_is_bad(ours, numbers[ours], values) for ours, values in columns.items()])
    if bad.any():
        row = int(bad.any(axis=0).argmax())
        ours = list(columns)[int(bad[:, row].argmax())]
        raise _refused(table.place(row), ours, columns[ours][row])


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
    width = _overflowed(value) if ours in FORMULAS else None
    if width is not None:
        return IsoflopError(
            f"{place}: {ours} = {_shown(value)} is not a {_KINDS[ours]}: it looks like a {width} whole number that "
            "overflowed.",
            hint="Write the column again as 64-bit or floating-point numbers, or have it computed where it is lost: "
            f"--column {ours}={FORMULAS[ours]}.",
        )
    return IsoflopError(
        f"{place}: {ours} = {_shown(value)} is not a {_KINDS[ours]}.",
        hint="Correct the line or leave the run out, and write numbers like 1.2e18 or 124000000.",
    )


def _overflowed(value: object) -> str | None:
    """The width of the counter that shows this negative whole number; None of one that no counter shows."""
    whole = str(value).strip().removesuffix(".0")
    if not _NEGATIVE.fullmatch(whole) or int(whole) > -_SMALLEST_WRAPPED:
        return None
    return next((words for bits, words in _BITS.items() if int(whole) >= -(2**bits)), None)


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
