"""How long and how large: seconds, memory and disk of runs, before any of them starts."""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Protocol

from isoflop.plan.types import Plan, Role
from isoflop.run_spec import AnyRun
from isoflop.shape import ModelShape, Shape
from isoflop.spec import Keep
from isoflop.step_library import Instructions, usable_instructions

# Weight, gradient and two Adam moments, float32 each; of SGD one moment, of Muon's matrices one and the update.
BYTES_PER_PARAM = 16
BYTES_OF_SUM_PER_PARAM = 4
WEIGHT_BYTES_PER_PARAM, CHECKPOINT_BYTES_PER_PARAM = 4, 12
# A checkpoint is written beside the one before, which it then replaces.
CHECKPOINT_COPIES = 2
# Measured on runs of some seconds: result with its curve, events, job and log take 37 to 41 kB in blocks of 4 KiB, the
# run's rows in the database some 4 kB more.
SMALL_FILE_BYTES_PER_RUN = 45e3
# A progress event is a line of 155 to 180 bytes. At first there is one every half second, from minute 8 on one every
# thousandth of the time so far, and from minute 83 on one every five seconds (isoflop/train/reporter.py).
EVENT_BYTES = 180
SHORTEST_EVENT_SECONDS, LONGEST_EVENT_SECONDS, EVENTS_PER_FOLD = 0.5, 5.0, 1000
# Tokens are stored as 16-bit numbers.
BYTES_PER_TOKEN = 2
# Activations kept for the backward pass, float32 values per token: residual stream, norms and projections per
# layer (about 14 widths and 4 hidden sizes), logits and their gradient. Flash attention keeps no T x T matrix.
ACTIVATION_WIDTHS, ACTIVATION_FFS, LOGIT_COPIES, BYTES_PER_ACTIVATION = 14, 4, 3, 4


class Planned(Protocol):
    """What is read of a run that is to be trained."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102

    @property
    def n_steps(self) -> int | None: ...  # noqa: D102

    @property
    def planned_flops(self) -> float: ...  # noqa: D102


class Timing(Protocol):
    """What is read of a finished run."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102

    @property
    def n_steps(self) -> int: ...  # noqa: D102

    @property
    def achieved_flops(self) -> float: ...  # noqa: D102

    @property
    def seconds(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Estimate:
    """Time of a sweep.

    Attributes:
        seconds: wall time on these devices, process start excluded.
        measured: True if scaled to finished runs on the same kind of device, else guessed.
        devices: names of the workers' devices.
    """

    seconds: float
    measured: bool
    devices: tuple[str, ...]


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

    def seconds(self, shape: ModelShape, n_steps: int, flops: float) -> float:
        """Training time of a run on one worker."""
        return n_steps * (self.fixed + self.per_layer * shape.n_layers) + flops / self.flops_per_second


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


def guess_seconds(shape: Shape, n_steps: int | None, flops: float, device_kind: str) -> float:
    """Training time of a run on one worker, from the constants above and what this machine can use.

    Of a program of the user's own nothing is known but its FLOPs, taken at the rate of torch's plain step.
    """
    if not isinstance(shape, ModelShape) or not n_steps:
        return flops / (ON_A_CORE[""] if device_kind == "cpu" else ON_A_GPU).flops_per_second
    if device_kind == "cpu":
        return _on_this_core().seconds(shape, n_steps, flops)
    plain = ON_A_GPU.seconds(shape, n_steps, flops)
    if plain < COMPILING_PAYS_SECONDS:
        return plain
    return COMPILING_SECONDS + ON_A_GPU_COMPILED.seconds(shape, n_steps, flops)


def compiling_pays(run: Planned) -> bool:
    """Whether a run trains long enough on a GPU for its blocks to be compiled."""
    assert isinstance(run.shape, ModelShape)
    return ON_A_GPU.seconds(run.shape, run.n_steps or 0, run.planned_flops) >= COMPILING_PAYS_SECONDS


@cache
def _on_this_core() -> StepCost:
    return ON_A_CORE[usable_instructions()]


def measured_scale(timings: Iterable[Timing], device_kind: str) -> float | None:
    """Seconds measured per second guessed, the median of `timings`; None without any."""
    ratios = [t.seconds / guess_seconds(t.shape, t.n_steps, t.achieved_flops, device_kind) for t in timings]
    return median(ratios) if ratios else None


def run_seconds(runs: Iterable[Planned], timings: Iterable[Timing], *, device_kind: str) -> list[float]:
    """Training time of each of `runs` on one worker, scaled to `timings` of the same kind of device if any."""
    measured = measured_scale(timings, device_kind)
    scale = 1.0 if measured is None else measured
    return [scale * _guess(run, device_kind) for run in runs]


def estimate(
    runs: Iterable[Planned], timings: Sequence[Timing], *, device_kind: str, devices: Sequence[str]
) -> Estimate:
    """Time to train `runs` on one worker per device, scaled to `timings` of the same kind of device if any."""
    seconds = run_seconds(runs, timings, device_kind=device_kind)
    return Estimate(makespan(seconds, len(devices)), bool(timings), tuple(devices))


@dataclass(frozen=True)
class Unfinished:
    """A run without a result.

    Attributes:
        run: what it is.
        done: share of it, by steps, that need not be done again.
        tokens_per_second: at which it is trained now; None where it is not, or nothing has been heard of it yet.
    """

    run: Planned
    done: float
    tokens_per_second: float | None


def seconds_left(
    runs: Iterable[Unfinished], timings: Iterable[Timing], *, device_kind: str, n_workers: int
) -> tuple[float, bool]:
    """Wall time that `runs` still take on `n_workers`, and whether it is measured: the one estimate of all views.

    Scaled to `timings` of the same device; without any to the speed of the runs at work; without those guessed.
    """
    runs = list(runs)
    scale = measured_scale(timings, device_kind) or _scale_at_work(runs, device_kind)
    seconds = [_guess(one.run, device_kind) * (1.0 - one.done) for one in runs]
    return makespan(seconds, n_workers) * (scale or 1.0), scale is not None


def _scale_at_work(runs: Iterable[Unfinished], device_kind: str) -> float | None:
    """Seconds per second guessed, by the speed of the runs at work; None without any."""
    ratios = [
        one.run.planned_flops / one.run.shape.flops_per_token / one.tokens_per_second / _guess(one.run, device_kind)
        for one in runs
        if one.tokens_per_second
    ]
    return median(ratios) if ratios else None


def _guess(run: Planned, device_kind: str) -> float:
    return guess_seconds(run.shape, run.n_steps, run.planned_flops, device_kind)


def makespan(seconds: Iterable[float], n_workers: int) -> float:
    """Wall time when each worker takes the longest job left."""
    busy_until = [0.0] * n_workers
    for duration in sorted(seconds, reverse=True):
        heapq.heappush(busy_until, heapq.heappop(busy_until) + duration)
    return max(busy_until)


def memory_bytes(shape: ModelShape, sequences: int = 1, *, among_ranks: bool = False) -> float:
    """Device memory to train `shape` with micro-batches of `sequences`, allocator overhead excluded.

    `among_ranks`: other processes train it too, so that the gradients stand there once more, in a row.
    """
    per_token = (
        shape.n_layers * (ACTIVATION_WIDTHS * shape.width + ACTIVATION_FFS * shape.d_ff)
        + LOGIT_COPIES * shape.vocab_size
    )
    activations = BYTES_PER_ACTIVATION * per_token * shape.context_length * sequences
    per_param = BYTES_PER_PARAM + (BYTES_OF_SUM_PER_PARAM if among_ranks else 0)
    return per_param * shape.n_params_total + activations


def micro_batch_sequences(
    shape: ModelShape, batch_sequences: int, memory_limit: float, *, among_ranks: bool = False
) -> int:
    """Sequences per forward pass that fit `memory_limit` bytes, at least 1; the batch in equal parts."""
    one, two = (memory_bytes(shape, sequences, among_ranks=among_ranks) for sequences in (1, 2))
    fitting = max(1, int((memory_limit - one) / (two - one)) + 1)
    return math.ceil(batch_sequences / math.ceil(batch_sequences / fitting))


def disk_bytes(plan: Plan, keep: Keep, *, n_workers: int, seconds: Iterable[float]) -> float:
    """Room on the disk that a sweep takes at most on `n_workers`; `seconds` that each of its runs trains.

    Kept weights, checkpoints and weights in flight, small files, events and rows of every run, and the tokenised
    corpus.
    """
    small = SMALL_FILE_BYTES_PER_RUN * len(plan.runs)
    if plan.simulated:
        return small
    sizes = sorted((run.shape.n_params_total for run in plan.runs.values()), reverse=True)
    in_flight = CHECKPOINT_COPIES * CHECKPOINT_BYTES_PER_PARAM * sum(sizes[:n_workers])
    kept = WEIGHT_BYTES_PER_PARAM * sum(run.shape.n_params_total for run in _with_weights(plan, keep))
    events = EVENT_BYTES * sum(map(n_events, seconds))
    return kept + in_flight + small + events + _corpus_bytes(plan)


def n_events(seconds: float) -> float:
    """Progress events of a run that trains for `seconds` without a break and takes a step between any two of them."""
    # The time so far, over the events of its e-fold, is the time between two of them while that grows.
    often, seldom = (EVENTS_PER_FOLD * between for between in (SHORTEST_EVENT_SECONDS, LONGEST_EVENT_SECONDS))
    return (
        min(seconds, often) / SHORTEST_EVENT_SECONDS
        + EVENTS_PER_FOLD * math.log(min(max(seconds, often), seldom) / often)
        + max(0.0, seconds - seldom) / LONGEST_EVENT_SECONDS
    )


def _with_weights(plan: Plan, keep: Keep) -> Iterable[AnyRun]:
    """The runs whose weights may stay: the best of a budget may turn out to be the largest; all that confirm."""
    if keep == "none":
        return ()
    if keep == "all":
        return plan.runs.values()
    largest: dict[float, AnyRun] = {}
    for cell in plan.cells:
        best = largest.setdefault(cell.budget_flops, cell.run)
        largest[cell.budget_flops] = max(best, cell.run, key=lambda run: run.shape.n_params_total)
    confirming = (cell.run for cell in plan.cells if cell.role is Role.CONFIRM)
    return {run.run_id: run for run in (*largest.values(), *confirming)}.values()


def _corpus_bytes(plan: Plan) -> float:
    """Size of the tokenised training text, which follows from the epochs of any cell; a program's own is elsewhere."""
    first = (cell for cell in plan.cells[:1] if cell.run.trainer != "command")
    return sum(BYTES_PER_TOKEN * cell.run.n_tokens / cell.epochs for cell in first)
