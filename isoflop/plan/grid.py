"""Which sizes each budget trains: evenly spaced in log N around a centre, or a window of one common lattice."""

import math
from dataclasses import dataclass
from itertools import pairwise

from isoflop.plan.shapes import ShapeRule, balanced_shape, buildable, nearest_shape
from isoflop.shape import Shape
from isoflop.spec import SweepSpec

# Tokens per parameter of the first guess (Hoffmann et al. 2022, table 3) where the sweep file gives no centre.
DEFAULT_TOKENS_PER_PARAM = 20.0
# N_opt ~ C^0.5 carries a centre given for the smallest budget to the others (Hoffmann et al. 2022, table 2).
CENTRE_EXPONENT = 0.5

# Beyond the smallest and the largest shape by more than this factor, a size cannot be built.
SIZE_TOLERANCE = 1.1
# Sizes of a lattice closer than this many decades would be the same shape anyway.
FINEST_SPACING = 0.01


@dataclass(frozen=True)
class BudgetGrid:
    """The sizes of one budget.

    Attributes:
        centre: N the grid is centred on.
        shapes: distinct shapes by ascending N.
        unbuildable: sizes asked for outside what the shape rule can build, or that the ladder has no model near.
    """

    budget_flops: float
    centre: float
    shapes: tuple[Shape, ...]
    unbuildable: tuple[float, ...]


def budget_grids(spec: SweepSpec, rule: ShapeRule) -> tuple[BudgetGrid, ...]:
    """One grid per budget, in ascending order of budget."""
    return tuple(
        _grid(rule, budget, centre, wanted)
        for budget, centre, wanted in zip(spec.budgets, _centres(spec, rule), wanted_sizes(spec, rule), strict=True)
    )


def wanted_sizes(spec: SweepSpec, rule: ShapeRule) -> list[list[float]]:
    """N of the sizes that each budget asks for, in ascending order of budget; whether they can be built is open."""
    centres = _centres(spec, rule)
    lattice = _lattice(spec, centres)
    return [_wanted(spec, centre, lattice) for centre in centres]


def _centres(spec: SweepSpec, rule: ShapeRule) -> tuple[float, ...]:
    given = spec.grid.center_n_params
    if given is None:
        ratio = spec.grid.center_tokens_per_param or DEFAULT_TOKENS_PER_PARAM
        return tuple(float(balanced_shape(rule, budget, ratio).n_params(rule.count)) for budget in spec.budgets)
    if len(given) == 1:
        return tuple(given[0] * (budget / spec.budgets[0]) ** CENTRE_EXPONENT for budget in spec.budgets)
    return given


def _lattice(spec: SweepSpec, centres: tuple[float, ...]) -> tuple[float, ...] | None:
    """The list of sizes common to all budgets: the one given, or spaced as a budget's own grid would be."""
    if isinstance(spec.grid.lattice, tuple):
        return tuple(sorted(spec.grid.lattice))
    if not spec.grid.lattice:
        return None
    low = math.log10(min(centres)) - spec.grid.half_width
    high = math.log10(max(centres)) + spec.grid.half_width
    step = max(2 * spec.grid.half_width / max(1, spec.grid.sizes - 1), FINEST_SPACING)
    n_steps = max(1, round((high - low) / step))
    return tuple(10 ** (low + (high - low) * i / n_steps) for i in range(n_steps + 1))


def _wanted(spec: SweepSpec, centre: float, lattice: tuple[float, ...] | None) -> list[float]:
    grid = spec.grid
    if isinstance(grid.lattice, tuple) and lattice is not None:
        return list(lattice)
    if lattice is not None:
        spacing = max(math.log10(b / a) for a, b in pairwise(lattice))
        reach = grid.half_width + spacing / 2  # a window as many sizes wide as asked, wherever the centre falls
        return [size for size in lattice if abs(math.log10(size / centre)) <= reach]
    if grid.sizes == 1:
        return [centre]
    offsets = (2 * i / (grid.sizes - 1) - 1 for i in range(grid.sizes))
    return [centre * 10 ** (grid.half_width * offset) for offset in offsets]


def _grid(rule: ShapeRule, budget: float, centre: float, wanted: list[float]) -> BudgetGrid:
    sizes, _ = buildable(rule)
    if rule.ladder:
        possible = _on_the_ladder(rule, wanted)
    else:
        possible = [size for size in wanted if sizes[0] / SIZE_TOLERANCE <= size <= sizes[-1] * SIZE_TOLERANCE]
    shapes, kept = dict.fromkeys(nearest_shape(rule, size) for size in sorted(possible)), set(possible)
    return BudgetGrid(budget, centre, tuple(shapes), tuple(size for size in wanted if size not in kept))


def _on_the_ladder(rule: ShapeRule, wanted: list[float]) -> list[float]:
    """The sizes that have a model of their own: the nearest to it of all wanted, and within half a gap of the grid."""
    gaps = [math.log(after / before) for before, after in pairwise(sorted(wanted))]
    reach = max(min(gaps, default=0.0) / 2, math.log(SIZE_TOLERANCE))

    def off(size: float) -> float:
        return abs(math.log(nearest_shape(rule, size).n_params(rule.count) / size))

    nearest: dict[int, float] = {}
    for size in sorted(wanted, key=off):
        if off(size) <= reach:
            nearest.setdefault(nearest_shape(rule, size).n_params(rule.count), size)
    return sorted(nearest.values())
