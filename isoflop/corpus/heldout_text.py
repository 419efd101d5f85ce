"""The held-out text of a built corpus as text again, and what turns other text into its tokens."""

from collections.abc import Iterator

import numpy as np

from isoflop.corpus.corpus import Corpus
from isoflop.corpus.ready_tokens import is_ready
from isoflop.corpus.tokenizers.tokenizer import Tokenizer
from isoflop.errors import IsoflopError

# What is looked through for questions; a second of work.
MOST_TOKENS = 2 << 20
# Read at once, evenly spread over a larger held-out text.
_BLOCK_TOKENS = 1 << 16


def tokenizer_of(corpus: Corpus) -> Tokenizer:
    """The tokenizer that the corpus was made with.

    Raises:
        IsoflopError: the corpus is tokens from elsewhere, or as of `Corpus.tokenizer`.
    """
    name = corpus.manifest.tokenizer
    if is_ready(name):
        raise IsoflopError(
            f"The corpus {corpus.manifest.fingerprint} is tokens from elsewhere: they have no text here.",
            hint='Models of text alone can be evaluated: train on it, with [tokenizer] kind = "file" for those tokens.',
        )
    return corpus.tokenizer


def heldout_documents(corpus: Corpus) -> list[bytes]:
    """The held-out documents, or where they are more than 2 million tokens, pieces of them from all over."""
    tokenizer, stream = tokenizer_of(corpus), corpus.heldout
    if stream.n_tokens <= MOST_TOKENS:
        spans = [(0, stream.n_tokens)]
    else:
        n_blocks = MOST_TOKENS // _BLOCK_TOKENS
        spans = [(i * (stream.n_tokens - _BLOCK_TOKENS) // (n_blocks - 1), _BLOCK_TOKENS) for i in range(n_blocks)]
    return [document for start, length in spans for document in _decoded(corpus, tokenizer, start, length)]


def _decoded(corpus: Corpus, tokenizer: Tokenizer, start: int, length: int) -> Iterator[bytes]:
    (window,) = corpus.heldout.windows([start], length)
    tokens = window.astype(tokenizer.dtype)
    for piece in np.split(tokens, np.flatnonzero(tokens == tokenizer.separator) + 1):
        if text := tokenizer.decode(piece):
            yield text
