"""What a step costs where nothing has been measured, from constants measured elsewhere."""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

from isoflop.shape import ModelShape, Shape
from isoflop.step_library import Instructions, usable_instructions


class Planned(Protocol):
    """What is read of a run that is to be trained."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102

    @property
    def n_steps(self) -> int | None: ...  # noqa: D102

    @property
    def planned_flops(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class StepCost:
    """What a training step costs where nothing has been measured.

    Attributes:
        fixed, per_layer: seconds of every step: launching its operations, moving its numbers.
        flops_per_second: rate of the arithmetic beside.
    """

    fixed: float
    per_layer: float
    flops_per_second: float

    def seconds(self, shape: ModelShape, n_steps: int, flops: float, speed: float = 1.0) -> float:
        """Training time of a run on one worker whose arithmetic is `speed` times as fast as what was measured."""
        return n_steps * (self.fixed + self.per_layer * shape.n_layers) + flops / (self.flops_per_second * speed)


# One core of an AMD EPYC, float32: torch's step, and the one in C++ by its instruction set. See docs/benchmarks.md.
ON_A_CORE: dict[Instructions, StepCost] = {
    "": StepCost(0.8e-3, 1.0e-3, 5.0e10),
    "avx2": StepCost(0.02e-3, 0.04e-3, 1.0e11),
    "avx512": StepCost(0.02e-3, 0.04e-3, 1.6e11),
}
# A GPU of the H100/H200 class, bfloat16, the step replayed as a graph: within 35 % of what 2x14 to 12x768 took on an
# H200, see there. With the model's blocks compiled: within 16 % of 6x128 to 16x1024, too high for 4x64.
ON_A_GPU = StepCost(0.1e-3, 0.33e-3, 1.5e14)
ON_A_GPU_COMPILED = StepCost(0.1e-3, 0.25e-3, 4.0e14)
# Compiling takes a process 10 s the first time and 4 to 7 s again, whatever the depth. Steps of 4x64 to 16x1024 then
# take 38 to 53 % less, so that from this many plain seconds on it is paid back.
COMPILING_SECONDS, COMPILING_PAYS_SECONDS = 8.0, 30.0


def guess_seconds(shape: Shape, n_steps: int | None, flops: float, device_kind: str, speed: float = 1.0) -> float:
    """Training time of a run on one worker, from the constants above and what this machine can use.

    `speed` is the arithmetic of the device over that of the one that was measured. Of a program of the user's own
    nothing is known but its FLOPs, taken at the rate of torch's plain step.
    """
    if not isinstance(shape, ModelShape) or not n_steps:
        return flops / (_plain(device_kind).flops_per_second * speed)
    if device_kind == "cpu":
        return _on_this_core().seconds(shape, n_steps, flops, speed)
    plain = ON_A_GPU.seconds(shape, n_steps, flops)
    if plain < COMPILING_PAYS_SECONDS:
        return ON_A_GPU.seconds(shape, n_steps, flops, speed)
    return COMPILING_SECONDS + ON_A_GPU_COMPILED.seconds(shape, n_steps, flops, speed)


def guess_step_seconds(run: Planned, device_kind: str) -> float:
    """One step of a run, in whatever way its length has it computed; compiling is no part of it."""
    flops = run.planned_flops / steps_of(run)
    if not isinstance(run.shape, ModelShape):
        return flops / _plain(device_kind).flops_per_second
    if device_kind == "cpu":
        return _on_this_core().seconds(run.shape, 1, flops)
    return (ON_A_GPU_COMPILED if compiling_pays(run) else ON_A_GPU).seconds(run.shape, 1, flops)


def steps_of(run: Planned) -> int:
    """Optimizer steps; of a program of the user's own, whose steps nobody knows beforehand, tokens."""
    if isinstance(run.shape, ModelShape) and run.n_steps:
        return run.n_steps
    return max(1, round(run.planned_flops / run.shape.flops_per_token))


def compiling_pays(run: Planned) -> bool:
    """Whether a run trains long enough on a GPU for its blocks to be compiled."""
    assert isinstance(run.shape, ModelShape)
    return ON_A_GPU.seconds(run.shape, run.n_steps or 0, run.planned_flops) >= COMPILING_PAYS_SECONDS


def _plain(device_kind: str) -> StepCost:
    return ON_A_CORE[""] if device_kind == "cpu" else ON_A_GPU


@cache
def _on_this_core() -> StepCost:
    return ON_A_CORE[usable_instructions()]
