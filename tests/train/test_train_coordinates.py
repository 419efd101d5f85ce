"""muP's coordinate check: what a few steps do to activations has one size at every width and depth.

Yang et al. 2022 (arXiv 2203.03466), appendix D.1; for depth Yang et al. 2023 (arXiv 2310.02244).
"""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from isoflop.corpus import Corpus, batch
from isoflop.plan.recipe import make_recipe
from isoflop.run_spec import OptimizerKind, OptimizerSpec
from isoflop.shape import ModelShape
from isoflop.spec import RecipeSpec
from isoflop.train.model import build_model
from isoflop.train.optimizer import build_optimizer, clip_gradients

KINDS: list[OptimizerKind] = ["adamw", "sgd", "muon"]
# Some 0.3 of the default rates: the first steps then still show the order in width and depth, not what bounds them.
RECIPES = {
    "adamw": RecipeSpec(optimizer="adamw", learning_rate=0.002),
    "sgd": RecipeSpec(optimizer="sgd", learning_rate=0.06),
    "muon": RecipeSpec(optimizer="muon", learning_rate=0.002, matrix_learning_rate=0.006),
}
COARSE = {"width": [(16, 2), (32, 2), (128, 2)], "depth": [(32, 2), (32, 8)]}
FINE = {
    "width": [(width, 2) for width in (16, 32, 64, 128, 256, 512)],
    "depth": [(64, n_layers) for n_layers in (2, 4, 8, 16)],
}
# Largest over smallest along a grid. With the rates of one shape it is 2.6 to 13. As scaled it is 1.7 at most, but for
# AdamW's updates from 2 to 16 layers, 2.0: of matrices that write to the residual stream they grow with depth
# (plan/recipe.py).
MOST_RATIO = 2.2
N_STEPS = 6

each_kind = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9"))
        if kind == "muon"
        else kind
        for kind in KINDS
    ],
)


def shape_of(width: int, n_layers: int) -> ModelShape:
    d_ff, n_heads = width * 8 // 3 // 8 * 8, max(1, width // 16)
    return ModelShape(n_layers, width, n_heads, head_dim=16, d_ff=d_ff, vocab_size=257, context_length=32)


def scaled(kind: OptimizerKind, shape: ModelShape) -> OptimizerSpec:
    recipe = make_recipe(RECIPES[kind], shape, 500 * 384.0 * shape.flops_per_token)
    assert recipe is not None
    return recipe.optimizer


def plain(kind: OptimizerKind, shape: ModelShape) -> OptimizerSpec:
    """The rates of one shape, for every shape."""
    return scaled(kind, shape_of(32, 2))


def sizes(corpus: Corpus, shape: ModelShape, spec: OptimizerSpec) -> tuple[float, float, float]:
    """RMS of the last block's output, of its change over a few steps, and of the logits after them (at first zero)."""
    model = build_model(shape, seed=0)
    optimizer, weights = build_optimizer(model, spec), list(model.parameters())
    outputs: list[Tensor] = []
    model.layers[-1].register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))

    def tokens(seed: int, step: int) -> Tensor:
        found = batch(corpus, seed=seed, first_sequence=step * 8, n_sequences=8, context_length=32)
        return torch.from_numpy(found)

    probe = tokens(9, 0)[:, :-1]
    model(probe)
    for step in range(N_STEPS):
        sequences = tokens(0, step)
        loss = F.cross_entropy(model(sequences[:, :-1]).flatten(0, 1), sequences[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
        clip_gradients(weights, norm, spec.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
    logits = model(probe).detach()
    return rms(outputs[0]), rms(outputs[-1] - outputs[0]), rms(logits)


def rms(x: Tensor) -> float:
    return float(x.double().pow(2).mean().sqrt())


def ratios(
    corpus: Corpus,
    kind: OptimizerKind,
    grid: Sequence[tuple[int, int]],
    rates: Callable[[OptimizerKind, ModelShape], OptimizerSpec],
) -> dict[str, float]:
    found = [sizes(corpus, shape_of(*at), rates(kind, shape_of(*at))) for at in grid]
    names = ("output", "update", "logits")
    return {name: max(values) / min(values) for name, values in zip(names, zip(*found, strict=True), strict=True)}


@each_kind
@pytest.mark.parametrize("axis", ["width", "depth"])
def test_activations_and_logits_keep_their_size(corpus: Corpus, kind: OptimizerKind, axis: str) -> None:
    found = ratios(corpus, kind, COARSE[axis], scaled)
    assert max(found.values()) < MOST_RATIO, found


@each_kind
@pytest.mark.parametrize("axis", ["width", "depth"])
def test_the_rates_of_one_shape_fail_the_check(corpus: Corpus, kind: OptimizerKind, axis: str) -> None:
    found = ratios(corpus, kind, COARSE[axis], plain)
    assert max(found.values()) > MOST_RATIO, found


@pytest.mark.slow(4)
@each_kind
@pytest.mark.parametrize("axis", ["width", "depth"])
def test_activations_and_logits_keep_their_size_from_16_to_512_wide_and_2_to_16_deep(
    corpus: Corpus, kind: OptimizerKind, axis: str
) -> None:
    found = ratios(corpus, kind, FINE[axis], scaled)
    assert max(found.values()) < MOST_RATIO, found
