"""Batches on the device that trains: gathered there from a resident copy of the corpus, or sent step by step.

Both roads give the tokens of `isoflop.corpus.batch`, to the bit.

Legend: n sequences per batch, T tokens of context.
"""

from typing import Protocol

import torch
from torch import Tensor

from isoflop.corpus import Corpus, batch, batch_starts
from isoflop.run_spec import RunSpec

# The corpus stays on a GPU if it takes less than this share of the memory that is free. Plans hand a run 80 % of the
# device, the context and the allocator need some of the rest; larger corpora belong to models whose steps hide a copy.
RESIDENT_SHARE = 0.05
# Tokens are stored as unsigned numbers, for which torch has few operations; as signed ones it has all. A mask of the
# token's width restores the values that became negative.
SIGNED = {2: torch.int16, 4: torch.int32}


class Batches(Protocol):
    """The training sequences of a run, on a device."""

    def __call__(self, step: int, n_steps: int = 1) -> Tensor:
        """The batch of `step` (0, 1, ...), or of `n_steps` from there: (n_steps n, T + 1), int64."""


def training_batches(run: RunSpec, corpus: Corpus, device: torch.device) -> Batches:
    """Batches of `run` on `device`, by the road that suits it.

    Raises:
        IsoflopError: the training text is shorter than one sequence (when a batch is asked for).
    """
    if device.type == "cuda":
        n_bytes_free, _ = torch.cuda.mem_get_info(device)
        if corpus.train.n_bytes < RESIDENT_SHARE * n_bytes_free:
            return resident_batches(run, corpus, device)
    return streamed_batches(run, corpus, device)


def resident_batches(run: RunSpec, corpus: Corpus, device: torch.device) -> Batches:
    """Batches gathered on `device`, where the whole training text lies: only their n positions travel."""
    stream = _upload(corpus, device)
    offsets = torch.arange(run.shape.context_length + 1, device=device)
    mask = (1 << 8 * corpus.train.dtype.itemsize) - 1

    def batch_of(step: int, n_steps: int = 1) -> Tensor:
        starts = torch.from_numpy(batch_starts(corpus, **_position(run, step, n_steps))).to(device)
        tokens = stream[starts[:, None] + offsets]  # (n, T + 1)
        return tokens.to(torch.int64) & mask

    return batch_of


def streamed_batches(run: RunSpec, corpus: Corpus, device: torch.device) -> Batches:
    """Batches read from the mapped files and sent to `device`; to a GPU from pinned memory, without waiting."""

    def batch_of(step: int, n_steps: int = 1) -> Tensor:
        tokens = torch.from_numpy(batch(corpus, **_position(run, step, n_steps)))
        if device.type == "cuda":
            # torch hands pinned memory out again only when the copy is done.
            return tokens.pin_memory().to(device, non_blocking=True)
        return tokens

    return batch_of


def _upload(corpus: Corpus, device: torch.device) -> Tensor:
    """The training text in the width it is stored in, (n_tokens,), signed, on `device`."""
    n_bytes = corpus.train.dtype.itemsize
    stream = torch.empty(corpus.train.n_tokens, dtype=SIGNED[n_bytes], device=device)
    for start, piece in corpus.train.pieces():
        stream[start : start + len(piece)] = torch.from_numpy(piece.view(f"=i{n_bytes}"))
    return stream


def _position(run: RunSpec, step: int, n_steps: int) -> dict[str, int]:
    """Which sequences `n_steps` from `step` (0, 1, ...) train on, as the corpus asks for them."""
    return {
        "seed": run.seed,
        "first_sequence": step * run.batch_sequences,
        "n_sequences": n_steps * run.batch_sequences,
        "context_length": run.shape.context_length,
    }
