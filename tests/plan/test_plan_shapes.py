"""The shape that a budget and a ratio ask for, against a scan of all shapes."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isoflop.plan.shapes import ShapeRule, balanced_shape, buildable
from isoflop.shape import ModelShape
from isoflop.spec import ModelSpec


def scanned(rule: ShapeRule, budget_flops: float, tokens_per_param: float) -> ModelShape:
    """The first shape, by N, of those nearest in log(N x FLOPs per token)."""
    sizes, shapes = buildable(rule)
    wanted = math.log(budget_flops / tokens_per_param)
    off = [abs(math.log(n * shape.flops_per_token) - wanted) for n, shape in zip(sizes, shapes, strict=True)]
    return shapes[off.index(min(off))]


RULES = st.builds(
    ShapeRule,
    st.builds(
        ModelSpec,
        context_length=st.sampled_from([32, 128, 2048]),
        aspect_ratio=st.none() | st.sampled_from([8.0, 64.0]),
        head_dim=st.none() | st.sampled_from([16, 128]),
    ),
    st.sampled_from([257, 50304]),
    st.sampled_from(["total", "non_embedding", "matmul"]),
)


@pytest.mark.slow(10)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(rule=RULES, log_budget=st.floats(-2, 30), log_ratio=st.floats(-3, 6))
@example(rule=ShapeRule(ModelSpec(context_length=128), 257, "total"), log_budget=0.0, log_ratio=0.0)
@example(rule=ShapeRule(ModelSpec(context_length=128), 257, "total"), log_budget=30.0, log_ratio=0.0)
def test_the_balanced_shape_is_the_one_that_a_scan_finds(rule: ShapeRule, log_budget: float, log_ratio: float) -> None:
    asked = 10**log_budget, 10**log_ratio
    assert balanced_shape(rule, *asked) == scanned(rule, *asked)


def test_every_shape_is_found_by_its_own_balance_and_between_two_the_nearer_one() -> None:
    rule = ShapeRule(ModelSpec(context_length=128), 257, "total")
    sizes, shapes = buildable(rule)
    own = [float(n * shape.flops_per_token) for n, shape in zip(sizes, shapes, strict=True)]
    between = [math.sqrt(a * b) for a, b in pairwise(own)]
    for budget in (*own[::97], *between[::97]):
        assert balanced_shape(rule, budget, 1.0) == scanned(rule, budget, 1.0)
