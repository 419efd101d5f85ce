"""How long and how large: seconds, memory and disk of runs, before any of them starts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from isoflop.plan.guess import Planned, compiling_pays, guess_seconds
from isoflop.plan.measurement import Measurement
from isoflop.plan.pace import Basis, Pace, RunTime, Timing, count_bases, finishing_time
from isoflop.plan.types import Plan, Role
from isoflop.run_spec import AnyRun
from isoflop.shape import TrainableShape
from isoflop.spec import Keep

# Names of this module's former parts, for those who know it as the one that estimates.
__all__ = [
    "BudgetCost", "Estimate", "MeasuredMemory", "Planned", "Timing", "Unfinished", "compiling_pays", "disk_bytes",
    "estimate", "estimate_of", "finishing_time", "guess_seconds", "makespan", "memory_bytes",
    "micro_batch_sequences", "n_events", "seconds_left",
]  # fmt: skip

SECONDS_PER_HOUR = 3600.0

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


@dataclass(frozen=True)
class BudgetCost:
    """What the runs of a budget cost.

    Attributes:
        n_runs: without a result.
        device_hours: of them together, each device of a run counted.
    """

    budget_flops: float
    n_runs: int
    device_hours: float


@dataclass(frozen=True)
class Estimate:
    """Time of a sweep.

    Attributes:
        seconds: wall time on these devices, from the first process to the last result.
        measured: True if every run rests on finished runs or on trials on the same device, False if any is guessed.
        devices: names of the workers' devices.
        device_hours: of all runs together, each device of a run counted.
        bases: what the runs' times rest on, with the number of runs each.
        by_budget: what each budget costs, in ascending order; a run of several counts at the smallest.
    """

    seconds: float
    measured: bool
    devices: tuple[str, ...]
    device_hours: float = 0.0
    bases: Mapping[Basis, int] = field(default_factory=dict)
    by_budget: tuple[BudgetCost, ...] = ()


def estimate(
    runs: Iterable[Planned], timings: Sequence[Timing], *, device_kind: str, devices: Sequence[str]
) -> Estimate:
    """Time to train `runs`, in the order in which they start, on one worker per device."""
    pace = Pace(timings, device_kind=device_kind)
    return estimate_of([pace.of(run) for run in runs], devices, if_none=pace.is_known)


def estimate_of(
    times: Sequence[RunTime], devices: Sequence[str], *, devices_per_run: float = 1.0, if_none: bool = False
) -> Estimate:
    """Time of runs that take `times`, in the order in which they start, on the workers of these devices.

    `if_none` says whether nothing at all counts as measured.
    """
    seconds = [time.total for time in times]
    return Estimate(
        seconds=finishing_time(seconds, len(devices)),
        measured=all(time.basis is not Basis.GUESSED for time in times) if times else if_none,
        devices=tuple(devices),
        device_hours=sum(seconds) * devices_per_run / SECONDS_PER_HOUR,
        bases=count_bases(times),
    )


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
    runs: Iterable[Unfinished],
    timings: Iterable[Timing],
    *,
    device_kind: str,
    n_workers: int,
    measurements: Iterable[Measurement] = (),
) -> tuple[float, bool]:
    """Wall time that `runs` still take on `n_workers`, and whether it is measured: the one estimate of all views.

    By `timings` and `measurements` of the same device, see `Pace`; without any by the speed of the runs at work;
    without those guessed.
    """
    runs = list(runs)
    pace = Pace(timings, measurements, device_kind=device_kind)
    times = [pace.of(one.run) for one in runs]
    left = makespan(
        (time.seconds * (1.0 - one.done) + time.beside for one, time in zip(runs, times, strict=True)), n_workers
    )
    if any(time.basis is not Basis.GUESSED for time in times):
        return left, True
    scale = _scale_at_work(runs, device_kind)
    return left * (scale or 1.0), scale is not None


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
    return finishing_time(sorted(seconds, reverse=True), n_workers)


def memory_bytes(shape: TrainableShape, sequences: int = 1, *, among_ranks: bool = False) -> float:
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


@dataclass(frozen=True)
class MeasuredMemory:
    """Bytes that a trial took at most, of the whole process, with micro-batches of `sequences`."""

    n_bytes: float
    sequences: int


def micro_batch_sequences(
    shape: TrainableShape,
    batch_sequences: int,
    memory_limit: float,
    *,
    among_ranks: bool = False,
    measured: MeasuredMemory | None = None,
) -> int:
    """Sequences per forward pass that fit `memory_limit` bytes, at least 1; the batch in equal parts.

    What was `measured` takes the place of the guess at its own micro-batch, and raises what each sequence more takes
    where it was more than guessed.
    """
    one, two = (memory_bytes(shape, sequences, among_ranks=among_ranks) for sequences in (1, 2))
    more = two - one
    if measured is not None:
        guessed = memory_bytes(shape, measured.sequences, among_ranks=among_ranks)
        more *= max(1.0, measured.n_bytes / guessed)
        fitting = max(1, math.floor((memory_limit - measured.n_bytes) / more) + measured.sequences)
    else:
        fitting = max(1, int((memory_limit - one) / more) + 1)
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
