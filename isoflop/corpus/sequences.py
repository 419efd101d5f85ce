"""Batches out of a corpus, as a function of seed and position alone: no state, no workers, any batch size."""

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.corpus import Corpus
from isoflop.corpus.order import window_order
from isoflop.corpus.shards import TokenStream
from isoflop.errors import IsoflopError

Sequences = NDArray[np.int64]
Starts = NDArray[np.int64]


def batch(corpus: Corpus, *, seed: int, first_sequence: int, n_sequences: int, context_length: int) -> Sequences:
    """Training sequences `first_sequence` .. `first_sequence + n_sequences` of a run, (n_sequences, T + 1).

    T is `context_length`; column t + 1 is the target of column t. They are the windows of the training text that
    begin at `batch_starts` of the same arguments.

    Raises:
        IsoflopError: the training text is shorter than one sequence.
    """
    starts = batch_starts(
        corpus, seed=seed, first_sequence=first_sequence, n_sequences=n_sequences, context_length=context_length
    )
    return corpus.train.windows(starts.tolist(), context_length + 1)


def batch_starts(corpus: Corpus, *, seed: int, first_sequence: int, n_sequences: int, context_length: int) -> Starts:
    """Where in the training text those sequences begin, (n_sequences,). No token is read.

    Windows start T tokens apart and share one token, so each token is a target once per epoch (but for a last
    incomplete window). Every epoch visits every window once, in an order of its own given by `seed`.

    Raises:
        IsoflopError: the training text is shorter than one sequence.
    """
    n_windows = _n_windows(corpus.train, context_length, side="training")
    starts = np.empty(n_sequences, np.int64)
    position, stop = first_sequence, first_sequence + n_sequences
    while position < stop:
        epoch, first = divmod(position, n_windows)
        n_here = min(stop - position, n_windows - first)
        order = window_order(n_windows, seed=seed, epoch=epoch)
        done = position - first_sequence
        starts[done : done + n_here] = order.at(np.arange(first, first + n_here)) * context_length
        position += n_here
    return starts


def heldout_sequences(corpus: Corpus, *, n_tokens: int, context_length: int) -> Sequences:
    """The sequences of the held-out loss, (m, T + 1), spread evenly over the held-out text.

    m * T is `n_tokens` rounded down to whole sequences, at least one; fewer where the text has no more, so count
    the rows. The same for every run with this context length.

    Raises:
        IsoflopError: the held-out text is shorter than one sequence.
    """
    n_windows = _n_windows(corpus.heldout, context_length, side="held-out")
    n_sequences = min(max(1, n_tokens // context_length), n_windows)
    starts = [i * n_windows // n_sequences * context_length for i in range(n_sequences)]
    return corpus.heldout.windows(starts, context_length + 1)


def _n_windows(stream: TokenStream, context_length: int, *, side: str) -> int:
    n_windows = (stream.n_tokens - 1) // context_length
    if n_windows < 1:
        raise IsoflopError(
            f"The {side} text has {stream.n_tokens} tokens, too few for a sequence of {context_length} and its target.",
            hint="Use a larger corpus, a shorter model.context_length or another corpus.heldout_fraction.",
        )
    return n_windows
