"""Models with the vocabulary of a tokenizer from a file."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from isoflop.corpus import open_corpus
from isoflop.spec import CorpusSpec, TokenizerSpec
from tests.train.conftest import make_run, run_it


@pytest.mark.slow
def test_a_vocabulary_beyond_16_bits_trains(tmp_path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    library = Tokenizer(models.BPE(vocab={letter: 70_000 + n for n, letter in enumerate(alphabet)}, merges=[]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.decoder = decoders.ByteLevel()
    library.add_tokens([AddedToken("<|endoftext|>", special=True)])
    library.save(str(tmp_path / "tokenizer.json"))
    for n in range(40):
        (tmp_path / f"{n}.txt").write_text(f"a line of document {n}\n" * 20)
    corpus = open_corpus(
        CorpusSpec(source="files", paths=(".",), heldout_fraction=0.2),
        TokenizerSpec(kind="file", path="tokenizer.json"),
        root=tmp_path / "root",
        base=tmp_path,
    )
    assert corpus.train.dtype == np.dtype("<u4")
    run = make_run(corpus)
    shape = replace(run.shape, vocab_size=corpus.manifest.vocab_size)
    schedule = run.schedule.model_copy(update={"warmup_steps": 0, "cooldown_steps": 1})
    run = run.model_copy(update={"shape": shape, "n_steps": 1, "schedule": schedule})
    trained = run_it(run, corpus, tmp_path / "run")
    assert trained.progress.curve[0][2] == pytest.approx(math.log(70_256), rel=1e-3)
    assert trained.heldout is not None
    assert trained.heldout.nats_per_token < math.log(70_256)
    bits = trained.heldout.nats_per_token / math.log(2) / corpus.manifest.bytes_per_token
    assert trained.heldout.bits_per_byte == pytest.approx(bits)
