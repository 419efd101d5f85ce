"""The shapes on either side of a size, against a scan of all and against published models."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.plan.neighbours import WIDEST, neighbours
from isoflop.plan.shapes import NEAR, ShapeRule, buildable
from isoflop.spec import ModelSpec

LARGE = ShapeRule(ModelSpec(context_length=2048), 32_000, "total")
RULES = st.builds(
    ShapeRule,
    st.builds(
        ModelSpec,
        context_length=st.sampled_from([64, 2048]),
        aspect_ratio=st.none() | st.just(64.0),
        head_dim=st.none() | st.just(128),
    ),
    st.sampled_from([257, 50304]),
    st.sampled_from(["total", "non_embedding", "matmul"]),
)


def depth_and_ff_off(shape):
    return abs(math.log(shape.d_ff / shape.width * 3 / 8)) + abs(
        math.log(shape.n_layers / max(2, math.sqrt(shape.width) / 2))
    )


@pytest.mark.slow(8)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(rule=RULES, log_n=st.floats(4.5, 12.5))
def test_one_shape_lies_on_either_side_and_both_are_as_near_as_the_rule_has_them(rule, log_n):
    n_params = 10**log_n
    found = [None if shape is None else shape.n_params(rule.count) for shape in neighbours(rule, n_params)]
    sizes = buildable(rule)[0]
    if n_params > sizes[-1]:
        assert 0.98 * n_params < found[0] <= n_params < found[1] < 1.02 * n_params
        return
    # Better proportions outweigh a few per cent of N, as in `nearest_shape`.
    next_below = max((size for size in sizes if size <= n_params), default=None)
    next_above = min((size for size in sizes if size > n_params), default=math.inf)
    assert (found[0] is None) == (next_below is None)
    assert found[0] is None or min(next_below, (1 - 2 * NEAR) * n_params) <= found[0] <= n_params
    assert n_params < found[1] <= max(next_above, (1 + 2 * NEAR) * n_params)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(log_n=st.floats(7.5, 10.4))
def test_each_is_the_best_on_its_side_of_all_that_sweeps_build(log_n):
    n_params = 10**log_n
    sizes, shapes = buildable(LARGE)

    def off(shape):
        return abs(math.log(shape.n_params_total / n_params)) + 0.05 * depth_and_ff_off(shape)

    near = [shape for n, shape in zip(sizes, shapes, strict=True) if abs(n / n_params - 1) < NEAR]
    for shape, side in zip(neighbours(LARGE, n_params), (-1, 1), strict=True):
        rivals = [off(rival) for rival in near if (rival.n_params_total > n_params) == (side > 0)]
        assert off(shape) <= min(rivals, default=math.inf) + 1e-12


@pytest.mark.parametrize(
    ("n_params", "widths"),
    [(70e9, (8192, 12_288)), (402e9, (16_384, 24_576)), (1e13, (57_344, 90_112))],
    ids=["70B", "402B", "10T"],
)
def test_sizes_beyond_any_sweep_have_shapes_of_the_same_rule(n_params, widths):
    for shape in neighbours(LARGE, n_params):
        assert shape.n_params_total == pytest.approx(n_params, rel=0.03)
        assert widths[0] <= shape.width <= widths[1]
        assert shape.n_layers == pytest.approx(math.sqrt(shape.width) / 2, abs=0.9)
        assert 2.25 <= shape.d_ff / shape.width <= 3.25
        assert shape.n_heads * shape.head_dim == shape.width


def test_nothing_is_smaller_than_the_smallest_shape_and_nothing_larger_than_the_largest():
    smallest = buildable(LARGE)[0][0]
    below, above = neighbours(LARGE, smallest / 2)
    assert below is None
    assert above.n_params_total == smallest
    below, above = neighbours(LARGE, 1e20)
    assert below.width == WIDEST
    assert above is None


@pytest.mark.parametrize("n_params", [1e8, 70e9, 2e12], ids=["100M", "70B", "2T"])
def test_they_are_found_in_milliseconds(n_params):
    neighbours(LARGE, n_params)  # the list of what sweeps build is made once
    start = time.process_time()
    neighbours(LARGE, n_params)
    assert time.process_time() - start < 0.1
