"""Log likelihoods of choices given their contexts, in batches, and of a text in windows: what metrics are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from numpy.typing import NDArray
from torch import Tensor

from isoflop.train.model import Decoder

# Fixed, for another split into batches may change the last bit: the same model has the same scores. Logits of a large
# vocabulary are what takes memory: 256 MiB, and as much for their logarithms.
BATCH_TOKENS, MOST_LOGITS = 8192, 1 << 26

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Continuation:
    """Tokens to be scored, and those that they follow: together at most one more than the context length."""

    context: Sequence[int]
    tokens: Sequence[int]

    @property
    def length(self) -> int:
        """Tokens that the model reads: all but the last."""
        return len(self.context) + len(self.tokens) - 1


def log_likelihoods(
    model: Decoder, continuations: Sequence[Continuation], between: Callable[[], None] = lambda: None
) -> Floats:
    """The log likelihood of each continuation given its context, nats, (n,), computed in float32.

    Those of like length go through the model together; what is beyond an end is not looked at, for the model is causal.
    """
    found = np.empty(len(continuations), np.float64)
    order = sorted(range(len(continuations)), key=lambda index: continuations[index].length)
    for batch in _batches(order, continuations, batch_tokens(model)):
        found[batch] = _of_batch(model, [continuations[index] for index in batch])
        between()
    return found


def batch_tokens(model: Decoder) -> int:
    """Tokens that go through the model together, unless one sequence alone has more."""
    return min(BATCH_TOKENS, MOST_LOGITS // model.shape.vocab_size)


def _batches(order: Sequence[int], continuations: Sequence[Continuation], most: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in order:
        # The longest of a batch is its last.
        if not batches or (len(batches[-1]) + 1) * continuations[index].length > most:
            batches.append([])
        batches[-1].append(index)
    return batches


@torch.no_grad()
def _of_batch(model: Decoder, batch: Sequence[Continuation]) -> Floats:
    longest = max(one.length for one in batch)
    tokens = torch.zeros((len(batch), longest + 1), dtype=torch.int64)
    counted = torch.zeros((len(batch), longest), dtype=torch.bool)
    for row, one in enumerate(batch):
        tokens[row, : one.length + 1] = torch.tensor([*one.context, *one.tokens])
        counted[row, one.length - len(one.tokens) : one.length] = True
    losses = token_losses(model, tokens)
    return (-losses * counted).sum(dim=1).numpy()


@torch.no_grad()
def window_losses(model: Decoder, windows: Tensor, between: Callable[[], None] = lambda: None) -> Floats:
    """The sum of next-token losses of each window (n, T + 1), nats, (n,), computed in float32."""
    sums = []
    for chunk in torch.split(windows, max(1, batch_tokens(model) // (windows.shape[1] - 1))):
        sums.append(token_losses(model, chunk).sum(dim=1))
        between()
    return torch.cat(sums).numpy()


def token_losses(model: Decoder, tokens: Tensor) -> Tensor:
    """The loss of each token but the first given those before it, nats, (n, T) of (n, T + 1), float64 on the CPU."""
    here = tokens.to(next(model.parameters()).device)
    logits = model(here[:, :-1]).float()  # (n, T, V)
    losses = F.cross_entropy(logits.flatten(0, 1), here[:, 1:].flatten(), reduction="none")
    return losses.view(len(tokens), -1).to("cpu", torch.float64)
