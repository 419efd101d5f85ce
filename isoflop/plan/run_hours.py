"""Device-hours of runs that are not planned yet, by the estimate of those that are."""

from collections.abc import Callable
from dataclasses import dataclass

from isoflop.plan.pace import Pace
from isoflop.plan.recipe import make_recipe
from isoflop.plan.shapes import nearest_shape, rule_with
from isoflop.shape import LadderModel, Shape
from isoflop.spec import SweepSpec

SECONDS_PER_HOUR = 3600.0

# From a budget, FLOPs, and N to the device-hours of such a run.
RunHours = Callable[[float, float], float]


@dataclass(frozen=True)
class _Run:
    shape: Shape
    n_steps: int | None
    planned_flops: float


def run_hours(spec: SweepSpec, like: Shape, pace: Pace, *, devices_per_run: float) -> RunHours:
    """Device-hours of the run of the model nearest to N at a budget, at the `pace` of the sweep's own runs.

    `like`: a model of the sweep, whose vocabulary the others share.
    """
    rule = rule_with(spec, like)

    def hours(budget_flops: float, n_params: float) -> float:
        shape = nearest_shape(rule, n_params)
        recipe = None if isinstance(shape, LadderModel) else make_recipe(spec.recipe, shape, budget_flops)
        time = pace.of(_Run(shape, recipe.n_steps if recipe else None, budget_flops))
        return time.total * devices_per_run / SECONDS_PER_HOUR

    return hours
