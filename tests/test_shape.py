"""Parameters and FLOPs in closed form against torch's own count."""

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isoflop.plan.shapes import ShapeRule, nearest_shape
from isoflop.shape import ModelShape
from isoflop.spec import ModelSpec
from isoflop.train.model import Decoder

SIZES = (5e3, 2e4, 1e5, 5e5, 2e6, 1e7, 5e7)


def shape_of(n_params: float, *, vocab_size: int = 257, context_length: int = 128) -> ModelShape:
    return nearest_shape(ShapeRule(ModelSpec(context_length=context_length), vocab_size, "total"), n_params)


def meta_decoder(shape: ModelShape) -> Decoder:
    with torch.device("meta"):
        return Decoder(shape)


@pytest.mark.parametrize("n_params", SIZES, ids="{:.0e}".format)
def test_torchs_flop_counter_agrees_with_the_closed_form(n_params: float) -> None:
    shape = shape_of(n_params)
    model = meta_decoder(shape)
    tokens = torch.zeros((2, shape.context_length), dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        logits = model(tokens)
        functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    counted = counter.get_total_flops() / tokens.numel()
    assert counted == pytest.approx(shape.flops_per_token, rel=1e-3)


def test_torchs_flop_counter_agrees_on_a_real_device_too() -> None:
    shape = shape_of(2e4)
    model = Decoder(shape)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    tokens = torch.zeros((1, shape.context_length), dtype=torch.long)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    assert counter.get_total_flops() / tokens.numel() == pytest.approx(shape.flops_per_token, rel=1e-3)


@pytest.mark.parametrize("n_params", [*SIZES, 1e9], ids="{:.0e}".format)
def test_the_meta_device_count_of_every_group_equals_the_closed_form(n_params: float) -> None:
    shape = shape_of(n_params)
    groups = {"embed_tokens": 0, "self_attn": 0, "mlp": 0, "norm": 0, "lm_head": 0}
    for name, weight in meta_decoder(shape).named_parameters():
        group = next(g for g in ("norm", "embed_tokens", "self_attn", "mlp", "lm_head") if g in name)
        groups[group] += weight.numel()
    assert groups == {
        "embed_tokens": shape.n_params_embedding,
        "self_attn": shape.n_params_attention,
        "mlp": shape.n_params_mlp,
        "norm": shape.n_params_norm,
        "lm_head": shape.n_params_head,
    }
    assert sum(groups.values()) == shape.n_params_total


def test_the_conventions_of_n_differ_by_embedding_and_head() -> None:
    shape = shape_of(1e5)
    assert shape.n_params("total") - shape.n_params("matmul") == shape.n_params_embedding
    assert shape.n_params("matmul") - shape.n_params("non_embedding") == shape.n_params_head
