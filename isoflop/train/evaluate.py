"""The held-out loss: one number per run, with its standard error."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from isoflop.rundir import Execution
from isoflop.train.precision import forward_context
from isoflop.train.progress import HeldoutLoss

# Mean losses (n,) of sequences of tokens (n, T + 1), on any device.
SequenceLosses = Callable[[Tensor], Tensor]


def heldout_loss(
    sequences: Tensor,
    losses_of: SequenceLosses,
    *,
    pass_tokens: int,
    bytes_per_token: float | None,
    after_pass: Callable[[], None],
) -> HeldoutLoss:
    """Mean next-token loss over `sequences` (n, T + 1), each counted whole, `pass_tokens` of them at a time.

    The standard error treats sequences as independent draws: sd over sequences / sqrt(n).
    """
    n_sequences, length = sequences.shape[0], sequences.shape[1] - 1
    losses = []
    for chunk in torch.split(sequences, max(1, pass_tokens // length)):
        losses.append(losses_of(chunk).to("cpu", torch.float64))
        after_pass()
    per_sequence = torch.cat(losses)  # (n,)
    spread = float(per_sequence.std()) if n_sequences > 1 else 0.0
    nats = float(per_sequence.mean())
    return HeldoutLoss(
        nats_per_token=nats,
        standard_error=spread / math.sqrt(n_sequences),
        n_tokens=n_sequences * length,
        bits_per_byte=None if bytes_per_token is None else nats / (math.log(2) * bytes_per_token),
    )


def torch_losses(model: nn.Module, execution: Execution) -> SequenceLosses:
    """What takes mean losses of sequences with torch, on the model's device."""
    device = next(model.parameters()).device

    @torch.no_grad()
    def losses_of(sequences: Tensor) -> Tensor:
        tokens = sequences.to(device)
        model.eval()
        with forward_context(execution):
            logits = model(tokens[:, :-1])  # (n, T, V)
        model.train()
        return _token_losses(logits.float(), tokens[:, 1:]).mean(dim=1)

    return losses_of


def _token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """(n, T). On a GPU by the one kernel that is deterministic; both differ in the last digit on a CPU."""
    if logits.is_cuda:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
