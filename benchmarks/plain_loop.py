"""The training loop that a person writes: what isoflop's step is measured against."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from isoflop.corpus import Corpus
from isoflop.run_spec import RunSpec
from isoflop.train.model import build_model

N_TOKENS = 200_000


def plain_step(
    run: RunSpec, corpus: Corpus, device: torch.device, *, bfloat16: bool, compiled: bool = False
) -> Callable[[], float]:
    """A step of `run`'s model that returns its loss: torch's AdamW as it comes, the loss read every step.

    `compiled`: the model through torch.compile. Batches come from the corpus's first 200,000 tokens in memory. The
    caller sees to it that deterministic mode is off, as it is where nobody asks for it.
    """
    model = build_model(run.shape, 0).to(device)
    forward: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    tokens = torch.from_numpy(corpus.train.windows([0], N_TOKENS)[0])
    length = run.shape.context_length

    def batch() -> Tensor:
        starts = torch.randint(len(tokens) - length - 1, (run.batch_sequences,)).tolist()
        sequences = torch.stack([tokens[start : start + length + 1] for start in starts])
        return sequences.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else sequences

    def step() -> float:
        sequences = batch()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            logits = forward(sequences[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1).float(), sequences[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step
