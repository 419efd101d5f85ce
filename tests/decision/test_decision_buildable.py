"""Shapes for a target: parameters, tokens and rates counted by hand."""

import math
import time

import pytest

from isoflop.decision.buildable import buildable_around, family_of, family_sentences
from isoflop.spec import SweepSpec, parse_spec

SWEEP = parse_spec({"name": "s", "budgets": [1e11, 1e12], "model": {"context_length": 64}}, source="s.toml")
TARGETS = [(SWEEP, 1e13, 3e5), (SWEEP, 1e16, 1e7), (None, 1e21, 1e9), (None, 1e25, 70e9), (None, 3.8e25, 402e9)]
IDS = ["sweep, near", "sweep, far", "1B", "70B", "402B"]


def counted(shape, convention):
    """Parameters of an untied SwiGLU decoder with QK-norm."""
    attention = 4 * shape.width * shape.n_heads * shape.head_dim
    norms = 2 * shape.width + 2 * shape.head_dim
    body = shape.n_layers * (attention + 3 * shape.width * shape.d_ff + norms) + shape.width
    return body + {"non_embedding": 0, "matmul": 1, "total": 2}[convention] * shape.vocab_size * shape.width


def flops(shape):
    """Training FLOPs per token: 6 per weight of a matrix product, 12 T per layer and attended feature."""
    inner = shape.n_heads * shape.head_dim
    weights = shape.n_layers * (4 * shape.width * inner + 3 * shape.width * shape.d_ff) + shape.vocab_size * shape.width
    return 6 * weights + 12 * shape.n_layers * shape.context_length * inner


@pytest.mark.parametrize("convention", ["total", "non_embedding", "matmul"])
@pytest.mark.parametrize(("spec", "budget", "n_opt"), TARGETS, ids=IDS)
def test_two_shapes_enclose_the_optimum_and_spend_the_budget(spec, budget, n_opt, convention):
    below, above = buildable_around(family_of(spec, convention), budget, n_opt)
    assert 0.95 * n_opt < below.n_params <= n_opt < above.n_params < 1.05 * n_opt
    for built in (below, above):
        assert built.n_params == counted(built.shape, convention)
        assert built.n_tokens == pytest.approx(budget / flops(built.shape), rel=1e-12)
        assert built.tokens_per_param == pytest.approx(built.n_tokens / built.n_params)
        assert built.relative_to_optimum == pytest.approx(built.n_params / n_opt)


@pytest.mark.parametrize(("spec", "budget", "n_opt"), TARGETS, ids=IDS)
def test_steps_batch_and_rates_follow_the_recipe(spec, budget, n_opt):
    for built in buildable_around(family_of(spec, "total"), budget, n_opt):
        trained = built.recipe.n_steps * built.batch_tokens
        assert trained * flops(built.shape) == pytest.approx(budget, rel=0.005)
        ruled = 192 * (built.n_tokens / 1e6) ** 0.4
        assert built.batch_tokens == pytest.approx(ruled, rel=0.1, abs=1.5 * built.shape.context_length)
        assert built.learning_rate == pytest.approx(0.007 * math.sqrt(built.batch_tokens / 192))
        hidden = 32 / built.shape.width * math.sqrt(2 / built.shape.n_layers)
        assert built.hidden_learning_rate == pytest.approx(built.learning_rate * hidden)


def test_shapes_have_the_vocabulary_of_the_runs_that_were_trained():
    for built in buildable_around(family_of(SWEEP, "total", vocab_size=4096), 1e13, 1e6):
        assert built.shape.vocab_size == 4096
        assert built.n_params == counted(built.shape, "total")


def test_a_sweep_gives_its_context_its_vocabulary_and_its_recipe():
    spec = SweepSpec.model_validate({**SWEEP.model_dump(), "recipe": {"learning_rate": 0.001}})
    for built in buildable_around(family_of(spec, "total"), 1e13, 1e6):
        assert (built.shape.context_length, built.shape.vocab_size) == (64, 257)
        assert built.learning_rate == pytest.approx(0.001 * math.sqrt(built.batch_tokens / 192))


def test_without_a_sweep_the_family_is_said_to_be_a_default():
    family = family_of(None, "total")
    built, sentences = buildable_around(family, 1e25, 70e9)[0], family_sentences(family, 1e25)
    assert (built.shape.context_length, built.shape.vocab_size) == (2048, 32_000)
    assert "context of 2048 tokens and a vocabulary of 32000" in sentences[0]
    assert "12.7 decades beyond the budgets it was tuned at (2.00e12 FLOPs)" in sentences[1]


@pytest.mark.parametrize(("budget", "said"), [(1e13, False), (1.1e13, True), (1e11, False)])
def test_a_recipe_read_more_than_a_decade_beyond_its_sweep_is_said_to_be(budget, said):
    sentences = family_sentences(family_of(SWEEP, "total"), budget)
    assert ["decades beyond its largest budget (1.00e12 FLOPs)" in sentence for sentence in sentences] == [True] * said


def test_a_budget_too_small_for_whole_steps_has_tokens_and_no_recipe():
    built = buildable_around(family_of(None, "total"), 1e12, 1e9)[0]
    assert built.n_tokens == pytest.approx(1e12 / flops(built.shape))
    assert built.recipe is built.batch_tokens is built.learning_rate is built.hidden_learning_rate is None


def test_a_target_of_1e25_flops_takes_milliseconds():
    family = family_of(None, "total")
    buildable_around(family, 1e25, 200e9)
    start = time.process_time()
    buildable_around(family, 1e25, 201e9)
    assert time.process_time() - start < 0.1
