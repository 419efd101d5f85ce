"""What `plan` hands on: cells, each a budget and a run, and the cells it had to drop."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from isoflop.finding import Finding
from isoflop.run_spec import AnyRun
from isoflop.shape import Shape


class Role(StrEnum):
    """Why a sweep asks for a run. The same run may have different roles in different sweeps."""

    GRID = "grid"
    REPLICATE = "replicate"
    PROBE = "probe"
    CONTROL = "control"
    CONFIRM = "confirm"
    SUGGESTED = "suggested"


@dataclass(frozen=True)
class Cell:
    """A run in its place: the budget (planned FLOPs, the grouping key) and the role.

    Attributes:
        epochs: passes over the training corpus.
    """

    role: Role
    budget_flops: float
    run: AnyRun
    epochs: float


@dataclass(frozen=True)
class Extra:
    """A run that the results so far ask for beside the grid of the sweep file.

    Attributes:
        budget_flops: the budget it belongs to, which the sweep file need not have.
        seed: initial weights and order of the data; another than the grid's where the grid has the size.
        role: `suggested`, or `confirm`.
        run_id: the only run that it may come to: a recipe or a text that makes another of it leaves it out of the plan.
            None for a run that follows the recipe.
    """

    budget_flops: float
    shape: Shape
    seed: int
    role: Role = Role.SUGGESTED
    run_id: str | None = None


class Limit(StrEnum):
    """What keeps a cell from being trained, in words that hold for every cell it keeps."""

    STEPS = "fewer optimizer steps than recipe.min_steps"
    EPOCHS = "more epochs of the corpus than recipe.max_epochs"
    MEMORY = "more memory than the device has"
    WHOLE_STEPS = "no number of whole steps spends the budget"
    SHAPE = "no shape of this size can be built"
    RANKS = "fewer sequences per batch than run.devices_per_run"
    OTHER = "another reason"


@dataclass(frozen=True)
class DroppedCell:
    """A size that was asked for and cannot be trained sensibly.

    Attributes:
        reason: a sentence with the cell's own numbers.
        limit: the kind of reason, to count cells by.
    """

    budget_flops: float
    shape: Shape
    reason: str
    limit: Limit = Limit.OTHER


@dataclass(frozen=True)
class Plan:
    """All that a sweep will train, in order of budget and size."""

    sweep: str
    cells: tuple[Cell, ...]
    dropped: tuple[DroppedCell, ...]
    findings: tuple[Finding, ...]

    @cached_property
    def runs(self) -> Mapping[str, AnyRun]:
        """The distinct runs by id."""
        return {cell.run.run_id: cell.run for cell in self.cells}

    @property
    def budgets(self) -> tuple[float, ...]:
        """Budgets in ascending order, those whose cells were all dropped among them."""
        planned = {cell.budget_flops for cell in self.cells}
        return tuple(sorted(planned | {cell.budget_flops for cell in self.dropped}))

    @property
    def simulated(self) -> bool:
        """Whether no model will be trained."""
        return any(cell.run.trainer == "simulated" for cell in self.cells)

    @property
    def total_flops(self) -> float:
        """FLOPs of the distinct runs."""
        return sum(run.planned_flops for run in self.runs.values())
