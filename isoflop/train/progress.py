"""What training counts and what it comes to. No torch: the simulated trainer and the worker use it too."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from isoflop.result import Metric


@dataclass
class Progress:
    """The counters of a run, all that a resumed attempt needs beside the tensors.

    Attributes:
        step: optimizer steps taken.
        n_tokens: tokens consumed.
        seconds: spent training and evaluating so far, over all attempts.
        eval_seconds: of these, evaluating.
        loss_average: training loss, exponentially averaged over the last steps; None before the first.
        loss_sum, loss_steps: training loss since the last curve point, nats per token times steps.
        curve: (step, n_tokens, mean loss) so far.
    """

    step: int = 0
    n_tokens: int = 0
    seconds: float = 0.0
    eval_seconds: float = 0.0
    loss_average: float | None = None
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
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Trained:
    """What training came to. `heldout` exists exactly when completed, `reason` exactly when diverged or failed.

    `metrics` are those of a completed run whose sweep asks for probes.
    """

    ending: Ending
    progress: Progress
    heldout: HeldoutLoss | None = None
    reason: str | None = None
    peak_flops_per_second: float | None = None
    metrics: tuple[Metric, ...] = ()


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """Training was asked to stop and did, between two pieces of work."""


class StepUnavailable(Exception):  # noqa: N818 - no error either: the run can be trained without
    """The optimizer step cannot be had here as the execution names it: no graph of it, or no library."""


class Watcher(Protocol):
    """Who is told how training goes."""

    def after_step(self, progress: Progress, loss: float) -> None:
        """One optimizer step was taken; `loss` is its training loss, nats per token."""

    def between(self) -> None:
        """One piece of work (a forward pass) lies behind; raises Interrupted where no other shall follow."""
