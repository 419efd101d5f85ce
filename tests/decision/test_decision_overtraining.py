"""Smaller models against a brute-force search of the surface, written out anew."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from isoflop.decision.overtraining import inference_optimum, smaller_models, tokens_for_equal_loss
from isoflop.errors import IsoflopError
from isoflop.fit.laws import SurfaceLaw

EPOCH = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)
PRINTED = (1.69, 406.4, 410.7, 0.34, 0.28)
SURFACES = st.tuples(
    st.floats(0.1, 3), st.floats(10, 1e4), st.floats(10, 1e4), st.floats(0.2, 0.6), st.floats(0.2, 0.6)
)
BUDGETS = st.floats(15, 26).map(lambda log_c: 10**log_c)


def loss(coefficients, n, d):
    e, a, b, alpha, beta = coefficients
    return e + a * n**-alpha + b * d**-beta


def lowest(coefficients, budget):
    """N, D and loss of the best split of the budget, by search."""
    found = minimize_scalar(
        lambda x: loss(coefficients, math.exp(x), budget / 6 / math.exp(x)),
        bounds=(-40, 80), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    n = math.exp(found.x)
    return n, budget / 6 / n, found.fun


@settings(max_examples=80, deadline=None, derandomize=True)
@given(coefficients=SURFACES, budget=BUDGETS, factor=st.floats(0.05, 5))
def test_the_tokens_for_equal_loss_reach_it_and_where_there_are_none_no_tokens_would(coefficients, budget, factor):
    n, _, best = lowest(coefficients, budget)
    tokens = tokens_for_equal_loss(SurfaceLaw.of(*coefficients), budget, factor * n)
    if tokens is None:
        assert loss(coefficients, factor * n, 1e100) > best - 1e-9
    else:
        assert loss(coefficients, factor * n, tokens) == pytest.approx(best, rel=1e-7)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(coefficients=SURFACES, budget=BUDGETS)
def test_equal_loss_never_costs_less_than_the_budget_and_more_the_smaller_the_model(coefficients, budget):
    n, _, best = lowest(coefficients, budget)
    models = smaller_models(SurfaceLaw.of(*coefficients), budget, n)
    assert [model.n_params / n for model in models] == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8])
    ratios = [math.inf if model.flops_ratio is None else model.flops_ratio for model in models]
    assert ratios == sorted(ratios)
    assert ratios[0] == pytest.approx(1, rel=1e-5)
    assert models[0].loss_same_budget == pytest.approx(best)
    assert ratios[1] > 1
    losses = [model.loss_same_budget for model in models]
    assert losses == sorted(losses)
    for model in models:
        assert model.loss_same_budget == pytest.approx(loss(coefficients, model.n_params, budget / 6 / model.n_params))
        if model.n_tokens is not None:
            assert model.flops_ratio == pytest.approx(6 * model.n_params * model.n_tokens / budget)


def test_half_of_chinchilla_by_hand():
    # Lowest loss at 5.76e23 FLOPs 1.974441, so 0.157241 above E; 482.01 (36e9)^-0.3478 = 0.102701; the other 0.054540
    # is 2085.43 D^-0.3658 at D = 3.37e12.
    _, model, _, eighth = smaller_models(SurfaceLaw.of(*EPOCH), 5.76e23, 72e9)
    assert model.n_tokens == pytest.approx(3.367e12, rel=0.001)
    assert model.flops_ratio == pytest.approx(1.26, abs=0.01)
    assert eighth.n_tokens is None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(coefficients=SURFACES, budget=BUDGETS, times=st.floats(-4, 4))
def test_the_size_for_a_use_is_the_minimum_that_a_scan_finds(coefficients, budget, times):
    e, a, b, alpha, beta = coefficients
    n_opt, d_opt, best = lowest(coefficients, budget)
    use = d_opt * 10**times
    found = inference_optimum(SurfaceLaw.of(*coefficients), budget, use)

    sizes = n_opt * np.exp(np.linspace(-8, 1, 40_001))
    left = best - e - a * sizes**-alpha
    with np.errstate(invalid="ignore", divide="ignore"):
        tokens = np.where(left > 0, (b / left) ** (1 / beta), np.inf)
    lifetime = 6 * sizes * tokens + 2 * sizes * use
    at = int(lifetime.argmin())
    assert found.lifetime_flops == pytest.approx(lifetime[at], rel=1e-5)
    assert found.n_params == pytest.approx(sizes[at], rel=0.01)
    assert found.lifetime_flops == pytest.approx(6 * found.n_params * found.n_tokens + 2 * found.n_params * use)
    assert found.optimal_lifetime_flops == pytest.approx(budget + 2 * n_opt * use, rel=1e-4)
    assert -1e-9 < found.saved_share < 1


def test_hardly_any_use_leaves_the_compute_optimal_model_and_more_use_makes_it_smaller():
    law = SurfaceLaw.of(*PRINTED)
    n_opt, d_opt, _ = lowest(PRINTED, 1e23)
    found = [inference_optimum(law, 1e23, d_opt * 10.0**power) for power in (-9, -1, 0, 1, 2, 4)]
    assert found[0].n_params == pytest.approx(n_opt, rel=1e-4)
    assert found[0].n_tokens == pytest.approx(d_opt, rel=1e-4)
    sizes = [best.n_params for best in found]
    assert sizes == sorted(sizes, reverse=True)
    assert [best.saved_share for best in found] == sorted(best.saved_share for best in found)


def test_a_13b_model_for_two_trillion_tokens_becomes_the_7b_that_sardana_et_al_give():
    # Sardana et al. 2024, section 1: who would train a 13B model and expects 2T tokens of use saves 1.7e22 FLOPs
    # (17 %) with a 7B model; constants of their appendix A.
    e, a, b, alpha, beta = 1.69, 406.4, 410.7, 0.336, 0.283
    d_opt = (b * beta / (a * alpha * 13e9**-alpha)) ** (1 / beta)
    found = inference_optimum(SurfaceLaw.of(e, a, b, alpha, beta), 6 * 13e9 * d_opt, 2e12)
    assert found.n_params == pytest.approx(7e9, rel=0.01)
    assert found.optimal_lifetime_flops - found.lifetime_flops == pytest.approx(1.7e22, rel=0.01)
    assert found.saved_share == pytest.approx(0.17, abs=0.005)


@pytest.mark.parametrize("use", [0.0, -1.0, float("nan"), float("inf")])
def test_a_use_of_no_tokens_is_refused(use):
    with pytest.raises(IsoflopError, match="The number of inference tokens is"):
        inference_optimum(SurfaceLaw.of(*EPOCH), 1e23, use)


def test_an_optimum_beyond_all_bounds_is_none():
    flat = SurfaceLaw(log_e=0.0, log_a=1.0, log_b=1.0, alpha=1e-4, beta=1.0)
    assert inference_optimum(flat, 1e300, 1e300) is None
