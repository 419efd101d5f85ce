"""A small corpus and a small run, real ones."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from isoflop.corpus import Corpus, make_tokenizer, open_corpus
from isoflop.run_spec import RunSpec, ScheduleSpec
from isoflop.rundir import Execution
from isoflop.shape import ModelShape
from isoflop.spec import CorpusSpec, TokenizerSpec
from isoflop.train.loop import train
from isoflop.train.progress import Interrupted, Progress, Trained
from tests.run_examples import OPTIMIZER

CPU = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=64)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other spin, which is slow on a busy machine; a test may ask for more."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tokenised corpus lies."""
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, corpora: Path) -> Corpus:
    """Forty documents of made-up words; enough regularity to be learnt."""
    folder = tmp_path_factory.mktemp("text")
    words = random.Random(0)
    for number in range(40):
        lines = (" ".join(words.choices(["alpha", "beta", "gamma", "delta"], k=8)) for _ in range(40))
        (folder / f"{number:02d}.txt").write_text(f"document {number}\n" + "\n".join(lines))
    spec = CorpusSpec(source="files", paths=(str(folder),), heldout_fraction=0.1)
    return open_corpus(spec, TokenizerSpec(), root=corpora, base=folder)


def make_run(corpus: Corpus, **changes: object) -> RunSpec:
    """A run of 40 steps; `changes` replace fields."""
    content = {
        "trainer": "builtin",
        "shape": ModelShape(
            n_layers=2,
            width=16,
            n_heads=1,
            head_dim=16,
            d_ff=32,
            vocab_size=make_tokenizer(TokenizerSpec()).vocab_size,
            context_length=32,
        ),
        "n_steps": 40,
        "batch_sequences": 4,
        "schedule": ScheduleSpec(warmup_steps=4, cooldown_steps=20, cooldown_shape="linear"),
        "optimizer": OPTIMIZER.model_copy(update={"head_rate_scale": 1.5, "decay_per_step": 0.001}),
        "seed": 0,
        "corpus_fingerprint": corpus.facts.fingerprint,
        "tokenizer": "byte",
        "eval_tokens": 512,
    }
    return RunSpec.model_validate({**content, **changes})


class StopAt:
    """Asks training to stop after a number of steps, or of pieces of work; never, if none is given."""

    def __init__(self, step: int | None = None, *, piece: int | None = None) -> None:
        self.step, self.piece = step, piece
        self.pieces = self.steps = 0

    def after_step(self, progress: Progress, loss: float) -> None:
        self.steps = progress.step

    def between(self) -> None:
        self.pieces += 1
        if self.pieces == self.piece or (self.step is not None and self.steps >= self.step):
            raise Interrupted


def run_it(run: RunSpec, corpus: Corpus, folder: Path, *, stop_at: int | None = None, how: Execution = CPU) -> Trained:
    """Train, and ask to stop after `stop_at` steps if given."""
    return train(run, corpus, how, checkpoints=folder, watcher=StopAt(stop_at))
