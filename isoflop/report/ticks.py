"""Ticks of logarithmic axes that read as people say the numbers: `30M`, `1e20`."""

import math
import re
from collections.abc import Callable

from isoflop.wording import count

# Few enough to stay apart on a panel of half the figure's width.
MAX_TICKS = 7

# Tried from dense to sparse; sparser than one per decade, whole decades are skipped.
_FINE = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
_MANTISSAS = ((1, 2, 5), (1, 3), (1,))

# Beyond it, a float cannot hold nine times the power of ten.
_LAST_DECADE = 307


def count_tick(value: float) -> str:
    """A round number of parameters or tokens: `30M`, `1.5B`."""
    return re.sub(r"\.(?=\D|$)", "", re.sub(r"(\.\d*?)0+(?=\D|$)", r"\1", count(value)))


def flops_tick(flops: float) -> str:
    """A round number of FLOPs: `3e20`, `1.5e21`."""
    return f"{flops:.1e}".replace(".0e", "e").replace("e+", "e").replace("e0", "e")


def tick_choices(low: float, high: float, form: Callable[[float], str]) -> list[list[tuple[float, str]]]:
    """Ticks with their labels from well below `low` to well above `high`, both positive, from dense to sparse.

    For axes whose range changes: the densest choice of which few enough are in view is the one to show.
    """
    first = max(math.floor(math.log10(low)) - 1, -_LAST_DECADE)
    last = min(math.ceil(math.log10(high)) + 1, _LAST_DECADE)
    choices = [(mantissas, 1) for mantissas in (_FINE, *_MANTISSAS)] + [((1,), step) for step in (2, 5, 20)]
    return [
        [(tick := m * 10.0**decade, form(tick)) for decade in range(first, last + 1, step) for m in mantissas]
        for mantissas, step in choices
    ]


def log_ticks(low: float, high: float) -> list[float]:
    """At most `MAX_TICKS` round numbers between `low` and `high`, both positive."""
    decades = range(math.floor(math.log10(low)), min(math.ceil(math.log10(high)), _LAST_DECADE) + 1)
    ticks: list[float] = []
    for mantissas in _MANTISSAS:
        ticks = [m * 10.0**decade for decade in decades for m in mantissas if low <= m * 10.0**decade <= high]
        if len(ticks) <= MAX_TICKS:
            return ticks
    return ticks[:: math.ceil(len(ticks) / MAX_TICKS)]
