"""What torch counts of the modules of a factory, by hand and by our own closed form; and what it refuses."""

from pathlib import Path
from textwrap import dedent

import pytest

from isoflop.errors import IsoflopError
from isoflop.shape import GROUPS, ModelShape
from isoflop.train.count_models import counted_sizes
from isoflop.train.factory_source import factory_source
from isoflop.train.weight_names import group_of

EXAMPLE = Path(__file__).parents[2] / "sweeps" / "own-trainer"
SHAPES = [ModelShape(2, 16, 1, 16, 48, 257, 32), ModelShape(3, 20, 2, 8, 52, 300, 16)]
OURS = """
from isoflop.shape import ModelShape
from isoflop.train.model import Decoder
def build(**shape):
    return Decoder(ModelShape(**shape))
"""
OWN = "own_models:build"
# A model of one layer whose parts a test replaces.
TOY = """
import torch
from torch import nn
class Toy(nn.Module):
    def __init__(self, width, vocab_size):
        super().__init__()
        self.embed, self.head = nn.Embedding(vocab_size, width), nn.Linear(width, vocab_size)
    def forward(self, tokens):
        return self.head(self.embed(tokens))
def build(*, width, vocab_size, **others):
    return Toy(width, vocab_size)
"""


def numbers(shape: ModelShape) -> list[int]:
    return list(shape.as_dict().values())


def counted(folder: Path, text: str, name: str = OWN, shapes: list[ModelShape] = SHAPES) -> list[dict]:
    (folder / "own_models.py").write_text(dedent(text))
    return counted_sizes(name, folder, map(numbers, shapes))


def test_our_own_decoder_from_a_factory_counts_as_its_closed_form(tmp_path: Path) -> None:
    for shape, size in zip(SHAPES, counted(tmp_path, OURS), strict=True):
        assert size["flops_per_token"] == shape.flops_per_token
        for what in (*GROUPS, "total"):
            assert size[f"n_params_{what}"] == getattr(shape, f"n_params_{what}")


def test_the_example_counts_as_by_hand_with_its_tied_weights_once() -> None:
    """L layers of width W: attention 4 W^2, MLP 8 W^2 and their biases, LayerNorms of 2 W; V and T rows embedded."""
    (size,) = counted_sizes("models:gpt", EXAMPLE, [numbers(SHAPES[1])])
    layers, width, vocab, length = 3, 20, 300, 16
    weights = layers * 12 * width**2
    assert size["n_params_embedding"] == (vocab + length) * width
    assert size["n_params_attention"] == layers * (4 * width**2 + 4 * width)
    assert size["n_params_mlp"] == layers * (8 * width**2 + 5 * width)
    assert size["n_params_norm"] == (2 * layers + 1) * 2 * width
    assert size["n_params_head"] == 0
    assert size["n_params_total"] == weights + layers * 13 * width + (vocab + length) * width + 2 * width
    assert size["flops_per_token"] == 6 * (weights + vocab * width) + 12 * layers * length * width


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("transformer.h.3.attn.c_proj.weight", "attention"),
        ("transformer.h.3.mlp.c_proj.weight", "mlp"),
        ("h.0.attn.norm.weight", "norm"),
        ("blocks.0.ln1.bias", "norm"),
        ("layers.0.post_attention_layernorm.weight", "norm"),
        ("layers.0.attention.wq.weight", "attention"),
        ("layers.0.feed_forward.w2.weight", "mlp"),
        ("layers.0.self_attn.in_proj_weight", "attention"),
        ("layers.0.linear1.weight", "mlp"),
        ("tok_embeddings.weight", "embedding"),
        ("wpe.weight", "embedding"),
        ("lm_head.weight", "head"),
        ("output.weight", "head"),
        ("embed_out.weight", "head"),
        ("selfAttention.values", "attention"),
        ("layers.0.mixer.A_log", None),
        ("weight", None),
    ],
)
def test_the_innermost_word_that_tells_is_the_group_of_a_parameter(name: str, group: str | None) -> None:
    assert group_of(name) == group


def test_a_name_that_tells_nothing_leaves_the_total_alone(tmp_path: Path) -> None:
    size = counted(tmp_path, TOY.replace("self.head", "self.last"))[0]
    assert size["n_params_total"] == 2 * 257 * 16 + 257
    assert (size["n_params_embedding"], size["untold"]) == (None, "last.weight")


def test_a_shape_that_the_factory_refuses_is_noted_with_its_words(tmp_path: Path) -> None:
    text = TOY + '    if True: pass\ndef picky(**s):\n    assert s["width"] == 16, "only 16"\n    return build(**s)\n'
    fine, refused = counted(tmp_path, text, "own_models:picky")
    assert fine["n_params_total"] > 0
    assert refused == {"refused": "AssertionError: only 16"}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("none_such:build", TOY, "there is no module 'none_such'"),
        ("own_models.inner:build", TOY, "there is no module 'own_models.inner'"),
        ("sys:exit", TOY, "the module 'sys' has no source file"),
        ("own_models:bild", TOY, "has no function 'bild'"),
        (OWN, "build = 3", "has something else than a function 'build'"),
        (OWN, "import none_such", "raised ModuleNotFoundError: No module named 'none_such'"),
        (OWN, "def build(:", "raised SyntaxError"),
        (OWN, "def build(**s): return None", "returned None, not an nn.Module"),
        (OWN, TOY.replace("nn.Embedding(vocab_size, width)", "None, None#"), "without a parameter to train"),
        (OWN, TOY.replace("Toy(width, vocab_size)", "Toy(width, vocab_size).half()"), "of torch.float16"),
        (OWN, TOY.replace("return self.head", "return 0, self.head"), "returned a value of type tuple"),
        (OWN, TOY.replace("(self.embed(tokens))", "(self.embed(tokens))[:, -1]"), "a tensor (1, 257)"),
        (OWN, TOY.replace("(self.embed(tokens))", "(self.embed(tokens)).long()"), "of torch.int64"),
        (OWN, TOY.replace("(self.embed(tokens))", "(self.embed(tokens[0].item()))"), "forward pass raised"),
        (OWN, TOY.replace("self.head(self.embed(tokens))", "self.head.bias.expand(1, 32, 257)"), "no FLOPs"),
    ],
)  # fmt: skip
def test_a_factory_that_cannot_be_used_is_told_in_a_sentence(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    with pytest.raises(IsoflopError) as raised:
        counted(tmp_path, text, name)
    assert sentence in raised.value.message
    assert raised.value.message.startswith("model.factory = ")
    assert raised.value.hint


def test_a_factory_in_a_package_is_found_without_importing_it(tmp_path: Path) -> None:
    package = tmp_path / "outer_of_mine" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("raise SystemError('imported')")
    (package / "models.py").write_text(TOY)
    source = factory_source("outer_of_mine.inner.models:build", tmp_path)
    assert source.path == package / "models.py"
    (package / "models.py").write_text(TOY + "#")
    assert factory_source("outer_of_mine.inner.models:build", tmp_path).code_hash != source.code_hash
