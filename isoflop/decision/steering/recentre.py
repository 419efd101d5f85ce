"""Whole valleys where a budget's floor was not bracketed, centred where the ridge is expected."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.decision.steering.goal import WantedRun
from isoflop.fit.arrays import Array
from isoflop.fit.design.suggest import VALLEY_OFFSETS, budgets_ahead
from isoflop.fit.estimators.choice import Choice
from isoflop.fit.estimators.parabola import MIN_POINTS, Valley
from isoflop.fit.question import Trainable
from isoflop.fit.results.profile import Vertex
from isoflop.fit.rows import Rows

# With fewer bracketed floors a line through them is tested by nothing.
ENOUGH_FLOORS = 3
# Slopes of log10 N_opt over log10 C that published frontiers have, and what is taken where no two floors tell.
_FLATTEST, _STEEPEST, _USUAL_SLOPE = 0.3, 0.7, 0.5
# Without another budget's floor a valley moves beyond its sizes by what its parabola says, within these bounds in
# decades: a parabola fitted to one flank says little, and half of a new valley should lie beyond the old.
_LEAST_SHIFT, _MOST_SHIFT = 0.4, 0.9
# A size as near to one that the budget has tells nothing new, decades: the sizes of a valley lie 0.2 apart.
_SAME_SIZE = 0.07


@dataclass(frozen=True)
class Recentred:
    """The runs of a valley.

    Attributes:
        budget_flops: its budget.
        runs: sizes that the budget lacks, ascending.
        why: what is wrong with the budget, in words.
    """

    budget_flops: float
    runs: tuple[WantedRun, ...]
    why: str


def recentred_valleys(
    rows: Rows, valleys: Sequence[Valley], choice: Choice | None, trainable: Trainable, below_flops: float
) -> Iterator[Recentred]:
    """A valley for each budget without a floor among its sizes, the cheapest first.

    Those whose sizes cannot be trained, or are there already, are left out; so are budgets from `below_flops` on.
    """
    for valley in valleys:
        if valley.vertex is Vertex.INSIDE or valley.budget_flops >= below_flops:
            continue
        known = np.log10(rows.n_params[rows.budget_flops == valley.budget_flops])
        runs = _new_sizes(valley.budget_flops, _centre(rows, valley, valleys, choice), known, trainable)
        if runs:
            yield Recentred(valley.budget_flops, runs, _WHY[valley.vertex])


def next_valleys(
    rows: Rows, valleys: Sequence[Valley], choice: Choice | None, trainable: Trainable, below_flops: float
) -> Iterator[Recentred]:
    """A valley about the ridge at each of the next budgets that lie below `below_flops` and can be trained."""
    for budget in budgets_ahead(rows.budgets):
        ridge = _ridge(valleys, choice, budget)
        if ridge is not None and budget < below_flops:
            runs = _new_sizes(budget, ridge, np.empty(0), trainable)
            if len(runs) >= MIN_POINTS:
                yield Recentred(budget, runs, "it is the next budget")


_WHY = {
    Vertex.BELOW: "its floor lies below its sizes",
    Vertex.ABOVE: "its floor lies above its sizes",
    Vertex.CONCAVE: "its losses have no minimum",
    Vertex.TOO_FEW: "it has too few runs for a valley",
}


def _new_sizes(budget: float, centre: float, known: Array, trainable: Trainable) -> tuple[WantedRun, ...]:
    """The runs about `centre`, log10 N, whose sizes are not `known`, log10 N."""
    found: dict[float, None] = {}
    for offset in VALLEY_OFFSETS:
        size = trainable(budget, 10 ** (centre + offset))
        if size is None:
            continue
        others = np.append(known, [math.log10(other) for other in found])
        if not len(others) or np.min(np.abs(others - math.log10(size))) > _SAME_SIZE:
            found[size] = None
    return tuple((budget, size) for size in found)


def _centre(rows: Rows, valley: Valley, valleys: Sequence[Valley], choice: Choice | None) -> float:
    """log10 N about which a budget without a floor is tried again."""
    known = np.log10(rows.n_params[rows.budget_flops == valley.budget_flops])
    low, high = float(known.min()), float(known.max())
    ridge = _ridge(valleys, choice, valley.budget_flops)
    side = _side(rows, valley)
    if ridge is not None and not (side < 0 and ridge > low) and not (side > 0 and ridge < high):
        return ridge
    # what the runs of this budget say goes before what others foretell
    floor = valley.on_params.floor.x if valley.on_params and valley.on_params.floor else None
    if side < 0:
        return min(max(low - _MOST_SHIFT if floor is None else floor, low - _MOST_SHIFT), low - _LEAST_SHIFT)
    if side > 0:
        return max(min(high + _MOST_SHIFT if floor is None else floor, high + _MOST_SHIFT), high + _LEAST_SHIFT)
    return ridge if ridge is not None else (low + high) / 2


def _side(rows: Rows, valley: Valley) -> int:
    """-1 where smaller sizes are wanted, 1 where larger ones, 0 where the runs do not say."""
    if valley.vertex is Vertex.BELOW:
        return -1
    if valley.vertex is Vertex.ABOVE:
        return 1
    own = rows.budget_flops == valley.budget_flops
    sizes, losses = rows.n_params[own], rows.loss[own]
    best = sizes[np.argmin(losses)]
    return -1 if best == sizes.min() < sizes.max() else 1 if best == sizes.max() > sizes.min() else 0


def _ridge(valleys: Sequence[Valley], choice: Choice | None, budget_flops: float) -> float | None:
    """log10 N_opt at a budget by the estimate, else by the floors there are; None without a floor."""
    log_c = math.log10(budget_flops)
    if choice is not None and _FLATTEST <= choice.on_params.slope <= _STEEPEST:
        return choice.on_params.at(log_c)[0]
    floors = [(math.log10(valley.budget_flops), valley.floors[0].x) for valley in valleys if valley.floors]
    if not floors:
        return None
    log_cs, log_ns = (np.array(column) for column in zip(*floors, strict=True))
    slope = _USUAL_SLOPE
    if len(floors) > 1:
        slope = float(np.clip(np.polyfit(log_cs, log_ns, 1)[0], _FLATTEST, _STEEPEST))
    nearest = int(np.argmin(np.abs(log_cs - log_c)))
    return float(log_ns[nearest] + slope * (log_c - log_cs[nearest]))
