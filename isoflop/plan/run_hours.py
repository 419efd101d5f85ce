"""Device-hours of runs that are not planned yet, by the estimate of those that are."""

from collections.abc import Callable, Iterable

from isoflop.plan.estimate import Timing, guess_seconds, measured_scale
from isoflop.plan.recipe import make_recipe
from isoflop.plan.shapes import nearest_shape, rule_with
from isoflop.shape import LadderModel, Shape
from isoflop.spec import SweepSpec

SECONDS_PER_HOUR = 3600.0

# From a budget, FLOPs, and N to the device-hours of such a run.
RunHours = Callable[[float, float], float]


def run_hours(spec: SweepSpec, like: Shape, timings: Iterable[Timing], *, device_kind: str) -> RunHours:
    """Device-hours of the run of the model nearest to N at a budget; scaled to `timings` of the same device if any.

    `like`: a model of the sweep, whose vocabulary the others share.
    """
    rule = rule_with(spec, like)
    measured = measured_scale(timings, device_kind)
    per_second = (1.0 if measured is None else measured) * spec.devices_per_run / SECONDS_PER_HOUR

    def hours(budget_flops: float, n_params: float) -> float:
        shape = nearest_shape(rule, n_params)
        recipe = None if isinstance(shape, LadderModel) else make_recipe(spec.recipe, shape, budget_flops)
        return per_second * guess_seconds(shape, recipe.n_steps if recipe else None, budget_flops, device_kind)

    return hours
