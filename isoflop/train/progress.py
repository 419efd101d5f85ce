"""What training counts and what it comes to. No torch: the simulated trainer and the worker use it too."""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass
class Progress:
    """The counters of a run, all that a resumed attempt needs beside the tensors.

    Attributes:
        step: optimizer steps taken.
        n_tokens: tokens consumed.
        seconds: spent training so far, over all attempts.
        loss_sum, loss_steps: training loss since the last curve point, nats per token times steps.
        curve: (step, n_tokens, mean loss) so far.
    """

    step: int = 0
    n_tokens: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    curve: list[tuple[int, int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class HeldoutLoss:
    """The loss a run is judged by.

    Attributes:
        nats_per_token: cross-entropy.
        standard_error: nats, over sequences.
        n_tokens: what it is the mean of.
        bits_per_byte: nats / (ln 2 x bytes per token); None where no text stands behind the tokens.
    """

    nats_per_token: float
    standard_error: float
    n_tokens: int
    bits_per_byte: float | None


class Ending(StrEnum):
    """Why training stopped."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Trained:
    """What training came to. `heldout` exists exactly when completed, `reason` exactly when diverged."""

    ending: Ending
    progress: Progress
    heldout: HeldoutLoss | None = None
    reason: str | None = None
