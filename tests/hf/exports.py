"""Models of six shapes with random weights, exported."""

from dataclasses import dataclass
from pathlib import Path

import torch

from isoflop.corpus import Tokenizer
from isoflop.corpus.tokenizers.bpe import train_bpe
from isoflop.corpus.tokenizers.tokenizer import BYTE
from isoflop.corpus.tokenizers.tokenizer_file import file_tokenizer
from isoflop.export.folder import write_folder
from isoflop.export.model_config import ExportDtype
from isoflop.export.model_folder import rendered
from isoflop.run_spec import RunSpec
from isoflop.shape import ModelShape
from isoflop.train.model import Decoder, build_model
from tests.run_examples import RUN

# Layers, width, heads, head_dim, d_ff, vocabulary, context: 5 thousand to 30 million parameters.
SHAPES = {
    "5k": (1, 8, 1, 8, 16, 257, 32),
    "20k": (2, 20, 1, 16, 64, 257, 64),
    "64k": (3, 36, 2, 16, 96, 257, 64),
    "heads wider than the stream": (4, 48, 4, 32, 128, 257, 96),
    "bpe 512": (4, 64, 4, 16, 192, 512, 128),
    "30M, bpe 4096": (8, 512, 8, 64, 1408, 4096, 256),
}


@dataclass(frozen=True)
class Example:
    """A model of ours, its tokenizer and the folder that it was exported to."""

    run: RunSpec
    model: Decoder
    tokenizer: Tokenizer
    folder: Path

    @property
    def real_tokens(self) -> list[int]:
        """As many tokens of Python source as the context holds."""
        text = Path(__file__).read_bytes()
        return self.tokenizer.encode(text)[: self.run.shape.context_length].tolist()


def bpe(vocab_size: int) -> Tokenizer:
    """A tokenizer trained on the sources of the package."""
    root = Path(__file__).parents[2]
    texts = [path.read_bytes() for part in ("isoflop", "tests") for path in sorted((root / part).rglob("*.py"))]
    return file_tokenizer(train_bpe(texts, vocab_size), kind="bpe", where="the test's")


def make_example(name: str, folder: Path, dtype: ExportDtype = "float32") -> Example:
    """The model of that name in SHAPES, exported into `folder`."""
    keys = ("n_layers", "width", "n_heads", "head_dim", "d_ff", "vocab_size", "context_length")
    shape = ModelShape(**dict(zip(keys, SHAPES[name], strict=True)))
    tokenizer = BYTE if shape.vocab_size == BYTE.vocab_size else bpe(shape.vocab_size)
    assert tokenizer.vocab_size == shape.vocab_size
    run = RUN.model_copy(update={"shape": shape, "tokenizer": tokenizer.name})
    model = build_model(shape, seed=1).eval()
    with torch.no_grad():
        model.lm_head.weight.normal_(0.0, 2.0 * shape.width**-0.5, generator=torch.Generator().manual_seed(2))
        for gain in (weight for weight in model.parameters() if weight.dim() == 1):
            gain.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(gain.numel()))
    weights = {key: weight.detach().numpy() for key, weight in model.named_parameters()}
    write_folder(folder, rendered(run, weights, tokenizer, dtype=dtype))
    return Example(run, model, tokenizer, folder)
