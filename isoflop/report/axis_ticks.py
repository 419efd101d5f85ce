"""Logarithmic axes with ticks that read as people say the numbers: `30M`, `1e20`."""

import math
import re
from collections.abc import Callable

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from isoflop.report.wording import count

# Few enough to stay apart on a panel of half the figure's width.
MAX_TICKS = 7

# Tried from dense to sparse; sparser than one per decade, whole decades are skipped.
_MANTISSAS = ((1, 2, 5), (1, 3), (1,))


def label_counts(axis: Axis) -> None:
    """Nothing; the axis of parameters or tokens has ticks like `30M`."""
    # Ticks are round: what follows the point is zeros.
    _label(axis, lambda value: re.sub(r"\.0+(?=\D|$)", "", count(value)))


def label_flops(axis: Axis) -> None:
    """Nothing; the axis of FLOPs has ticks like `3e20`."""
    _label(axis, lambda flops: f"{flops:.0e}".replace("e+", "e"))


def _label(axis: Axis, form: Callable[[float], str]) -> None:
    low, high = axis.get_view_interval()
    axis.set_major_locator(FixedLocator(log_ticks(float(low), float(high))))
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float) -> list[float]:
    """At most `MAX_TICKS` round numbers between `low` and `high`, both positive."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for mantissas in _MANTISSAS:
        ticks = [m * 10.0**decade for decade in decades for m in mantissas if low <= m * 10.0**decade <= high]
        if len(ticks) <= MAX_TICKS:
            return ticks
    return ticks[:: math.ceil(len(ticks) / MAX_TICKS)]
