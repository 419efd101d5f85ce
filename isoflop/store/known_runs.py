"""What the store hands out beside cells: frozen rows, each number with its unit."""

from dataclasses import dataclass

from isoflop.result import Status
from isoflop.shape import Shape


@dataclass(frozen=True)
class Timing:
    """What a completed run cost, to estimate others.

    Attributes:
        shape: the model.
        n_steps: optimizer steps taken; 0 of a program of the user's own, as planned.
        achieved_flops: training FLOPs by the trainer's own counters.
        seconds: training and evaluation, process start excluded.
        device: name of the device.
        worker: the same, but of a GPU that trained several runs at once it says so.
    """

    shape: Shape
    n_steps: int
    achieved_flops: float
    seconds: float
    device: str
    worker: str = ""


@dataclass(frozen=True)
class KnownRun:
    """A run that some sweep asks for, or once asked for.

    Attributes:
        asked_for: whether any sweep asks for it now.
        corpus_fingerprint: of the tokens it reads.
        status, finished_at: of its recorded result; None without one.
    """

    run_id: str
    asked_for: bool
    corpus_fingerprint: str
    status: Status | None
    finished_at: str | None


@dataclass(frozen=True)
class PlannedRun:
    """A run in the plan of before or of now.

    Attributes:
        budget_flops: the smallest budget that asks for it.
        n_params: every parameter.
        n_tokens: planned training tokens.
        status: of its recorded result; None without one.
    """

    run_id: str
    budget_flops: float
    n_params: int
    n_tokens: int
    status: Status | None
