"""Corpora of ready tokens against the arrays they were written from."""

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from isoflop.corpus import Corpus, open_corpus
from isoflop.corpus.formats.token_blocks import BLOCK_TOKENS
from isoflop.corpus_facts import CorpusFacts
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, SweepSpec, TokenizerSpec, parse_spec
from isoflop.sweep.planning import sweep_corpus
from isoflop.train.evaluate import heldout_loss
from isoflop.view.plan_corpus import corpus_lines

VOCABULARY = 50_304
Tokens = NDArray[np.int64]


def draw(n_tokens: int, vocab_size: int = VOCABULARY, seed: int = 0) -> Tokens:
    return np.random.default_rng(seed).integers(0, vocab_size, n_tokens)


def nanogpt(path: Path, tokens: Tokens, width: int = 2) -> None:
    path.write_bytes(tokens.astype(f"<u{width}").tobytes())


def llm_c(path: Path, tokens: Tokens, width: int, magic: int, version: int) -> None:
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(tokens)
    path.write_bytes(header.tobytes() + tokens.astype(f"<u{width}").tobytes())


def megatron(path: Path, documents: Sequence[Sequence[Tokens]], code: int = 8, dtype: str = "<u2") -> None:
    """Documents of sequences, as NVIDIA's MMapIndexedDatasetBuilder lays them out."""
    sequences = [sequence for document in documents for sequence in document]
    content = [sequence.astype(dtype).tobytes() for sequence in sequences]
    path.write_bytes(b"".join(content))
    offsets = np.cumsum([0, *map(len, content)])[:-1]
    ends = np.cumsum([0, *map(len, documents)])
    header = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, len(sequences), len(ends))
    arrays = (np.array([*map(len, sequences)], "<i4"), offsets.astype("<i8"), ends.astype("<i8"))
    path.with_suffix(".idx").write_bytes(header + b"".join(array.tobytes() for array in arrays))


def opened(base: Path, **keys: object) -> Corpus:
    spec = {"source": "tokens", "paths": ["x.bin"], "vocab_size": VOCABULARY, "heldout_fraction": 0.2, **keys}
    return open_corpus(CorpusSpec.model_validate(spec), TokenizerSpec(), root=base / "root", base=base)


def sides(corpus: Corpus) -> tuple[list[int], list[int]]:
    train, heldout = (stream.windows([0], stream.n_tokens)[0].tolist() for stream in (corpus.train, corpus.heldout))
    return train, heldout


def in_blocks(tokens: Tokens, length: int) -> list[list[int]]:
    return [tokens[start : start + length].tolist() for start in range(0, len(tokens), length)]


def assert_made_of(corpus: Corpus, blocks: Sequence[Sequence[int]]) -> None:
    """Both sides are whole blocks in their order, each block on one of them."""
    train, heldout = sides(corpus)
    for block in map(list, blocks):
        side = train if train[: len(block)] == block else heldout
        assert side[: len(block)] == block
        del side[: len(block)]
    assert (train, heldout) == ([], [])


WRITERS: dict[str, tuple[Callable[[Path, Tokens], None], int]] = {
    "nanoGPT": (nanogpt, VOCABULARY),
    "nanoGPT, 4 bytes": (lambda path, tokens: nanogpt(path, tokens, 4), 128_256),
    "llm.c": (lambda path, tokens: llm_c(path, tokens, 2, 20240520, 1), VOCABULARY),
    "llm.c, Llama 3": (lambda path, tokens: llm_c(path, tokens, 4, 20240801, 7), 128_256),
    "fork of bytes": (lambda path, tokens: llm_c(path, tokens, 1, 20240520, 1), 256),
}


@pytest.mark.parametrize(("write", "vocab_size"), WRITERS.values(), ids=WRITERS.keys())
def test_the_corpus_has_the_tokens_of_the_array_in_blocks(
    tmp_path: Path, write: Callable[[Path, Tokens], None], vocab_size: int
) -> None:
    tokens = draw(10_007, vocab_size)
    write(tmp_path / "x.bin", tokens)
    corpus = opened(tmp_path, vocab_size=vocab_size)
    assert_made_of(corpus, in_blocks(tokens, 10_007 // 64))
    assert corpus.manifest.n_heldout_tokens > 0
    assert corpus.train.dtype.itemsize == (2 if vocab_size <= 65_536 else 4)
    assert (corpus.facts.tokenizer, corpus.facts.vocab_size) == (f"tokens-{vocab_size}", vocab_size)


def test_blocks_of_a_large_file_are_of_one_size(tmp_path: Path) -> None:
    nanogpt(tmp_path / "x.bin", draw(70 * BLOCK_TOKENS))
    assert opened(tmp_path).manifest.n_documents == 70


def test_blocks_end_with_a_separator_where_one_is_named(tmp_path: Path) -> None:
    tokens = draw(6400, 1000)
    tokens[49::50] = 1000
    nanogpt(tmp_path / "x.bin", tokens)
    train, heldout = sides(opened(tmp_path, separator=1000))
    assert {train[-1], heldout[-1]} == {1000}
    assert_made_of(opened(tmp_path, separator=1000), in_blocks(tokens, 100))


@pytest.mark.parametrize(("code", "dtype"), [(8, "<u2"), (4, "<i4"), (5, "<i8")])
def test_documents_of_megatron_stay_whole_whatever_sequences_they_are_in(tmp_path: Path, code: int, dtype: str) -> None:
    documents = [[draw(20 + n, seed=n), draw(n % 3, seed=1000 + n)] for n in range(60)]
    megatron(tmp_path / "x.bin", documents, code, dtype)
    corpus = opened(tmp_path)
    assert_made_of(corpus, [np.concatenate(document).tolist() for document in documents])
    assert (corpus.manifest.n_documents, corpus.manifest.n_files) == (60, 2)


def test_an_only_document_of_megatron_is_split_by_its_sequences(tmp_path: Path) -> None:
    sequences = [draw(30, seed=n) for n in range(50)]
    megatron(tmp_path / "x.bin", [sequences])
    assert_made_of(opened(tmp_path), [sequence.tolist() for sequence in sequences])


def test_a_long_document_of_megatron_is_read_in_blocks(tmp_path: Path) -> None:
    long, short = draw(3 * BLOCK_TOKENS + 5), draw(9)
    megatron(tmp_path / "x.bin", [[long], [short], [draw(8, seed=2)]])
    assert_made_of(opened(tmp_path), [*in_blocks(long, BLOCK_TOKENS), short.tolist(), draw(8, seed=2).tolist()])


def test_a_named_file_is_held_out_and_nothing_else(tmp_path: Path) -> None:
    train, heldout = draw(5000), draw(700, seed=1)
    (tmp_path / "shards").mkdir()
    nanogpt(tmp_path / "shards" / "train.bin", train)
    nanogpt(tmp_path / "shards" / "val.bin", heldout)
    corpus = opened(tmp_path, paths=["shards"], heldout="shards/val.bin")
    assert sides(corpus) == (train.tolist(), heldout.tolist())
    assert corpus.manifest.split == "by_file"
    assert "700 held out, as corpus.heldout names" in " ".join(corpus_lines(corpus.facts))


def test_a_block_twice_is_kept_once(tmp_path: Path) -> None:
    block = draw(100)
    nanogpt(tmp_path / "x.bin", np.concatenate([block, draw(6200, seed=1), block]))
    assert opened(tmp_path).manifest.n_duplicates_dropped == 1


SPOILT: dict[str, tuple[Callable[[Path], object], dict[str, object], str]] = {
    "beyond the vocabulary": (
        lambda path: nanogpt(path, np.array([*range(500), 50_304])), {}, "50304, number 4 from byte 994 on, outside",
    ),
    "half a token": (lambda path: path.write_bytes(bytes(333)), {}, "has 333 bytes, no multiple of the 2 of a token"),
    "fewer than said": (
        lambda path: (llm_c(path, draw(300), 2, 20240520, 1), path.write_bytes(path.read_bytes()[:-2])),
        {}, "has a header for 300 tokens, 1624 bytes, but 1622 bytes",
    ),
    "unknown version": (
        lambda path: llm_c(path, draw(300), 2, 20240520, 2), {}, "has a header 20240520 version 2; known are",
    ),
    "negative count": (
        lambda path: path.write_bytes(struct.pack("<iii", 20240520, 1, -5) + bytes(1024)), {}, "header for -5 tokens",
    ),
    "no header": (lambda path: nanogpt(path, draw(300)), {"format": "llm.c"}, "has no header of llm.c's"),
    "no index": (lambda path: nanogpt(path, draw(300)), {"format": "megatron"}, "No such file"),
    "not an index": (
        lambda path: (nanogpt(path, draw(300)), path.with_suffix(".idx").write_bytes(b"text" * 20)),
        {}, "is no index of Megatron's",
    ),
    "one token": (lambda path: nanogpt(path, draw(1)), {}, "is one document"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "keys", "said"), SPOILT.values(), ids=SPOILT.keys())
def test_tokens_that_contradict_themselves_are_refused_with_their_place(
    tmp_path: Path, spoil: Callable[[Path], object], keys: dict[str, object], said: str
) -> None:
    spoil(tmp_path / "x.bin")
    with pytest.raises(IsoflopError) as refused:
        opened(tmp_path, **keys)
    assert said in refused.value.message and refused.value.hint
    assert not list((tmp_path / "root").rglob("*.bin"))


# Byte of the index that is written over, what with, and what is said.
INDEX = [
    pytest.param(9, struct.pack("<Q", 2), "has version 2", id="version"),
    pytest.param(17, b"\x06", "tokens of type 6", id="numbers with fractions"),
    pytest.param(18, struct.pack("<Q", 41), "has 842 bytes, but 41 sequences and 41 document ends take", id="count"),
    pytest.param(26, struct.pack("<Q", 1 << 60), "document ends take", id="endless count"),
    pytest.param(34, struct.pack("<i", -1), "sequence 1 has -1 tokens", id="negative length"),
    pytest.param(34, struct.pack("<i", 1 << 30), "points outside the tokens: sequence 1", id="length"),
    pytest.param(34 + 160 + 8, struct.pack("<q", 1 << 62), "points outside the tokens: sequence 2", id="offset"),
    pytest.param(34 + 480 + 8, struct.pack("<q", 9), "document ends that do not ascend", id="ends"),
]


@pytest.mark.parametrize(("place", "content", "said"), INDEX)
def test_an_index_that_contradicts_its_tokens_is_refused(tmp_path: Path, place: int, content: bytes, said: str) -> None:
    megatron(tmp_path / "x.bin", [[draw(30, seed=n)] for n in range(40)])
    index = bytearray((tmp_path / "x.idx").read_bytes())
    index[place : place + len(content)] = content
    (tmp_path / "x.idx").write_bytes(index)
    with pytest.raises(IsoflopError) as refused:
        opened(tmp_path)
    assert said in refused.value.message


def test_a_changed_index_is_noticed(tmp_path: Path) -> None:
    documents = [[draw(30, seed=n)] for n in range(40)]
    megatron(tmp_path / "x.bin", documents)
    whole = opened(tmp_path)
    index = (tmp_path / "x.idx").read_bytes()
    megatron(tmp_path / "x.bin", documents[:39])
    assert opened(tmp_path).manifest.n_documents == whole.manifest.n_documents - 1
    assert len(index) != (tmp_path / "x.idx").stat().st_size


def test_stated_bytes_per_token_make_another_corpus_and_give_bits_per_byte(tmp_path: Path) -> None:
    nanogpt(tmp_path / "x.bin", draw(5000))
    unknown, stated = opened(tmp_path), opened(tmp_path, bytes_per_token=4.5)
    assert (unknown.facts.bytes_per_token, stated.facts.bytes_per_token) == (None, 4.5)
    assert unknown.manifest.fingerprint != stated.manifest.fingerprint
    assert json.loads(stated.manifest.to_json())["n_train_bytes"] is None
    assert "no bits per byte" in " ".join(corpus_lines(unknown.facts))
    assert "no bits per byte" not in " ".join(corpus_lines(stated.facts))


@pytest.mark.parametrize(("bytes_per_token", "bits"), [(None, None), (4.0, 3 / (4 * math.log(2)))])
def test_a_held_out_loss_has_bits_per_byte_where_bytes_per_token_are_known(
    bytes_per_token: float | None, bits: float | None
) -> None:
    loss = heldout_loss(
        torch.zeros((4, 9), dtype=torch.int64),
        lambda rows: torch.full((len(rows),), 3.0),
        pass_tokens=8,
        bytes_per_token=bytes_per_token,
        after_pass=lambda: None,
    )
    assert loss.bits_per_byte == (None if bits is None else pytest.approx(bits))


MINIMAL = {"name": "s", "budgets": [1e12]}


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ({"source": "tokens", "paths": ["x"]}, 'vocab_size is needed with source = "tokens"'),
        ({"source": "tokens", "paths": ["x"], "vocab_size": 100, "separator": 100}, "outside the vocabulary of 100"),
        ({"source": "files", "paths": ["x"], "field": "text"}, 'field is for "jsonl", "parquet", "arrow", "hf"'),
        ({"source": "hf", "dataset": "x"}, 'max_bytes is needed with source = "hf"'),
        ({"source": "jsonl"}, "paths are needed"),
        ({"mix": [{"source": "files", "paths": ["a"], "weight": 1}]}, "a mix has two parts or more"),
        ({"source": "files", "paths": ["a"], "mix": [{"weight": 1}]}, "a corpus has a source or a mix"),
        (
            {"mix": [{"weight": 1}, {"source": "tokens", "paths": ["a"], "vocab_size": 9, "weight": 1}]},
            "tokens mix only",
        ),
        ({"mix": [{"weight": 1}, {"weight": 0}]}, "entry 2 of corpus.mix.weight = 0 is not possible"),
        ({"mix": [{"weight": 1}, {}]}, "lacks the key 'corpus.mix.weight'"),
        ({"mix": [{"weight": 1, "wieght": 1}]}, "unknown key 'corpus.mix.wieght'"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(corpus: dict[str, object], said: str) -> None:
    with pytest.raises(IsoflopError) as refused:
        parse_spec({**MINIMAL, "corpus": corpus}, source="x")
    assert said in refused.value.message


def test_nobody_asks_about_the_text_of_ready_tokens() -> None:
    corpus = {"source": "tokens", "paths": ["x.bin"], "vocab_size": 1000}
    with pytest.raises(IsoflopError, match="probes ask about text"):
        parse_spec({**MINIMAL, "corpus": corpus, "evaluation": {"probes": True}}, source="x")


def test_the_tokens_of_a_run_are_named_in_it(tmp_path: Path) -> None:
    from isoflop.plan.planner import make_plan

    corpus = {"source": "tokens", "paths": ["x.bin"], "vocab_size": 1000}
    spec: SweepSpec = parse_spec({**MINIMAL, "corpus": corpus}, source="x")
    facts = CorpusFacts("0" * 16, 10**9, 10**7, None)
    plan = make_plan(spec, replace(facts, tokenizer="tokens-1000", vocab_size=1000))
    assert {run.tokenizer for run in plan.runs.values()} == {"tokens-1000"}
    assert {run.shape.vocab_size for run in plan.runs.values()} == {1000}


def test_keys_of_new_sources_leave_old_sweeps_their_hash() -> None:
    old = parse_spec({**MINIMAL, "corpus": {"source": "files", "paths": ["a"]}}, source="x")
    assert set(json.loads(old.to_json())["corpus"]) == {"source", "paths", "pattern", "heldout_fraction", "tokens"}
    assert old.corpus.request() == {
        "source": "files", "paths": ["a"], "pattern": "**/*.txt", "heldout_fraction": 0.02,
    }  # fmt: skip


def test_a_simulated_sweep_has_the_vocabulary_of_its_tokens(tmp_path: Path) -> None:
    corpus = {"source": "tokens", "paths": ["gone.bin"], "vocab_size": 1000}
    spec = parse_spec({**MINIMAL, "trainer": "simulated", "corpus": corpus}, source="x")
    facts = sweep_corpus(spec, tmp_path / "s.toml", tmp_path).facts
    assert (facts.tokenizer, facts.vocab_size, facts.bytes_per_token) == ("tokens-1000", 1000, None)
