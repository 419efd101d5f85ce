"""The shapes that a factory of the user's own is asked for: spread evenly over the N that a sweep may want.

The rule counts our decoder, the factory builds a model of its own: what its N is, only counting tells.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from isoflop.plan.grid import wanted_sizes
from isoflop.plan.shapes import ShapeRule, buildable, nearest_shape
from isoflop.shape import CountedShape, ModelShape
from isoflop.spec import SweepSpec

# Shapes per decade of N, some ten for the gap between two sizes of the default grid: 7 over 1.3 decades.
PER_DECADE = 30
# Decades below and above the sizes of the grid: the floor may lie beyond, and a confirm run at ten times the largest
# budget wants some three times the largest optimum.
ROOM_BELOW, ROOM_ABOVE = 0.2, 0.6
# The range is moved this often: N of the factory's model over N of ours may differ from end to end.
MOST_ROUNDS = 8

Count = Callable[[Sequence[ModelShape]], Sequence[CountedShape | None]]


def ladder_of_factory(spec: SweepSpec, vocab_size: int, count: Count) -> tuple[CountedShape, ...]:
    """Models of the factory by ascending N, no two of equal N, that cover what the budgets' grids want, if any do.

    `count` says what the factory builds for shapes, None for those that it refuses.
    """
    rule = ShapeRule(spec.model.model_copy(update={"factory": None, "counted": ()}), vocab_size, "total")
    smallest, largest = (math.log10(size) for size in (buildable(rule)[0][0], buildable(rule)[0][-1]))
    low, high = _range(spec, rule)
    known: dict[ModelShape, CountedShape | None] = {}
    ladder: tuple[CountedShape, ...] = ()
    for _ in range(MOST_ROUNDS):
        low, high = max(low, smallest), min(high, largest)
        new = [shape for shape in _spread(rule, low, high) if shape not in known]
        known |= dict(zip(new, count(new), strict=True))
        ladder = _by_size(shape for shape in known.values() if shape is not None)
        if len(ladder) < 2:
            break
        # The total where groups are not known: whoever asks for another N is then told so.
        n_is = spec.fit.params if all(shape.is_grouped for shape in ladder) else "total"
        wanted_low, wanted_high = _range(spec, replace(rule, ladder=ladder, count=n_is))
        short_below = math.log10(ladder[0].n_params(n_is)) - wanted_low
        short_above = wanted_high - math.log10(ladder[-1].n_params(n_is))
        if (short_below <= 0 or low <= smallest) and (short_above <= 0 or high >= largest):
            break
        # N of ours per N of theirs, in decades, so that the range is found in few rounds.
        slope = max(1.0, (high - low) / math.log10(ladder[-1].n_params_total / ladder[0].n_params_total))
        low, high = low - slope * max(0.0, short_below), high + slope * max(0.0, short_above)
    return ladder


def _with_whole_heads(shape: ModelShape) -> ModelShape:
    """The shape with heads that share out the width in even parts, as most modules cut it: at most as many."""
    n_heads = next(number for number in range(shape.n_heads, 0, -1) if shape.width % (2 * number) == 0)
    return replace(shape, n_heads=n_heads, head_dim=shape.width // n_heads)


def _range(spec: SweepSpec, rule: ShapeRule) -> tuple[float, float]:
    """log10 of the smallest and the largest N that the grids want, with room."""
    wanted = [size for sizes in wanted_sizes(spec, rule) for size in sizes]
    return math.log10(min(wanted)) - ROOM_BELOW, math.log10(max(wanted)) + ROOM_ABOVE


def _spread(rule: ShapeRule, low: float, high: float) -> list[ModelShape]:
    """Distinct shapes, at most PER_DECADE of them in a decade; at places that do not depend on the range."""
    places = range(math.floor(low * PER_DECADE), math.ceil(high * PER_DECADE) + 1)
    nearest = (nearest_shape(rule, 10 ** (place / PER_DECADE)) for place in places)
    return list(dict.fromkeys(_with_whole_heads(shape) for shape in nearest if isinstance(shape, ModelShape)))


def _by_size(shapes: Iterable[CountedShape]) -> tuple[CountedShape, ...]:
    """By ascending N; of equal N the first that takes the fewest FLOPs."""
    first: dict[int, CountedShape] = {}
    for shape in sorted(shapes, key=lambda shape: (shape.n_params_total, shape.flops_per_token)):
        first.setdefault(shape.n_params_total, shape)
    return tuple(first.values())
