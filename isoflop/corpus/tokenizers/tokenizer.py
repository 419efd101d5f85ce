"""How text becomes tokens. A tokenizer is a value: its name, its sizes and two functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger[Any]]
Sizes = NDArray[np.int64]
TokenDtype = np.dtype[np.unsignedinteger[Any]]

_N_BYTE_VALUES = 256


def token_dtype(vocab_size: int) -> TokenDtype:
    """The narrowest type that holds the tokens 0 .. vocab_size - 1: 16 bits up to a vocabulary of 65,536, else 32.

    Its byte order is that of the files too, so that a corpus can be copied to another machine.
    """
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


@dataclass(frozen=True)
class Tokenizer:
    """Text to tokens and back.

    Attributes:
        name: what RunSpecs, manifests and fingerprints call it.
        vocab_size: tokens are 0 .. vocab_size - 1.
        separator: the token that ends every document; None where nobody said which does.
        encode: the tokens of one document, the separator last.
        decode: the text of tokens, without separators.
        together: the tokens of several documents at once, where that is quicker than one by one.
        file: the tokenizer.json that it is made of; None where it is made of none.
        keeps_any_bytes: whether a text that is not UTF-8 is encoded as it is.
        sized: `encode_with_sizes`, where tokens are not bytes.
    """

    name: str
    vocab_size: int
    separator: int | None
    encode: Callable[[bytes], Tokens]
    decode: Callable[[Tokens], bytes]
    together: Callable[[Sequence[bytes]], list[Tokens]] | None = None
    file: bytes | None = None
    keeps_any_bytes: bool = True
    sized: Callable[[bytes], tuple[Tokens, Sizes]] | None = None

    @property
    def dtype(self) -> TokenDtype:
        """How its tokens are stored."""
        return token_dtype(self.vocab_size)

    def encode_many(self, texts: Sequence[bytes]) -> list[Tokens]:
        """The tokens of each of the documents, as `encode` gives them."""
        return self.together(texts) if self.together else [self.encode(text) for text in texts]

    def encode_with_sizes(self, text: bytes) -> tuple[Tokens, Sizes]:
        """The tokens of `encode`, (n,), and how many bytes of the text each stands for, (n,).

        A character of several tokens belongs to its first; to decode tokens one by one would make U+FFFD of its parts.
        """
        if self.sized:
            return self.sized(text)
        tokens = self.encode(text)
        return tokens, np.append(np.ones(len(tokens) - 1, np.int64), 0)


def _encode_bytes(text: bytes) -> Tokens:
    tokens = np.empty(len(text) + 1, BYTE.dtype)
    tokens[:-1] = np.frombuffer(text, np.uint8)
    tokens[-1] = _N_BYTE_VALUES
    return tokens


def _decode_bytes(tokens: Tokens) -> bytes:
    if tokens.size and tokens.max() > _N_BYTE_VALUES:
        raise ValueError(f"token {tokens.max()} is outside the byte vocabulary")
    values: NDArray[np.uint8] = tokens[tokens != _N_BYTE_VALUES].astype(np.uint8)
    return values.tobytes()


BYTE = Tokenizer(
    name="byte",
    vocab_size=_N_BYTE_VALUES + 1,
    separator=_N_BYTE_VALUES,
    encode=_encode_bytes,
    decode=_decode_bytes,
)


def bytes_per_token(n_bytes: int, n_tokens: int) -> float:
    """Bytes of text per token, separators counted as tokens of no text.

    nats per token / (ln 2 * this) = bits per byte, which unlike a loss per token compares across tokenizers.
    """
    return n_bytes / n_tokens
