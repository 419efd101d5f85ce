"""Measurement: what some steps of a shape took on a device, before any run of the shape was trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from isoflop.shape import Shape

# Of a trial of a program of the user's own.
NO_OPTIMIZER = ""
# Names that program in its execution.
PROGRAM = "program"


@dataclass(frozen=True)
class Measurement:
    """What a trial of a shape and batch took on a device.

    Attributes:
        device, device_kind: its name; `cpu` or `cuda`.
        host: where that was.
        n_at_once: trials at work on the machine at the time, this one included.
        n_packed: of those, trials of this shape on this very device; its memory and times are of one of them.
        batch_tokens: of a step; 1 for a program of the user's own, whose steps are its tokens.
        optimizer: its kind.
        execution: how it was computed, as in job.json.
        n_steps: steps that were timed.
        seconds_per_step: of those.
        eval_tokens, eval_seconds: held-out tokens of a run, and what their loss takes it, probes included.
        checkpoint_seconds: to write one.
        beside_seconds: of a run, beside its steps, its evaluation and its checkpoints: from process start to result.
        memory_bytes: at most: growth of the resident set, or what torch reserved on the GPU.
        measured_at: UTC, ISO 8601.
    """

    device: str
    device_kind: str
    host: str
    n_at_once: int
    shape: Shape
    batch_tokens: int
    optimizer: str
    execution: Mapping[str, object]
    n_steps: int
    seconds_per_step: float
    eval_tokens: int
    eval_seconds: float
    checkpoint_seconds: float
    beside_seconds: float
    memory_bytes: float
    isoflop_version: str
    measured_at: str
    n_packed: int = 1

    @property
    def flops_per_step(self) -> float:
        """Training FLOPs."""
        return float(self.batch_tokens * self.shape.flops_per_token)
