"""The held-out loss: one number per run, with its standard error."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from isoflop.rundir import Execution
from isoflop.train.model import Decoder
from isoflop.train.precision import forward_context
from isoflop.train.progress import HeldoutLoss


@torch.no_grad()
def heldout_loss(
    model: Decoder,
    sequences: Tensor,
    execution: Execution,
    *,
    bytes_per_token: float,
    after_pass: Callable[[], None],
) -> HeldoutLoss:
    """Mean next-token loss over `sequences` (n, T + 1), each counted whole.

    The standard error treats sequences as independent draws: sd over sequences / sqrt(n).
    """
    model.eval()
    device = next(model.parameters()).device
    n_sequences, length = sequences.shape[0], sequences.shape[1] - 1
    per_pass = max(1, execution.eval_batch_tokens // length)
    losses = []
    for chunk in torch.split(sequences, per_pass):
        losses.append(_sequence_losses(model, chunk.to(device), execution).to("cpu", torch.float64))
        after_pass()
    model.train()
    per_sequence = torch.cat(losses)  # (n,)
    spread = float(per_sequence.std()) if n_sequences > 1 else 0.0
    nats = float(per_sequence.mean())
    return HeldoutLoss(
        nats_per_token=nats,
        standard_error=spread / math.sqrt(n_sequences),
        n_tokens=n_sequences * length,
        bits_per_byte=nats / (math.log(2) * bytes_per_token),
    )


def _sequence_losses(model: Decoder, tokens: Tensor, execution: Execution) -> Tensor:
    with forward_context(execution):
        logits = model(tokens[:, :-1])  # (B, T, V)
    targets = tokens[:, 1:]  # (B, T)
    return _token_losses(logits.float(), targets).mean(dim=1)


def _token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, T). On a GPU by the one kernel that is deterministic; both differ in the last digit on a CPU."""
    if logits.is_cuda:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
