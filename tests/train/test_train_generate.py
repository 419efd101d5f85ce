"""Text from a model: cached as uncached, one seed one text, whole characters."""

import dataclasses
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch

from isoflop.corpus import Tokenizer
from isoflop.corpus.tokenizers.tokenizer import BYTE
from isoflop.errors import IsoflopError
from isoflop.train import generate as module
from isoflop.train.generate import generate, prompt_tokens, text_after, within_context
from isoflop.train.model import Decoder, build_model
from tests.run_examples import RUN


@pytest.fixture(scope="module")
def model() -> Decoder:
    made = build_model(RUN.shape, seed=0).eval()
    with torch.no_grad():
        made.lm_head.weight.normal_(0.0, 1.0, generator=torch.Generator().manual_seed(0))
        made.embed_tokens.weight.mul_(0.1)  # else a token says itself for ever
    return made


def uncached(model: Decoder, prompt: list[int]) -> Iterator[int]:
    seen = prompt
    while True:
        with torch.no_grad():
            token = int(model(torch.tensor([seen]))[0, -1].argmax())
        yield token
        seen = within_context([*seen, token], RUN.shape.context_length)


def test_cached_tokens_are_those_of_the_whole_forward_pass_also_where_the_context_is_full(model: Decoder) -> None:
    prompt = list(b"def f(x):")
    n_tokens = 2 * RUN.shape.context_length
    cached = list(islice(generate(model, prompt, temperature=0.0, seed=0), n_tokens))
    assert cached == list(islice(uncached(model, prompt), n_tokens))
    assert len(set(cached)) > 3


def test_a_prompt_that_is_too_long_is_read_from_its_last_half(model: Decoder) -> None:
    long = list(range(100))
    assert within_context(long, 64) == long[-32:]
    first = next(generate(model, long, temperature=0.0, seed=0))
    assert first == next(generate(model, long[-32:], temperature=0.0, seed=0))


@pytest.mark.slow(5)
def test_one_seed_gives_one_text_and_the_model_s_own_probabilities(model: Decoder) -> None:
    def drawn(seed: int, temperature: float) -> list[int]:
        return list(islice(generate(model, [65], temperature=temperature, seed=seed), 20))

    assert drawn(1, 1.0) == drawn(1, 1.0) != drawn(2, 1.0)
    for barely_warm in (1e-4, 1e-40, 1e-300, 5e-324):
        assert drawn(1, barely_warm) == list(islice(uncached(model, [65]), 20))
    with torch.no_grad():
        expected = model(torch.tensor([[65]]))[0, -1].softmax(0)
    n_draws = 3000
    firsts = [next(generate(model, [65], temperature=1.0, seed=seed)) for seed in range(n_draws)]
    likeliest = int(expected.argmax())
    share, p = firsts.count(likeliest) / n_draws, float(expected[likeliest])
    assert abs(share - p) < 4 * (p * (1 - p) / n_draws) ** 0.5


def said(monkeypatch: pytest.MonkeyPatch, tokens: list[int], tokenizer: Tokenizer = BYTE, n: int = 100) -> list[str]:
    monkeypatch.setattr(module, "generate", lambda *_, **__: iter(tokens))
    return list(text_after(None, tokenizer, "x", n_tokens=n, temperature=0.0, seed=0))


def test_a_character_comes_when_all_its_bytes_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = said(monkeypatch, list("aé€😀b".encode()))
    assert [piece for piece in pieces if piece] == ["a", "é", "€", "😀", "b"]
    broken = "".join(said(monkeypatch, [97, 0xE2, 0x82, 98, 0xFF]))
    assert broken == bytes([97, 0xE2, 0x82, 98, 0xFF]).decode("utf-8", "replace")
    cut = "".join(said(monkeypatch, list("€".encode()), n=2))
    assert cut == "\ufffd"


@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_a_long_text_is_decoded_in_pieces_that_join_to_the_whole(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """As many tokens decoded as there are, times a constant; also where the first one of a text loses its space."""

    def words(tokens: np.ndarray) -> bytes:
        return b"".join(b" w%d" % token for token in tokens).lstrip()

    n_decoded = 0

    def decode(tokens: np.ndarray) -> bytes:
        nonlocal n_decoded
        n_decoded += len(tokens)
        return BYTE.decode(tokens) if kind == "bytes" else words(tokens)

    n_tokens = 4000
    draw = np.random.default_rng(0)
    valid = np.frombuffer("aé€😀b ".encode() * 250, np.uint8)
    tokens = np.concatenate([draw.integers(0, 256, n_tokens - valid.size), valid]).astype("<u2")
    counted = dataclasses.replace(BYTE, decode=decode)
    joined = "".join(said(monkeypatch, tokens.tolist(), counted, n=n_tokens))
    assert joined == (BYTE.decode if kind == "bytes" else words)(tokens).decode("utf-8", "replace")
    assert n_decoded < 100 * n_tokens


def test_a_text_ends_with_its_document(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "".join(said(monkeypatch, [97, BYTE.separator, 98])) == "a"


def test_an_empty_prompt_starts_a_document() -> None:
    assert prompt_tokens(BYTE, "") == [BYTE.separator]
    assert prompt_tokens(BYTE, "ab") == [97, 98]
    nameless = Tokenizer("t", 10, None, lambda text: np.array([], "<u2"), lambda tokens: b"")
    with pytest.raises(IsoflopError, match="empty"):
        prompt_tokens(nameless, "")
