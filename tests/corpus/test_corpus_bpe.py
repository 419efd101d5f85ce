"""Tokenizers of the library `tokenizers`: trained on the training text, or read from a file."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fuzz_tokenizers import fuzz
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from isoflop.corpus import Corpus, corpus_tokenizer, count_corpus, make_tokenizer, open_corpus, stated_tokenizer
from isoflop.corpus.findings import tokenizer_findings
from isoflop.corpus.tokenizers.bpe import SEPARATOR, evenly_spaced, step_within_memory, train_bpe
from isoflop.corpus.tokenizers.tokenizer import Tokenizer
from isoflop.corpus.tokenizers.tokenizer_file import file_tokenizer
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec

FILES = CorpusSpec(source="files", paths=("texts",), heldout_fraction=0.2)
BPE = TokenizerSpec(kind="bpe", vocab_size=280)
TEXTS = {f"{n:03}.txt": f"def function_{n}(argument):\n    return argument + {n * n}\n".encode() * 6 for n in range(60)}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "texts" / name).write_bytes(text)
    return tmp_path


def built(base: Path, tokenizer: TokenizerSpec = BPE, **options) -> Corpus:
    return open_corpus(FILES, tokenizer, root=base / "root", base=base, **options)


def documents(corpus: Corpus, tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of every document, without separators."""
    found = []
    for stream in (corpus.train, corpus.heldout):
        tokens = stream.windows([0], stream.n_tokens)[0]
        assert tokens[-1] == tokenizer.separator
        ends = np.flatnonzero(tokens == tokenizer.separator)
        found += [piece.tolist() for piece in np.split(tokens, ends + 1)[:-1]]
    return [tokens[:-1] for tokens in found]


def test_tokens_are_the_librarys_own_for_whole_documents(base: Path) -> None:
    corpus = built(base)
    folder = base / "root" / corpus.manifest.fingerprint
    library = Library.from_file(str(folder / "tokenizer.json"))
    expected = sorted(library.encode(text.decode()).ids for text in TEXTS.values())
    assert sorted(documents(corpus, corpus.tokenizer)) == expected
    assert library.get_vocab_size() == corpus.manifest.vocab_size
    assert library.token_to_id(SEPARATOR) == corpus.manifest.separator == 0


def test_a_trained_tokenizer_is_named_after_its_file_and_is_that_of_the_corpus(base: Path) -> None:
    corpus = built(base)
    facts, manifest = corpus.facts, corpus.manifest
    assert facts.tokenizer == manifest.tokenizer == corpus.tokenizer.name
    assert manifest.tokenizer.startswith(f"bpe-{manifest.vocab_size}-")
    assert facts.vocab_size == manifest.vocab_size == 280
    assert corpus_tokenizer(base / "root", manifest.fingerprint).file == corpus.tokenizer.file
    assert facts.bytes_per_token == manifest.n_heldout_bytes / manifest.n_heldout_tokens > 1.5
    assert manifest.n_sample_bytes == manifest.n_train_bytes
    assert built(base).manifest == manifest
    counted = count_corpus(FILES, BPE, root=base / "elsewhere", base=base)
    assert counted == facts
    assert not (base / "elsewhere").exists()


def test_another_vocabulary_is_another_corpus(base: Path) -> None:
    small = built(base, TokenizerSpec(kind="bpe", vocab_size=270)).manifest
    assert small.vocab_size == 270
    assert small.fingerprint != built(base).manifest.fingerprint


def test_a_tokenizer_knows_nothing_of_the_held_out_text(base: Path) -> None:
    marker = "Zyxwvutsrq"
    for number in range(200):
        (base / "texts" / f"marked-{number}.txt").write_bytes(f"{marker} {number}\n".encode() * 20)
    both = built(base, TokenizerSpec())
    texts = [bytes(piece) for piece in documents(both, both.tokenizer)]
    n_train = both.manifest.n_train_documents
    for number in range(200):
        text = f"{marker} {number}\n".encode() * 20
        if text in texts[:n_train]:
            (base / "texts" / f"marked-{number}.txt").unlink()
    corpus = built(base, TokenizerSpec(kind="bpe", vocab_size=1000))
    kept = [corpus.tokenizer.decode(np.array(piece, np.uint16)) for piece in documents(corpus, corpus.tokenizer)]
    n_train = corpus.manifest.n_train_documents
    assert not any(marker.encode() in text for text in kept[:n_train])
    assert sum(marker.encode() in text for text in kept[n_train:]) > 5
    assert corpus.tokenizer.file is not None
    assert "Zyx" not in corpus.tokenizer.file.decode()


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return file_tokenizer(train_bpe(TEXTS.values(), 500), kind="bpe", where="it")


@pytest.mark.slow(5)
@settings(max_examples=150)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_every_text_comes_back_from_its_tokens(trained: Tokenizer, texts: list[str]) -> None:
    encoded = [text.encode() for text in texts]
    tokens = trained.encode_many(encoded)
    assert [trained.decode(piece) for piece in tokens] == encoded
    assert trained.decode(np.concatenate(tokens)) == b"".join(encoded)
    assert all(np.array_equal(piece, trained.encode(text)) for piece, text in zip(tokens, encoded, strict=True))
    assert all(np.count_nonzero(piece == trained.separator) == 1 for piece in tokens)


def test_a_separator_in_the_text_is_text(trained: Tokenizer) -> None:
    text = b"the token <|endoftext|> ends a document"
    tokens = trained.encode(text)
    assert np.flatnonzero(tokens == trained.separator).tolist() == [len(tokens) - 1]
    assert trained.decode(tokens) == text


def test_the_file_is_the_same_with_one_thread_and_with_two() -> None:
    code = (
        "import hashlib, os, sys\nos.environ.pop('TOKENIZERS_PARALLELISM', 0)\n"
        "from isoflop.corpus.tokenizers import bpe\n"
        "texts = [(f'word{n % 97} other{n % 31} and so on {n}\\n' * 9).encode() for n in range(400)]\n"
        "library = bpe.tokenizers_library\n"
        "def threaded():\n"
        "    made = library()\n    os.environ['TOKENIZERS_PARALLELISM'] = sys.argv[1]\n    return made\n"
        "bpe.tokenizers_library = threaded\n"
        "print(hashlib.sha256(bpe.train_bpe(texts, 700)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, parallel],
            env={**os.environ, "RAYON_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for parallel, threads in (("false", "1"), ("true", "2"))
    }
    assert len(digests) == 1


def test_a_text_too_small_for_the_vocabulary_gives_fewer_tokens_and_says_so(base: Path) -> None:
    asked = TokenizerSpec(kind="bpe", vocab_size=5000)
    facts = built(base, asked).facts
    assert 257 < facts.vocab_size < 5000
    (finding,) = tokenizer_findings(asked, facts)
    assert finding.code == "small_vocabulary"
    assert str(facts.vocab_size) in finding.message
    assert list(tokenizer_findings(BPE, built(base).facts)) == []


def test_bytes_that_are_not_utf8_are_replaced_and_counted(base: Path) -> None:
    for number in range(20):
        (base / "texts" / f"latin-{number}.txt").write_bytes(b"caf\xe9 number %d, na\xefve\n" % number * 3)
    corpus = built(base)
    manifest = corpus.manifest
    assert manifest.n_replaced_bytes == 20 * 2 * 3
    texts = [(base / "texts" / path.name).read_bytes() for path in (base / "texts").iterdir()]
    encoded = sum(len(text.decode(errors="replace").encode()) for text in texts)
    assert manifest.n_train_bytes + manifest.n_heldout_bytes == encoded
    assert [finding.code for finding in tokenizer_findings(BPE, corpus.facts)] == ["replaced_bytes"]


def test_a_large_text_is_sampled_evenly() -> None:
    texts = [b"%06d" % n + b"x" * 94 for n in range(1000)]
    places = [int(text[:6]) for text in evenly_spaced(texts, n_bytes=100_000, most=10_000)]
    assert len(places) == 100
    assert {after - before for before, after in pairwise(places)} == {10}
    assert list(evenly_spaced(texts, n_bytes=100_000, most=100_000)) == texts


def test_a_text_of_many_different_words_is_sampled_less_often() -> None:
    texts = [
        " ".join(f"{chr(97 + n % 26)}{chr(97 + n // 26)}{'xy' * n}" for n in range(m, m + 40)).encode()
        for m in range(64)
    ]
    n_letters = sum(len(word) for word in {word for text in texts for word in text.decode().split()})
    assert step_within_memory(texts, most=2 * n_letters) == 1
    assert step_within_memory(texts * 5, most=2 * n_letters) == 1
    assert step_within_memory(texts, most=n_letters // 4) > 1
    assert step_within_memory(texts, most=1) == 1024


def saved(base: Path, library: Library, name: str = "tokenizer.json") -> TokenizerSpec:
    library.save(str(base / name))
    return TokenizerSpec(kind="file", path=name)


def byte_level(vocabulary: dict[str, int], *added: AddedToken) -> Library:
    made = Library(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_tokens(list(added))
    return made


ALPHABET = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
END = AddedToken("<|endoftext|>", special=True)


def test_any_tokenizer_file_is_read_and_kept_beside_the_corpus(base: Path) -> None:
    spec = saved(base, byte_level(ALPHABET, END, AddedToken("<|im_start|>", special=True)))
    corpus = built(base, spec)
    assert (corpus.manifest.vocab_size, corpus.manifest.separator) == (258, 256)
    assert corpus.manifest.tokenizer.startswith("file-258-")
    assert stated_tokenizer(spec, base=base) == (corpus.manifest.tokenizer, 258)
    folder = base / "root" / corpus.manifest.fingerprint
    assert (folder / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert corpus.manifest.n_checked == corpus.manifest.n_heldout_documents
    assert corpus.manifest.n_lossy == 0
    library = byte_level(ALPHABET, END, AddedToken("<|other|>", special=True))
    assert built(base, saved(base, library)).manifest.fingerprint != corpus.manifest.fingerprint


def test_a_lost_or_changed_tokenizer_file_is_noticed_and_built_again(base: Path) -> None:
    manifest = built(base).manifest
    path = base / "root" / manifest.fingerprint / "tokenizer.json"
    good = path.read_bytes()
    for bad in (None, good + b"\n"):
        if bad is None:
            path.unlink()
        else:
            path.write_bytes(bad)
        with pytest.raises(IsoflopError, match=r"damaged: tokenizer\.json"):
            corpus_tokenizer(base / "root", manifest.fingerprint)
        assert built(base).manifest == manifest
        assert path.read_bytes() == good


def test_ids_beyond_16_bits_are_stored_in_32(base: Path) -> None:
    wide = {letter: number + 70_000 for letter, number in ALPHABET.items()}
    corpus = built(base, saved(base, byte_level(wide, END)))
    assert corpus.manifest.vocab_size == 70_256
    assert corpus.train.dtype == np.dtype("<u4")
    assert corpus.tokenizer.decode(corpus.train.windows([0], 200)[0].astype("<u4")).startswith(b"def function")


def test_a_normaliser_that_changes_the_text_is_found_by_decoding(base: Path) -> None:
    library = byte_level(ALPHABET, END)
    library.normalizer = normalizers.Lowercase()
    for name, text in TEXTS.items():
        (base / "texts" / name).write_bytes(text.upper())
    spec = saved(base, library)
    facts = built(base, spec).facts
    assert facts.encoding.n_lossy == facts.encoding.n_checked > 0
    assert [finding.code for finding in tokenizer_findings(spec, facts)] == ["lossy_tokenizer"]


@pytest.mark.parametrize(
    ("added", "separator", "said"),
    [
        ([], None, "names no end of a text"),
        ([END, AddedToken("</s>", special=True)], None, "several tokens that may end a document (<|endoftext|>, </s>)"),
        ([END], "<eos>", "has no token '<eos>'"),
        ([AddedToken("<|endoftext|>", special=False)], None, "would end there"),
    ],
    ids=["none", "ambiguous", "unknown", "not special"],
)
def test_a_file_without_one_clear_separator_asks_for_the_key(base: Path, added, separator, said: str) -> None:
    spec = saved(base, byte_level(ALPHABET, *added)).model_copy(update={"separator": separator})
    with pytest.raises(IsoflopError) as caught:
        make_tokenizer(spec, base=base)
    assert said in caught.value.message
    assert "tokenizer.json" in caught.value.message
    assert "separator" in caught.value.hint


def test_a_separator_can_be_chosen(base: Path) -> None:
    library = byte_level(ALPHABET, END, AddedToken("</s>", special=True))
    spec = saved(base, library).model_copy(update={"separator": "</s>"})
    made = make_tokenizer(spec, base=base)
    assert isinstance(made, Tokenizer)
    assert made.separator == library.token_to_id("</s>")


GOOD = json.loads(byte_level(ALPHABET, END).to_str())
BAD_REGEX = {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
MALFORMED = {
    "empty": b"",
    "cut": json.dumps(GOOD).encode()[:300],
    "null": b"null",
    "list": b"[]",
    "no model": b"{}",
    "deep": b'{"a":' * 100_000,
    "not UTF-8": b"\xff\xfe{",
    "merge of unknown tokens": json.dumps({**GOOD, "model": {**GOOD["model"], "merges": [["xx", "yy"]]}}).encode(),
    "negative id": json.dumps({**GOOD, "model": {**GOOD["model"], "vocab": {"a": -1}}}).encode(),
    "id beyond 32 bits": json.dumps({**GOOD, "model": {**GOOD["model"], "vocab": {"a": 2**40}}}).encode(),
    "huge id": json.dumps({**GOOD, "model": {**GOOD["model"], "vocab": {"a": 4_000_000_000}}}).encode(),
    "random": json.dumps({**GOOD, "model": {**GOOD["model"], "dropout": 0.1}}).encode(),
    "bad regex": json.dumps({**GOOD, "pre_tokenizer": BAD_REGEX}).encode(),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_one_sentence_with_its_path(base: Path, content: bytes) -> None:
    (base / "bad.json").write_bytes(content)
    with pytest.raises(IsoflopError) as caught:
        built(base, TokenizerSpec(kind="file", path="bad.json"))
    assert f"{str(base / 'bad.json')!r} is not a usable tokenizer.json: " in caught.value.message
    assert "\n" not in caught.value.message
    assert not list((base / "root").glob("*/*.bin"))


def test_a_missing_tokenizer_file_is_an_error_of_the_user(base: Path) -> None:
    with pytest.raises(IsoflopError, match=r"Cannot read the tokenizer .*no\.json"):
        built(base, TokenizerSpec(kind="file", path="no.json"))


def test_garbled_tokenizer_files_are_tokenizers_or_refused_in_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    counts = fuzz(seed=7, n_cases=400)
    assert counts["accepted"] > 10
    assert counts["refused"] > 200
    assert counts["slow"] == 0
    assert capfd.readouterr().err == ""


def test_a_panic_of_the_library_is_an_error_of_the_file(capfd: pytest.CaptureFixture[str]) -> None:
    # A continuing prefix longer than the tokens: the library slices beyond the end.
    content = json.loads(train_bpe([b"some words " * 9], 262))
    content["model"]["continuing_subword_prefix"] = "a prefix longer than any token"
    with pytest.raises(IsoflopError, match="not a usable"):
        file_tokenizer(json.dumps(content).encode(), kind="file", where="it")
    assert capfd.readouterr().err == ""


def test_a_missing_library_is_told_before_the_text_is_read(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    heard: list[object] = []
    with pytest.raises(IsoflopError, match="need the library tokenizers, which is not installed"):
        built(base, on_progress=heard.append)
    assert not heard
