import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isoflop
from isoflop.corpus import load_corpus, make_tokenizer
from isoflop.corpus.builder.writer import Writing, write_corpus
from isoflop.corpus.sources import find_source
from isoflop.corpus.tokenizers.tokenizer import BYTE, Tokenizer, bytes_per_token, token_dtype
from isoflop.spec import CorpusSpec, TokenizerSpec


@given(st.binary(max_size=300))
def test_every_text_comes_back_and_its_separator_is_the_last_token(text: bytes) -> None:
    tokens = BYTE.encode(text)
    assert tokens.dtype == np.uint16
    assert tokens.tolist() == [*text, 256]
    assert BYTE.decode(tokens) == text


def test_the_byte_tokenizer_has_256_bytes_and_a_separator() -> None:
    tokenizer = make_tokenizer(TokenizerSpec())
    assert (tokenizer.name, tokenizer.vocab_size, tokenizer.separator) == ("byte", 257, 256)


def test_several_documents_decode_to_their_texts_without_separators() -> None:
    tokens = np.concatenate([BYTE.encode(b"one"), BYTE.encode(b""), BYTE.encode(b"two")])
    assert BYTE.decode(tokens) == b"onetwo"


def test_a_token_outside_the_vocabulary_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="257"):
        BYTE.decode(np.array([65, 257], np.uint16))


def test_bytes_per_token_counts_separators_as_tokens() -> None:
    texts = [b"abc", b"defgh"]
    n_tokens = sum(len(BYTE.encode(text)) for text in texts)
    assert bytes_per_token(sum(map(len, texts)), n_tokens) == 8 / 10


@pytest.mark.parametrize(
    ("vocab_size", "n_bytes"), [(1, 2), (257, 2), (65_535, 2), (65_536, 2), (65_537, 4), (151_936, 4)]
)
def test_tokens_take_16_bits_up_to_a_vocabulary_of_65536_and_32_beyond(vocab_size: int, n_bytes: int) -> None:
    dtype = token_dtype(vocab_size)
    assert dtype.itemsize == n_bytes
    assert np.array([vocab_size - 1]).astype(dtype).tolist() == [vocab_size - 1]
    assert np.iinfo(dtype).min == 0


def test_tokens_beyond_16_bits_survive_a_corpus(tmp_path: Path) -> None:
    """A tokenizer of 100,000 tokens: that of byte b is 99,998 less b."""

    def encode(text: bytes) -> np.ndarray:
        return np.array([*(99_998 - byte for byte in text), 99_999], "<u4")

    wide = Tokenizer("wide", 100_000, 99_999, encode, lambda tokens: bytes(99_998 - t for t in tokens if t < 99_999))
    for n in range(40):
        (tmp_path / f"{n}.txt").write_bytes(b"document %d\n" % n)
    source = find_source(CorpusSpec(source="files", paths=(".",)), base=tmp_path)
    (tmp_path / "built").mkdir()
    options = {"tokenizer": wide, "heldout_fraction": 0.2, "how": Writing(shard_tokens=100)}
    fingerprint = write_corpus(tmp_path / "built", source, **options).fingerprint
    (tmp_path / "built").rename(tmp_path / fingerprint)
    corpus = load_corpus(tmp_path, fingerprint)
    assert corpus.manifest.vocab_size == 100_000
    assert corpus.train.n_bytes == 4 * corpus.manifest.n_train_tokens
    sides = (corpus.train, corpus.heldout)
    lines = [line for side in sides for line in wide.decode(side.windows([0], side.n_tokens)[0]).splitlines()]
    assert sorted(lines) == sorted(b"document %d" % n for n in range(40))


def test_the_manifest_of_a_byte_corpus_is_the_file_it_always_was(build) -> None:
    corpus = build({f"{n}.txt": b"document %d" % n for n in range(40)}, heldout_fraction=0.2)
    assert corpus.manifest.vocab_size == 257
    assert "vocab_size" not in json.loads(corpus.manifest.to_json())


def test_the_width_of_a_token_is_decided_in_one_place() -> None:
    root = Path(isoflop.__file__).parent
    decided = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if path.parent.name != "export"  # where those are bits of weights
        and re.search(r"uint16|uint32|[<>=]u[24]\b|0xFFFF\b", path.read_text(encoding="utf-8"))
    }
    assert decided == {"corpus/tokenizers/tokenizer.py"}
