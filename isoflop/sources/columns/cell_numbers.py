"""Numbers as the cells of a table hold them: plain, with a suffix, or with their thousands apart."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

# Of what a suffix can only mean one thing: `M` is never a thousandth of a parameter.
_POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}
_POWERS_OF_FLOPS = {**_POWERS, "p": 15, "e": 18, "z": 21}
_WRITTEN_OUT = {"thousand": "k", "million": "m", "billion": "b", "trillion": "t"}
_WORDS = {
    "budget_flops": "flops?",
    "n_params": "params?|parameters?",
    "n_tokens": "toks?|tokens?",
}
_DECIMAL = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
# A comma, a blank, a narrow or a fixed one, or an apostrophe between groups of three digits.
_GROUPED = re.compile("[+-]?[0-9]{1,3}(?:([, '\u00a0\u2009\u202f])[0-9]{3})(?:\\1[0-9]{3})*")
_SEPARATORS = str.maketrans("", "", ", '\u00a0\u2009\u202f")


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
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values, dtype=np.float64)
    if kinds == {str} and (found := _plain_numbers([str(value) for value in values])) is not None:
        return found
    return np.fromiter(map(number, values), np.float64, len(values))


def _plain_numbers(texts: Sequence[str]) -> Numbers | None:
    """Each text as `number` reads it, four times as fast; None where that needs a look at every one."""
    together = "".join(texts)
    if not together.isascii() or "_" in together:
        return None
    try:
        return np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None


def counts_of(values: Sequence[object], ours: str) -> Numbers:
    """Each value of a column of counts as `numbers_of` reads it, or as `125M`, `4.5B tokens` or `1,234,567`.

    `12,345` is read only where another cell of the column has two groups or more: alone it may be a decimal comma.
    """
    numbers = numbers_of(values)
    odd = [row for row in np.flatnonzero(np.isnan(numbers)).tolist() if isinstance(values[row], str)]
    if odd:
        texts = {row: str(values[row]).strip() for row in odd}
        grouped = {row: found for row, text in texts.items() if (found := _GROUPED.fullmatch(text))}
        certain = any(len(found.group().translate(_SEPARATORS)) > 6 for found in grouped.values())
        suffixed = _suffixed(ours)
        for row, text in texts.items():
            if row in grouped:
                numbers[row] = float(text.translate(_SEPARATORS)) if certain else math.nan
            else:
                numbers[row] = _scaled(suffixed.fullmatch(text), ours)
    return numbers


def _suffixed(ours: str) -> re.Pattern[str]:
    powers = _POWERS_OF_FLOPS if ours == "budget_flops" else _POWERS
    words = _WORDS.get(ours, "|".join(_WORDS.values()))
    power = rf"(?P<exponent>e[+-]?[0-9]+)|(?P<suffix> ?(?:{'|'.join(_WRITTEN_OUT)}|[{''.join(powers)}]))"
    return re.compile(rf"(?P<number>{_DECIMAL})(?:{power})? ?(?:{words})?", re.IGNORECASE | re.ASCII)


def _scaled(found: re.Match[str] | None, ours: str) -> float:
    """The number as it would be written out: `35.2M` is the float nearest to 35200000."""
    if found is None:
        return math.nan
    suffix = (found["suffix"] or "").strip().lower()
    suffix = _WRITTEN_OUT.get(suffix, suffix)
    return float(found["number"] + (found["exponent"] or f"e{_POWERS_OF_FLOPS[suffix]}"))
