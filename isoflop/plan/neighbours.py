"""The buildable shapes on either side of a wanted N, beyond the widths that sweeps train too."""

import math
from bisect import bisect_left
from collections.abc import Iterator
from itertools import product

from isoflop.plan.shapes import (
    FF_RATIO,
    LARGEST_FF_RATIO,
    LARGEST_HEAD_DIM,
    NEAR,
    PROPORTION_WEIGHT,
    SMALLEST_FF_RATIO,
    WIDTHS,
    ShapeRule,
    buildable,
    depths,
    ideal_depth,
    multiples,
)
from isoflop.shape import ModelShape, Shape

# Widths and hidden sizes beyond those of sweeps, up to some 40T parameters: multiples that divide well over devices.
WIDE_STEP, WIDEST = 512, 1 << 17
WIDE = range(WIDTHS[-1][1], WIDEST + 1, WIDE_STEP)
# Widths tried on either side of the one that the rule's own proportions would give.
WIDTHS_TRIED = 6


def neighbours(rule: ShapeRule, n_params: float) -> tuple[Shape | None, Shape | None]:
    """The shape of at most `n_params`, and the one of more, each nearest to it and to the rule's proportions.

    None on a side where nothing can be built.
    """
    shapes = _candidates(rule, n_params)
    below = [shape for shape in shapes if shape.n_params(rule.count) <= n_params]
    above = [shape for shape in shapes if shape.n_params(rule.count) > n_params]

    def off(shape: Shape) -> float:
        return abs(math.log(shape.n_params(rule.count) / n_params)) + PROPORTION_WEIGHT * _off_proportions(rule, shape)

    return min(below, key=off, default=None), min(above, key=off, default=None)


def _candidates(rule: ShapeRule, n_params: float) -> list[Shape]:
    """The sweep's shapes near `n_params`, at least the next on either side; where they end, wider ones."""
    sizes, shapes = buildable(rule)
    low = bisect_left(sizes, n_params * (1 - NEAR))
    high = bisect_left(sizes, n_params * (1 + NEAR))
    found = list(shapes[max(0, low - 1) : high + 1])
    return found if high < len(sizes) or rule.ladder else [*found, *_wide(rule, n_params)]


def _wide(rule: ShapeRule, n_params: float) -> Iterator[ModelShape]:
    def typical(width: int) -> int:
        layers = round(ideal_depth(width, rule.model.aspect_ratio))
        return _shape(rule, width, layers, round(FF_RATIO * width)).n_params(rule.count)

    middle = bisect_left(WIDE, n_params, key=typical)
    for width in WIDE[max(0, middle - WIDTHS_TRIED) : middle + WIDTHS_TRIED]:
        ffs = multiples(WIDE_STEP, SMALLEST_FF_RATIO * width, LARGEST_FF_RATIO * width)
        for layers, d_ff in product(depths(width, rule.model.aspect_ratio), ffs):
            yield _shape(rule, width, layers, d_ff)


def _shape(rule: ShapeRule, width: int, n_layers: int, d_ff: int) -> ModelShape:
    head_dim = rule.model.head_dim or LARGEST_HEAD_DIM
    heads = max(1, round(width / head_dim))
    return ModelShape(n_layers, width, heads, head_dim, d_ff, rule.vocab_size, rule.model.context_length)


def _off_proportions(rule: ShapeRule, shape: Shape) -> float:
    """How far a shape is from the rule's proportions, in logarithms of MLP ratio and depth; a ladder has none."""
    if not isinstance(shape, ModelShape):
        return 0.0
    ff = abs(math.log(shape.d_ff / shape.width / FF_RATIO))
    return ff + abs(math.log(shape.n_layers / ideal_depth(shape.width, rule.model.aspect_ratio)))
