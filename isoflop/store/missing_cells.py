"""Whether the cells of a sweep are those that its specification lays out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isoflop.plan.grid import budget_grids
from isoflop.plan.shapes import rule_with
from isoflop.plan.types import Role
from isoflop.shape import Shape
from isoflop.spec import SweepSpec
from isoflop.store.cell import EmptyCell, SweepCell, run_cells
from isoflop.store.damage import damaged
from isoflop.units import format_flops


@dataclass
class _Budget:
    """The cells of a budget.

    Attributes:
        seeds: runs of the grid by shape.
        replicates: further seeds by shape.
        n_dropped: sizes that the plan dropped.
    """

    seeds: Counter[Shape] = field(default_factory=Counter)
    replicates: Counter[Shape] = field(default_factory=Counter)
    n_dropped: int = 0

    @property
    def n_sizes(self) -> int:
        """Sizes that were asked for, equal shapes once."""
        return len(self.seeds) + self.n_dropped

    @property
    def shapes(self) -> set[Shape]:
        """Those that are trained."""
        return {*self.seeds, *self.replicates}

    def has_its_seeds(self, spec: SweepSpec) -> bool:
        """Whether each size has the runs it should have."""
        n_more = spec.grid.center_seeds if self.seeds else 0
        return set(self.seeds.values()) <= {spec.grid.seeds} and self.replicates.total() == n_more


def refuse_missing_cells(spec: SweepSpec, cells: Sequence[SweepCell], path: Path) -> None:
    """Nothing, where every budget of the grid has its sizes and its seeds, trained or dropped.

    A grid with a shape that this version would not build there was laid out by another, and is not judged.

    Raises:
        IsoflopError: a budget lacks some, or has some twice.
    """
    budgets = _by_budget(spec, cells)
    most = len(spec.grid.lattice) if isinstance(spec.grid.lattice, tuple) else spec.grid.sizes
    suspects = {flops for flops, budget in budgets.items() if budget.n_sizes < most or not budget.has_its_seeds(spec)}
    # Sizes that come to the same shape are one: fewer than were asked for may be all. Windows of a lattice differ.
    if not suspects and spec.grid.lattice is not True:
        return
    rule = rule_with(spec, cells[0].shape)
    grids = {grid.budget_flops: grid for grid in budget_grids(spec, rule)}
    if any(not budget.shapes <= set(grids[flops].shapes) for flops, budget in budgets.items()):
        return
    for flops, budget in budgets.items():
        n_sizes = len(grids[flops].shapes) + len(grids[flops].unbuildable)
        if budget.n_sizes < n_sizes or not budget.has_its_seeds(spec):
            raise damaged(
                path, f"cells of sweep {spec.name!r} at {format_flops(flops)} FLOPs are missing, or there twice"
            )


def _by_budget(spec: SweepSpec, cells: Sequence[SweepCell]) -> dict[float, _Budget]:
    """The grid by budget; a suggested run that was dropped may count among the sizes of its own."""
    budgets = {flops: _Budget() for flops in spec.budgets}
    for cell in run_cells(cells):
        if cell.role is Role.GRID:
            budgets[cell.budget_flops].seeds[cell.shape] += 1
        elif cell.role is Role.REPLICATE:
            budgets[cell.budget_flops].replicates[cell.shape] += 1
    for dropped in (cell for cell in cells if isinstance(cell, EmptyCell)):
        if dropped.budget_flops in budgets:
            budgets[dropped.budget_flops].n_dropped += 1
    return budgets
