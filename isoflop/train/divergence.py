"""When training is beyond recovery: a value that is a status, never a number in a profile."""

import math

from isoflop.train.progress import Progress

# An untrained model of ours predicts every token alike (its head starts at zero): its loss is ln V. Spikes that a
# run recovers from last a few steps; one and a half times ln V on average over some twenty is no spike.
EXPLODED = 1.5
AVERAGED_STEPS = 20


def average_loss(before: float | None, loss: float) -> float:
    """The exponential average of the training loss over about `AVERAGED_STEPS` steps, with `loss` taken in."""
    return loss if before is None else before + (loss - before) / AVERAGED_STEPS


def step_problem(loss: float, gradient_norm: float) -> str | None:
    """Why this step cannot be taken: its numbers are not finite; None where it can."""
    if math.isfinite(loss) and math.isfinite(gradient_norm):
        return None
    return f"loss {loss}, gradient norm {gradient_norm}"


def explosion(at: Progress, vocab_size: int) -> str | None:
    """Why the run has exploded, though its numbers are finite; None where it has not."""
    limit = EXPLODED * math.log(vocab_size)
    if at.step < AVERAGED_STEPS or at.loss_average is None or at.loss_average <= limit:
        return None
    return (
        f"the training loss exploded: {at.loss_average:.3g} nats per token on average over the last steps, "
        f"where an untrained model has {math.log(vocab_size):.3g}"
    )


def heldout_problem(nats_per_token: float, vocab_size: int) -> str | None:
    """Why a held-out loss is no result: not finite, or worse than a uniform guess; None where it is one."""
    if not math.isfinite(nats_per_token):
        return "after the last step: the held-out loss is not finite"
    if nats_per_token > math.log(vocab_size):
        return (
            f"after the last step: the held-out loss is {nats_per_token:.3g} nats per token, "
            f"worse than the {math.log(vocab_size):.3g} of an untrained model"
        )
    return None
