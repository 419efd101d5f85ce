"""What a panel of valleys shows, whoever draws it: a colour per budget, its parabola, its floor's interval."""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex

from isoflop.fit.intervals import Interval
from isoflop.fit.results.profile import Profile, Vertex
from isoflop.report.fit_tables import VERTEX
from isoflop.units import format_flops

# The last tenth of viridis is too pale for thin lines on white.
_COLORMAP, _PALEST = "viridis", 0.9

# More budgets make a legend that nobody reads.
LEGEND_BUDGETS = 16

_CURVE_POINTS = 60


class HasBudget(Protocol):
    """A run at a budget."""

    @property
    def budget_flops(self) -> float:
        """Planned FLOPs, the grouping key."""
        ...


_Run = TypeVar("_Run", bound=HasBudget)
_Row = TypeVar("_Row")


def by_budget(runs: Iterable[_Run]) -> dict[float, list[_Run]]:
    """The runs of each budget, budgets ascending."""
    groups: dict[float, list[_Run]] = {}
    for run in runs:
        groups.setdefault(run.budget_flops, []).append(run)
    return dict(sorted(groups.items()))


def thinned(rows: Sequence[_Row], most: int) -> Sequence[_Row]:
    """At most `most` of `rows`, evenly chosen."""
    return rows[:: math.ceil(len(rows) / most)] if len(rows) > most else rows


def budget_colors(budgets: Iterable[float]) -> dict[float, str]:
    """A colour (`#rrggbb`) per budget, ascending, from dark to light with log C: near budgets look near."""
    ordered = sorted(set(budgets))
    low, high = math.log10(ordered[0]), math.log10(ordered[-1])
    span = high - low or 1.0
    return {budget: scale_color((math.log10(budget) - low) / span) for budget in ordered}


def scale_color(share: float) -> str:
    """The colour at `share` of the way from the smallest budget (0) to the largest (1)."""
    return to_hex(mpl.colormaps[_COLORMAP](_PALEST * share))


def is_inside(profile: Profile | None) -> bool:
    """Whether the valley has a floor; what has none is drawn hollow and dashed."""
    return profile is not None and profile.vertex is Vertex.INSIDE


def budget_label(budget_flops: float, profile: Profile | None) -> str:
    """`1.00e18`, and why there is no floor where there is none."""
    aside = "" if profile is None or profile.vertex is Vertex.INSIDE else f" ({VERTEX[profile.vertex]})"
    return format_flops(budget_flops) + aside


def parabola(profile: Profile, sizes: Sequence[float]) -> tuple[list[float], list[float]] | None:
    """Parameters and losses along the fitted parabola, between the smallest and the largest of `sizes`."""
    if profile.coefficients is None or profile.x_mean is None:
        return None
    x = np.linspace(math.log10(min(sizes)), math.log10(max(sizes)), _CURVE_POINTS)
    losses = np.polynomial.polynomial.polyval(x - profile.x_mean, profile.coefficients)
    return (10**x).tolist(), losses.tolist()


def shown_interval(profile: Profile, sizes: Sequence[float]) -> Interval | None:
    """The interval of the floor as far as `sizes` reach: one far beyond them must not stretch the panel."""
    if profile.n_opt_ci is None:
        return None
    low, high = (min(max(end, min(sizes)), max(sizes)) for end in profile.n_opt_ci)
    return low, high
