"""The tokenizer of a corpus that is tokens already: it changes nothing."""

from dataclasses import replace

import numpy as np

from isoflop.corpus.tokenizers.tokenizer import TokenDtype, Tokenizer, Tokens, token_dtype
from isoflop.corpus_facts import CorpusFacts
from isoflop.spec import CorpusSpec

_NAME = "tokens-"


def ready_tokenizer(spec: CorpusSpec) -> Tokenizer | None:
    """The tokenizer of ready tokens, whose text is their bytes; None where the corpus is text."""
    first = spec.sources[0]
    if first.source != "tokens":
        return None
    assert first.vocab_size is not None  # the sweep file was checked
    dtype = token_dtype(first.vocab_size)
    # Bits per byte are another measure where another text is said to stand behind the tokens.
    stated = "" if first.bytes_per_token is None else f"-{first.bytes_per_token!r}"
    return Tokenizer(
        name=f"{_NAME}{first.vocab_size}{stated}",
        vocab_size=first.vocab_size,
        separator=first.separator,
        encode=_Identity(dtype),
        decode=_bytes_of,
    )


def as_stated(facts: CorpusFacts, spec: CorpusSpec) -> CorpusFacts:
    """The facts of a corpus that nobody has read, with the vocabulary that the sweep file states for ready tokens."""
    ready = ready_tokenizer(spec)
    if ready is None:
        return facts
    bytes_per_token = stated_bytes_per_token(ready.name)
    return replace(facts, tokenizer=ready.name, vocab_size=ready.vocab_size, bytes_per_token=bytes_per_token)


def is_ready(tokenizer: str) -> bool:
    """Whether the tokenizer of that name stands for tokens whose text is elsewhere."""
    return tokenizer.startswith(_NAME)


def stated_bytes_per_token(tokenizer: str) -> float | None:
    """Bytes of text per token that the sweep file gave for such tokens; None where it gave none."""
    _, _, stated = tokenizer.removeprefix(_NAME).partition("-")
    return float(stated) if stated else None


class _Identity:
    """Tokens out of their bytes."""

    def __init__(self, dtype: TokenDtype) -> None:
        self._dtype = dtype

    def __call__(self, text: bytes) -> Tokens:
        return np.frombuffer(text, self._dtype)


def _bytes_of(tokens: Tokens) -> bytes:
    return tokens.tobytes()
