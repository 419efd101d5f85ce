"""Logarithmic axes of matplotlib with our ticks."""

from collections.abc import Callable

from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from isoflop.report.ticks import count_tick, flops_tick, log_ticks


def label_counts(axis: Axis) -> None:
    """Nothing; the axis of parameters or tokens has ticks like `30M`."""
    _label(axis, count_tick)


def label_flops(axis: Axis) -> None:
    """Nothing; the axis of FLOPs has ticks like `3e20`."""
    _label(axis, flops_tick)


def _label(axis: Axis, form: Callable[[float], str]) -> None:
    low, high = axis.get_view_interval()
    axis.set_major_locator(FixedLocator(log_ticks(float(low), float(high))))
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_locator(NullLocator())
