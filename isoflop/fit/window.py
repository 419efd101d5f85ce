"""Which rows lie near enough to their budget's best run to be of one smooth valley."""

import numpy as np

from isoflop.fit.newton import Mask
from isoflop.fit.parabola import Array
from isoflop.fit.rows import Rows

# A grid that reaches farther than this from a budget's best run, decades, holds sizes that bias every estimator:
# on published sweeps a window of 0.6 decades halved the error of extrapolations (docs/fitting.md).
WIDE_REACH = 0.9
# As many rows as a parabola with two degrees of freedom; a narrower window takes the nearest.
FEWEST_IN_WINDOW = 5


def reach(rows: Rows) -> list[float]:
    """How far the sizes of each budget reach from that of its best run, decades."""
    return [float(_from_best(budget).max()) for budget in rows.split()]


def in_window(rows: Rows, decades: float, *, wide: float = WIDE_REACH) -> Mask:
    """(n,): rows within `decades` of the size of their budget's best run, or the 5 nearest to it if these are more.

    Budgets whose sizes reach no farther than `wide` decades from it keep all rows.
    """
    keep = np.ones(len(rows), dtype=bool)
    for part, budget in zip(rows.slices, rows.split(), strict=True):
        distance = _from_best(budget)
        if distance.max() <= wide:
            continue
        near = distance <= decades
        if near.sum() < FEWEST_IN_WINDOW:
            near = np.isin(np.arange(len(budget)), np.argsort(distance, kind="stable")[:FEWEST_IN_WINDOW])
        keep[part] = near
    return keep


def _from_best(budget: Rows) -> Array:
    """Distance (n,) of each row of one budget from the size with the lowest loss, decades."""
    log_n = np.log10(budget.n_params)
    distance: Array = np.abs(log_n - log_n[np.argmin(budget.loss)])
    return distance
