"""One law of cost and loss in all that follows from a target: against a search of the surface, written out anew."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from isoflop.decision.decide import decide
from isoflop.decision.overtraining import inference_optimum, smaller_models
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.rows import SIX, TokenCost

LAWS = st.builds(
    SurfaceLaw.of, st.floats(0.5, 3), st.floats(50, 2e3), st.floats(50, 2e3), st.floats(0.25, 0.5), st.floats(0.25, 0.5)
)
COSTS = st.builds(TokenCost, st.floats(1.0, 4.0), st.floats(0.85, 1.1))
BUDGETS = st.floats(17, 25).map(lambda log_c: 10**log_c)
EPOCH = SurfaceLaw.of(1.8172, 482.01, 2085.43, 0.3478, 0.3658)


def flops(cost, n):
    return math.exp(cost.offset) * n**cost.slope


def lowest(law, cost, budget):
    """N, D and loss of the best split of the budget, by search."""
    found = minimize_scalar(
        lambda x: law.loss(math.exp(x), budget / flops(cost, math.exp(x))),
        bounds=(5, 45), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    n = math.exp(found.x)
    return n, budget / flops(cost, n), found.fun


@settings(max_examples=60, deadline=None, derandomize=True)
@given(law=LAWS, cost=COSTS, budget=BUDGETS, factor=st.floats(0.3, 3), loss=st.one_of(st.none(), st.floats(1.0, 5.0)))
def test_a_law_moved_through_a_point_is_lowest_there_with_the_loss_asked_for(law, cost, budget, factor, loss):
    n = factor * lowest(law, cost, budget)[0]
    d = budget / flops(cost, n)
    moved = law.through(n, d, cost, loss)
    best, tokens, least = lowest(moved, cost, budget)
    assert best == pytest.approx(n, rel=1e-3)
    assert tokens == pytest.approx(d, rel=1e-3)
    assert least == pytest.approx(loss if loss is not None else lowest(law, cost, budget)[2])
    assert (moved.alpha, moved.beta) == (law.alpha, law.beta)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(law=LAWS, cost=COSTS, budget=BUDGETS)
def test_smaller_models_cost_what_the_rows_say(law, cost, budget):
    n, _, best = lowest(law, cost, budget)
    for model in smaller_models(law, budget, n, cost):
        assert model.loss_same_budget == pytest.approx(law.loss(model.n_params, budget / flops(cost, model.n_params)))
        if model.n_tokens is not None:
            assert law.loss(model.n_params, model.n_tokens) == pytest.approx(best, rel=1e-6)
            assert model.flops_ratio == pytest.approx(flops(cost, model.n_params) * model.n_tokens / budget)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(law=LAWS, cost=COSTS, budget=BUDGETS, times=st.floats(-3, 3))
def test_the_size_for_a_use_is_the_minimum_that_a_scan_finds_at_any_cost(law, cost, budget, times):
    n, d, best = lowest(law, cost, budget)
    use = d * 10**times
    found = inference_optimum(law, budget, use, cost)
    sizes = n * np.exp(np.linspace(-6, 1, 20_001))
    left = best - math.exp(law.log_e) - math.exp(law.log_a) * sizes**-law.alpha
    with np.errstate(invalid="ignore", divide="ignore"):
        tokens = np.where(left > 0, (math.exp(law.log_b) / left) ** (1 / law.beta), np.inf)
    lifetime = math.exp(cost.offset) * sizes**cost.slope * (tokens + use / 3)
    assert found.lifetime_flops == pytest.approx(lifetime.min(), rel=1e-4)


@pytest.mark.parametrize("cost", [SIX, TokenCost(5.7, 0.85), None], ids=["6 N", "dearer small models", "unknown"])
@pytest.mark.parametrize("loss", [None, 2.4045, 1.2], ids=str)
def test_every_table_of_a_target_says_the_same_of_its_own_size(cost, loss):
    n_opt, budget = 8e9, 1e22
    d_opt = budget / (6 * n_opt if cost in (None, SIX) else 1.03 * flops(cost, n_opt))  # D_opt has its own fit
    decision = decide(
        budget_flops=budget, n_opt=n_opt, d_opt=d_opt, cost=cost, loss=loss, surface=EPOCH, corpus_tokens=d_opt,
        inference_tokens=1.0,
    )  # fmt: skip
    own = decision.smaller[0]
    assert own.n_tokens == pytest.approx(d_opt)
    assert own.flops_ratio == pytest.approx(1)
    if loss is not None:
        assert own.loss_same_budget == pytest.approx(loss)
        assert decision.repeats.loss_fresh == pytest.approx(loss)
    assert decision.inference.n_params == pytest.approx(n_opt, rel=1e-3)
    assert decision.inference.n_tokens == pytest.approx(d_opt, rel=1e-3)
    slope = 1.0 if cost is None else cost.slope
    for built in decision.buildable:
        assert built.flops_per_token * built.n_tokens == pytest.approx(budget)
        if cost is not None:
            assert built.n_tokens == pytest.approx(d_opt * (n_opt / built.n_params) ** slope)
