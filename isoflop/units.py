"""Quantities as people write them: `1.2e18` FLOPs, `124M` parameters, `2.5B` tokens, `3m 20s`."""

import math
import re

from isoflop.errors import IsoflopError

_SUFFIX = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12, "p": 1e15}
_QUANTITY = re.compile(r"^\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)\s*([kmbgtp]?)\s*$", re.IGNORECASE)


def parse_quantity(text: str, *, what: str) -> float:
    """The finite positive number that `text` means; `what` names it in the error.

    Raises:
        IsoflopError: not a number, zero, or too large for a float.
    """
    match = _QUANTITY.match(text)
    value = float(match[1]) * _SUFFIX[match[2].lower()] if match else math.nan
    if not (math.isfinite(value) and value > 0):
        raise IsoflopError(
            f"{text!r} is not a usable {what}.",
            hint="Write a positive number such as 1e18, 3.5e20, 124M or 2.5B.",
        )
    return value


def require_positive(value: float, what: str) -> float:
    """`value`, which is a finite positive number; `what` names it in the error.

    Raises:
        IsoflopError: zero, negative, infinite or not a number.
    """
    if not (math.isfinite(value) and value > 0):
        raise IsoflopError(f"{what} is {value:g}.", hint="Give a positive number such as 1e18, 3.5e20 or 2.5e9.")
    return value


def format_flops(flops: float) -> str:
    """FLOPs in scientific notation with three digits: `1e+12` -> `1.00e12`."""
    mantissa, exponent = f"{flops:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def format_count(count: float) -> str:
    """A count of parameters or tokens with three digits and a suffix: `124M`, `2.50B`, `850`."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        # Rounding to three digits must not print 1000k.
        if count >= limit * 0.9995:
            return f"{_three_digits(count / limit)}{suffix}"
    return _three_digits(count)


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def format_seconds(seconds: float) -> str:
    """A duration: `45s`, `3m 20s`, `2h 05m`, `3d 04h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def format_hours(hours: float) -> str:
    """Device-hours with at most three digits below a thousand: `0.0672`, `12.5`, `1250`."""
    return f"{hours:.0f}" if hours >= 99.95 else f"{hours:.3g}"


def format_device_hours(hours: float) -> str:
    """Time of one device: `0.0031 device-hours`, `12.5 device-hours`."""
    shown = f"{hours:.0f}" if hours >= 99.95 else f"{hours:.1f}" if hours >= 9.95 else f"{hours:.2g}"
    return f"{shown} device-hour{'' if shown == '1' else 's'}"


def format_bytes(n_bytes: float) -> str:
    """A size in bytes with a decimal suffix: `12.3 MB`."""
    for limit, suffix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= limit:
            return f"{n_bytes / limit:.1f} {suffix}"
    return f"{n_bytes:.0f} B"


def plural(number: int, noun: str) -> str:
    """A number of things: `1 size`, `3 sizes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
