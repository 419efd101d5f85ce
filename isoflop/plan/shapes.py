"""The shape rule: which decoders can be built, and the one nearest a wanted N.

Depth follows width, so that sizes differ by scale and not by proportions; the hidden size of the MLP takes up
what is left. N is hit to about one per cent (median), to four above 100 thousand parameters, to 15 at 5 thousand.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product, takewhile

from isoflop.shape import LadderModel, ModelShape, ParamCount, Shape
from isoflop.spec import ModelSpec, SweepSpec

# Widths that are offered: (first, last, step).
WIDTHS = (
    (6, 16, 2), (20, 64, 4), (72, 128, 8), (144, 256, 16), (288, 512, 32), (576, 1024, 64), (1152, 8192, 128),
)  # fmt: skip
# (below this width, size of a head): few large heads are cheap, many small ones attend to more.
HEAD_DIMS = ((128, 16), (512, 32), (2048, 64))
LARGEST_HEAD_DIM = 128
# Attention that composes two heads needs two layers (Olsson et al. 2022, arXiv 2209.11895): a kink in the valley.
FEWEST_LAYERS = 2
# Hidden size of the MLP per width: 8/3 gives SwiGLU as many weights as a plain MLP of ratio 4 (Shazeer 2020).
FF_RATIO, SMALLEST_FF_RATIO, LARGEST_FF_RATIO = 8 / 3, 2.25, 3.25
# How much a relative deviation from the proportions weighs against one from the wanted N.
PROPORTION_WEIGHT = 0.05
# Depth is whole: both neighbours of the rule's depth are offered where it is this near half-way.
DEPTH_OVERLAP = 0.3
# Candidates this far (relative) from the wanted N compete.
NEAR = 0.05


@dataclass(frozen=True)
class ShapeRule:
    """What all shapes of a sweep share: the model section, the vocabulary and which parameters N counts.

    Attributes:
        ladder: the models there are, in place of all that follows: of a program, or of a factory of the user's own;
            empty for every shape of our decoder.
    """

    model: ModelSpec
    vocab_size: int
    count: ParamCount
    ladder: tuple[Shape, ...] = ()


def shape_rule(spec: SweepSpec, vocab_size: int) -> ShapeRule:
    """The rule of a sweep whose models have that vocabulary."""
    ladder: tuple[Shape, ...] = tuple(entry.model for entry in spec.ladder if entry.model is not None)
    ladder = spec.model.counted or ladder
    assert ladder or spec.model.factory is None, "sizes of a factory are counted before anything is planned"
    return ShapeRule(spec.model, vocab_size, spec.fit.params, ladder)


def rule_with(spec: SweepSpec, shape: Shape) -> ShapeRule:
    """The rule of a sweep, with the vocabulary of one of its models."""
    return shape_rule(spec, 0 if isinstance(shape, LadderModel) else shape.vocab_size)


def nearest_shape(rule: ShapeRule, n_params: float) -> Shape:
    """The buildable shape whose N is nearest `n_params`, of proportions nearest the rule's."""
    sizes, shapes = buildable(rule)
    low = bisect_left(sizes, n_params * (1 - NEAR))
    high = bisect_left(sizes, n_params * (1 + NEAR))
    near = range(max(0, low - 1), min(len(sizes), high + 1))

    off, logs, at = _off_proportions(rule), _log_sizes(rule), math.log(n_params)
    rough = [abs(logs[index] - at) + PROPORTION_WEIGHT * off[index] for index in near]
    # The difference of two logarithms is not the logarithm of a ratio to the last digit, which decides a tie.
    least = min(rough) + 1e-9
    close = [index for index, score in zip(near, rough, strict=True) if score <= least]
    return shapes[min(close, key=lambda index: abs(math.log(sizes[index] / n_params)) + PROPORTION_WEIGHT * off[index])]


@lru_cache(maxsize=8)
def _log_sizes(rule: ShapeRule) -> tuple[float, ...]:
    return tuple(map(math.log, buildable(rule)[0]))


@lru_cache(maxsize=8)
def _off_proportions(rule: ShapeRule) -> tuple[float, ...]:
    """How far every buildable shape is from the proportions of the rule, in logarithms of MLP ratio and depth."""

    def off(shape: Shape) -> float:
        if not isinstance(shape, ModelShape):
            return 0.0
        ff = abs(math.log(shape.d_ff / shape.width / FF_RATIO))
        return ff + abs(math.log(shape.n_layers / ideal_depth(shape.width, rule.model.aspect_ratio)))

    return tuple(off(shape) for shape in buildable(rule)[1])


def balanced_shape(rule: ShapeRule, budget_flops: float, tokens_per_param: float) -> Shape:
    """The shape for which `budget_flops` buys `tokens_per_param` tokens per parameter."""
    _, shapes = buildable(rule)
    logs, places = _by_flops(rule)
    wanted = math.log(budget_flops / tokens_per_param)
    above = bisect_left(logs, wanted)
    nearest = min(abs(log - wanted) for log in logs[max(0, above - 1) : above + 1])

    def is_nearest(index: int) -> bool:
        return abs(logs[index] - wanted) == nearest

    # Of equally near ones the smallest model.
    equal = chain(takewhile(is_nearest, range(above - 1, -1, -1)), takewhile(is_nearest, range(above, len(logs))))
    return shapes[min(places[index] for index in equal)]


@lru_cache(maxsize=8)
def _by_flops(rule: ShapeRule) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """log(N x FLOPs per token) of every buildable shape in ascending order, and the shape's place among them by N."""
    sizes, shapes = buildable(rule)
    logs = [math.log(size * shape.flops_per_token) for size, shape in zip(sizes, shapes, strict=True)]
    places = sorted(range(len(logs)), key=logs.__getitem__)
    return tuple(logs[place] for place in places), tuple(places)


@lru_cache(maxsize=8)
def buildable(rule: ShapeRule) -> tuple[tuple[int, ...], tuple[Shape, ...]]:
    """Every buildable shape, and its N, both in ascending order of N."""
    shapes: list[Shape] = sorted(rule.ladder or _shapes(rule), key=lambda shape: shape.n_params(rule.count))
    return tuple(shape.n_params(rule.count) for shape in shapes), tuple(shapes)


def _shapes(rule: ShapeRule) -> Iterator[ModelShape]:
    for width, step in _widths():
        head_dim = rule.model.head_dim or next((dim for limit, dim in HEAD_DIMS if width < limit), LARGEST_HEAD_DIM)
        ffs = multiples(step, SMALLEST_FF_RATIO * width, LARGEST_FF_RATIO * width)
        for n_layers, d_ff in product(depths(width, rule.model.aspect_ratio), ffs):
            yield ModelShape(
                n_layers=n_layers,
                width=width,
                n_heads=max(1, round(width / head_dim)),
                head_dim=head_dim,
                d_ff=d_ff,
                vocab_size=rule.vocab_size,
                context_length=rule.model.context_length,
            )


def ideal_depth(width: int, aspect_ratio: float | None) -> float:
    """Layers for a width: 2 at 16, 4 at 64, 8 at 256, 16 at 1024, unless a fixed ratio is asked for."""
    return max(FEWEST_LAYERS, width / (aspect_ratio or 2 * math.sqrt(width)))


def depths(width: int, aspect_ratio: float | None) -> list[int]:
    """The whole depths near the rule's for a width."""
    ideal = ideal_depth(width, aspect_ratio)
    return sorted({round(ideal - DEPTH_OVERLAP), round(ideal + DEPTH_OVERLAP)} - {FEWEST_LAYERS - 1})


def _widths() -> Iterator[tuple[int, int]]:
    for first, last, step in WIDTHS:
        yield from ((width, step) for width in range(first, last + 1, step))


def multiples(step: int, low: float, high: float) -> range:
    """The multiples of `step` from `low` to `high`."""
    return range(math.ceil(low / step) * step, int(high) + 1, step)
