"""What a sweep that grows while it is trained needs for its next plan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from isoflop.engine.dispatch import Dispatcher
from isoflop.plan.types import Extra
from isoflop.spec import SweepSpec
from isoflop.sweep.planning import PlannedSweep


@dataclass(frozen=True)
class Growth:
    """What a sweep that grows while it is trained is planned and trained with.

    Attributes:
        spec, planned: the sweep as it was planned last.
        plan_with: the plan with these runs beside the grid, on the same devices.
        new_engine: an engine like the first, which has ended once it has trained all that it was given.
    """

    spec: SweepSpec
    planned: PlannedSweep
    plan_with: Callable[[Sequence[Extra]], PlannedSweep]
    new_engine: Callable[[], Dispatcher]
