"""Batches on the device: every road gives the tokens of isoflop.corpus.batch, to the bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isoflop.corpus import Corpus, batch, open_corpus
from isoflop.corpus.shards import TokenWriter, map_tokens
from isoflop.corpus.tokenizers.tokenizer import token_dtype
from isoflop.errors import IsoflopError
from isoflop.run_spec import RunSpec
from isoflop.spec import CorpusSpec, TokenizerSpec
from isoflop.train.batches import Batches, resident_batches, streamed_batches, training_batches
from tests.train.conftest import make_run

CPU = torch.device("cpu")
ROADS = pytest.mark.parametrize("road", [resident_batches, streamed_batches, training_batches])


@pytest.fixture(params=[16, 32], ids=["16 bits", "32 bits"])
def many_shards(corpus: Corpus, tmp_path: Path, request: pytest.FixtureRequest) -> Corpus:
    """Tokens up to the largest that 16 or 32 bits hold, in shards that windows straddle."""
    vocab_size = 2**request.param
    tokens = np.random.default_rng(0).integers(0, vocab_size, 2000)
    tokens[[0, -1]] = vocab_size - 1
    dtype = token_dtype(vocab_size)
    with TokenWriter(tmp_path, "train", dtype, max_tokens=150) as writer:
        writer.write(tokens.astype(dtype))
    return replace(corpus, train=map_tokens(tmp_path, "train", writer.shard_tokens, dtype))


def expected(run: RunSpec, corpus: Corpus, step: int) -> torch.Tensor:
    n = run.batch_sequences
    sequences = batch(corpus, seed=run.seed, first_sequence=step * n, n_sequences=n, context_length=32)
    return torch.from_numpy(sequences)


def assert_equal_to_the_bit(batches: Batches, run: RunSpec, corpus: Corpus) -> None:
    n_windows = (corpus.train.n_tokens - 1) // 32
    for step in (0, 1, n_windows // run.batch_sequences, 3 * n_windows):  # the third straddles two epochs
        tokens = batches(step)
        assert tokens.dtype == torch.int64
        assert tokens.shape == (run.batch_sequences, 33)
        assert torch.equal(tokens, expected(run, corpus, step))


@ROADS
@pytest.mark.parametrize("seed", [0, 5])
def test_batches_are_those_of_the_corpus_to_the_bit(corpus: Corpus, road: type, seed: int) -> None:
    run = make_run(corpus, seed=seed)
    assert_equal_to_the_bit(road(run, corpus, CPU), run, corpus)


@ROADS
def test_the_largest_tokens_and_windows_across_shards_survive(many_shards: Corpus, road: type) -> None:
    run = make_run(many_shards, batch_sequences=7)
    assert len(many_shards.train.shards) == 14
    assert expected(run, many_shards, 0).max() > 2**15
    assert_equal_to_the_bit(road(run, many_shards, CPU), run, many_shards)


def test_a_resident_corpus_is_read_once(many_shards: Corpus, tmp_path: Path) -> None:
    """What lies on the device does not change with the files: a batch is gathered, not read."""
    run = make_run(many_shards)
    batches = resident_batches(run, many_shards, CPU)
    before = batches(3).clone()
    for shard in tmp_path.glob("train-*.bin"):
        shard.write_bytes(bytes(shard.stat().st_size))
    assert torch.equal(batches(3), before)
    assert not torch.equal(streamed_batches(run, many_shards, CPU)(3), before)


@ROADS
def test_a_text_shorter_than_a_sequence_is_an_error_of_the_user(tmp_path: Path, road: type) -> None:
    (tmp_path / "a.txt").write_text("a b c d e f")
    spec = CorpusSpec(source="files", paths=("a.txt",), heldout_fraction=0.4)
    short = open_corpus(spec, TokenizerSpec(), root=tmp_path / "corpora", base=tmp_path)
    batches = road(make_run(short), short, CPU)
    with pytest.raises(IsoflopError, match="too few for a sequence of 32"):
        batches(0)
