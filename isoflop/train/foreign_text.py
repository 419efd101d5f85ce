"""Bits per byte of a text that no model of the sweep was trained on."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from isoflop.corpus import Tokenizer
from isoflop.errors import IsoflopError
from isoflop.result import TEXT_METRIC, Metric
from isoflop.train.metrics import bits_per_byte, in_bits
from isoflop.train.model import Decoder
from isoflop.train.score import window_losses

Between = Callable[[], None]
_HASH_DIGITS = 16
# Windows of a text, evenly spread: as many tokens as the held-out loss has by default.
_MOST_TOKENS = 131_072
# A longer text is encoded in pieces from all over it, of so much or of several windows each.
_MOST_BYTES, _PIECE_BYTES, _PIECE_WINDOWS = 4 << 20, 128 << 10, 4
# Bytes that a token hardly ever exceeds on average.
_BYTES_PER_TOKEN = 8


@dataclass(frozen=True)
class ForeignText:
    """A text that no model of the sweep was trained on, UTF-8, by a name for its metric."""

    name: str
    content: bytes

    @property
    def metric_name(self) -> str:
        """What its metric is called."""
        return f"{TEXT_METRIC}{self.name}_bits_per_byte"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the text."""
        return hashlib.sha256(self.content).hexdigest()[:_HASH_DIGITS]


@dataclass(frozen=True)
class Windows:
    """What of a text is read.

    Attributes:
        tokens: (n, T + 1).
        n_bytes: of the text behind the T tokens that are predicted, (n,).
    """

    tokens: NDArray[np.int64]
    n_bytes: NDArray[np.float64]


# A process that measures run after run encodes a text once.
_MADE: dict[tuple[str, str, int], Windows] = {}


def text_windows(text: ForeignText, tokenizer: Tokenizer, context_length: int) -> Windows:
    """Windows of the context length, at most 131,072 tokens from all over the text.

    Raises:
        IsoflopError: the text is shorter than one window.
    """
    key = text.fingerprint, tokenizer.name, context_length
    if key not in _MADE:
        _MADE[key] = _windows(text, tokenizer, context_length)
    return _MADE[key]


def _windows(text: ForeignText, tokenizer: Tokenizer, length: int) -> Windows:
    pieces = [tokenizer.encode_with_sizes(piece) for piece in _pieces(text.content, length)]
    n_tokens = [len(tokens) - 1 for tokens, _ in pieces]  # without the separator: nothing ends here
    places = [(at, start) for at, n in enumerate(n_tokens) for start in range(0, n - length, length)]
    if not places:
        raise IsoflopError(
            f"The text {text.name!r} has {sum(n_tokens)} tokens, too few for a window of {length} and its target.",
            hint="Name a longer text with --text.",
        )
    n_read = min(len(places), max(1, _MOST_TOKENS // length))
    read = [places[i * len(places) // n_read] for i in range(n_read)]
    return Windows(
        np.stack([pieces[at][0][start : start + length + 1] for at, start in read]).astype(np.int64),
        np.array([pieces[at][1][start + 1 : start + length + 1].sum() for at, start in read], np.float64),
    )


def _pieces(content: bytes, length: int) -> list[bytes]:
    """The text, or of a long one pieces from all over it, each of whole characters."""
    size = max(_PIECE_BYTES, _PIECE_WINDOWS * _BYTES_PER_TOKEN * (length + 1))
    if len(content) <= max(_MOST_BYTES, 2 * size):
        return [content]
    n_pieces = max(2, _MOST_BYTES // size)
    starts = (i * (len(content) - size) // (n_pieces - 1) for i in range(n_pieces))
    return [content[start : start + size].decode(errors="ignore").encode() for start in starts]


def text_metric(model: Decoder, text: ForeignText, tokenizer: Tokenizer, between: Between = lambda: None) -> Metric:
    """Bits per byte of `text` over its windows; `model` in float32, on any device.

    Raises:
        IsoflopError: the text is shorter than one window.
    """
    windows = text_windows(text, tokenizer, model.shape.context_length)
    nats = window_losses(model, torch.from_numpy(windows.tokens), between)
    bits, error = bits_per_byte(nats, windows.n_bytes)
    return in_bits(text.metric_name, bits, error, len(nats), text.fingerprint)
