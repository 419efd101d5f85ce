"""Which shapes to time before a sweep: all of them where that is cheap, else some spread over the sizes of a step."""

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from isoflop.plan.guess import guess_seconds, guess_step_seconds
from isoflop.plan.pace import batch_tokens
from isoflop.run_spec import RunSpec

_Run = TypeVar("_Run")

# Trials take about this share of what the runs are guessed to take, but on each worker at least and at most so long,
# seconds.
SHARE, LEAST_SECONDS, MOST_SECONDS = 0.05, 30.0, 600.0
# What a trial takes beside its steps, seconds: a process, a part of the held-out loss; on a GPU CUDA's start and a
# compilation too.
BESIDE_SECONDS = {"cpu": 0.4, "cuda": 15.0}
# Steps of a trial, and their shortest time, about (train/trial.py).
STEPS, SHORTEST_SECONDS = 20, 0.4
# Fewer trials say little of what lies between them.
FEWEST_TRIALS = 5


def choose_trials(runs: Iterable[RunSpec], *, device_kind: str, n_workers: int, seconds: float) -> list[RunSpec]:
    """A run for each shape and batch to time, longest first; `seconds` that the steps of one may take."""
    distinct = _distinct(runs)
    if not distinct:
        return []
    costs = [_trial_seconds(run, device_kind, seconds) for run in distinct]
    training = sum(guess_seconds(run.shape, run.n_steps, run.planned_flops, device_kind) for run in distinct)
    allowed = n_workers * min(MOST_SECONDS, max(LEAST_SECONDS, SHARE * training / n_workers))
    fitting = max(FEWEST_TRIALS, math.floor(len(distinct) * allowed / sum(costs)))
    return spread(distinct, fitting)


def spread(runs: Sequence[_Run], number: int) -> list[_Run]:
    """`number` of the runs, evenly over their order, both ends among them; all where there are no more."""
    if len(runs) <= number:
        return list(runs)
    last = len(runs) - 1
    return [runs[round(i * last / (number - 1))] for i in range(number)]


def _distinct(runs: Iterable[RunSpec]) -> list[RunSpec]:
    """The longest run of each shape, batch and optimizer, by the FLOPs of a step, most first."""
    found: dict[object, RunSpec] = {}
    for run in runs:
        key = (run.shape, batch_tokens(run), run.optimizer.kind)
        found[key] = max(found.get(key, run), run, key=lambda one: one.n_steps)
    return sorted(found.values(), key=lambda run: (-run.planned_flops / run.n_steps, run.run_id))


def _trial_seconds(run: RunSpec, device_kind: str, seconds: float) -> float:
    steps = max(SHORTEST_SECONDS, STEPS * guess_step_seconds(run, device_kind))
    return BESIDE_SECONDS[device_kind] + min(seconds, steps)
