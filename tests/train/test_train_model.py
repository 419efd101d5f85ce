"""The decoder: causal, rotary, initialised as muP asks; and the schedule of its rates."""

from itertools import pairwise

import pytest
import torch

from isoflop.run_spec import ScheduleSpec
from isoflop.shape import ModelShape
from isoflop.train.model import Decoder, build_model, rotary_tables, rotate
from isoflop.train.optimizer import build_optimizer
from isoflop.train.schedule import rate_factor
from tests.run_examples import OPTIMIZER


def shape_of(width: int, n_layers: int) -> ModelShape:
    return ModelShape(
        n_layers=n_layers,
        width=width,
        n_heads=max(1, width // 16),
        head_dim=16,
        d_ff=width * 8 // 3 // 8 * 8,
        vocab_size=257,
        context_length=32,
    )


def random_head(model: Decoder) -> Decoder:
    torch.nn.init.normal_(model.lm_head.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    return model


def test_no_token_sees_a_later_one() -> None:
    model = random_head(build_model(shape_of(32, 2), seed=0))
    tokens = torch.randint(0, 257, (2, 32), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 257
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    cos, sin = rotary_tables(64, 16)
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0)).unbind()
    rotated_q = rotate(q.expand(1, 1, 64, 16), cos, sin)[0, 0]
    rotated_k = rotate(k.expand(1, 1, 64, 16), cos, sin)[0, 0]
    assert torch.allclose(rotated_q.norm(dim=-1), q.norm().expand(64), atol=1e-5)
    scores = rotated_q @ rotated_k.T
    assert scores[10, 3] == pytest.approx(float(scores[50, 43]), abs=1e-4)
    assert scores[10, 3] != pytest.approx(float(scores[10, 4]), abs=1e-3)


def test_attention_equals_the_formula() -> None:
    """softmax(Q K^T / sqrt(d_k)) V, written out."""
    shape = shape_of(32, 2)
    attention = build_model(shape, seed=0).layers[0].self_attn
    x = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    cos, sin = rotary_tables(32, 16)
    heads = (1, 32, 2, 16)
    q = rotate(attention.q_norm(attention.q_proj(x).view(heads)).transpose(1, 2), cos, sin)
    k = rotate(attention.k_norm(attention.k_proj(x).view(heads)).transpose(1, 2), cos, sin)
    v = attention.v_proj(x).view(heads).transpose(1, 2)
    scores = (q @ k.transpose(2, 3)) / 16**0.5
    scores = scores.masked_fill(torch.ones(32, 32, dtype=torch.bool).triu(1), float("-inf"))
    expected = attention.o_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(1, 32, 32))
    assert torch.allclose(attention(x, cos, sin), expected, atol=1e-5)


def test_initial_weights_follow_mup_and_the_seed() -> None:
    shape = shape_of(128, 8)
    model = build_model(shape, seed=0)
    named = dict(model.named_parameters())

    def std(name: str) -> float:
        return float(named[name].detach().std())

    assert torch.count_nonzero(named["lm_head.weight"]) == 0
    assert std("embed_tokens.weight") == pytest.approx(1, rel=0.02)
    assert std("layers.3.self_attn.q_proj.weight") == pytest.approx(128**-0.5, rel=0.03)
    assert std("layers.3.mlp.down_proj.weight") == pytest.approx((shape.d_ff * 16) ** -0.5, rel=0.03)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), build_model(shape, 0).parameters(), strict=True))
    assert not torch.equal(named["embed_tokens.weight"], build_model(shape, 1).embed_tokens.weight)


def test_every_weight_is_in_one_group_with_its_rate() -> None:
    spec = OPTIMIZER.model_copy(update={"hidden_rate_scale": 0.5, "head_rate_scale": 0.25, "decay_per_step": 1e-4})
    model = build_model(shape_of(128, 2), seed=0)
    hidden, head, plain = build_optimizer(model, spec).param_groups
    assert (hidden["lr"], hidden["weight_decay"]) == pytest.approx((0.005, 0.02))
    assert (head["lr"], head["weight_decay"]) == pytest.approx((0.0025, 0.04))
    assert (plain["lr"], plain["weight_decay"]) == (0.01, 0.0)
    names = {id(weight): name for name, weight in model.named_parameters()}
    plain_names = {names[id(weight)] for weight in plain["params"]}
    assert len(hidden["params"]) + len(head["params"]) + len(plain["params"]) == len(names)
    assert [names[id(weight)] for weight in head["params"]] == ["lm_head.weight"]
    assert plain_names == {name for name in names.values() if "norm" in name or name == "embed_tokens.weight"}


@pytest.mark.parametrize("shape", ["linear", "one_minus_sqrt"])
def test_the_schedule_warms_up_stays_and_cools_down_towards_zero(shape: str) -> None:
    schedule = ScheduleSpec(warmup_steps=10, cooldown_steps=20, cooldown_shape=shape)  # type: ignore[arg-type]
    factors = [rate_factor(step, 100, schedule) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:80] == [1.0] * 71
    assert all(a > b > 0 for a, b in pairwise(factors[80:]))
    assert factors[-1] < 0.06
    if shape == "linear":
        assert factors[80] == pytest.approx(20 / 21)


def test_a_schedule_without_warm_up_or_cooldown_is_constant() -> None:
    schedule = ScheduleSpec(warmup_steps=0, cooldown_steps=0, cooldown_shape="linear")
    assert {rate_factor(step, 10, schedule) for step in range(10)} == {1.0}
