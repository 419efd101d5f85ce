"""Pace: what runs take on a device, by the best that is known of each: finished runs, trials, constants."""

import bisect
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import Protocol

from isoflop.plan.guess import Planned, guess_seconds, guess_step_seconds, steps_of
from isoflop.plan.measurement import Measurement
from isoflop.shape import Shape

# How often a run writes a checkpoint, and the share of its time that this may take (train/loop.py).
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 15.0, 0.01


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


class Basis(StrEnum):
    """What the time of a run rests on, best first."""

    FINISHED = "finished"
    MEASURED = "measured"
    INTERPOLATED = "interpolated"
    GUESSED = "guessed"


@dataclass(frozen=True)
class RunTime:
    """What a run takes one worker.

    Attributes:
        seconds: training and evaluation.
        beside: seconds more, from the start of its process to the next run; 0 where that was not measured.
    """

    seconds: float
    beside: float
    basis: Basis

    @property
    def total(self) -> float:
        """All of it."""
        return self.seconds + self.beside


@dataclass(frozen=True)
class _Finished:
    """A finished run as one that is planned."""

    shape: Shape
    n_steps: int | None
    planned_flops: float


class Pace:
    """What runs take on one kind of device.

    A run of a shape and batch of which some have finished takes what a trial, or else the constants, say of it, times
    what that was off by for the finished ones; so does any other, by the median of all.

    Args:
        timings: finished runs on the same device.
        measurements: trials on it, the best last; of equal ones the last counts.
        speed: arithmetic of the device over that of the one whose constants are guessed with.
    """

    def __init__(
        self,
        timings: Iterable[Timing] = (),
        measurements: Iterable[Measurement] = (),
        *,
        device_kind: str,
        speed: float = 1.0,
    ) -> None:
        self._kind, self._speed = device_kind, speed
        self._trials = {(one.shape, one.batch_tokens): one for one in measurements}
        self._between = _Between(self._trials.values(), device_kind) if self._trials else None
        self._scale = self._scales(timings)

    @property
    def is_known(self) -> bool:
        """Whether anything was measured here."""
        return bool(self._trials or self._scale)

    def of(self, run: Planned) -> RunTime:
        """What `run` takes."""
        time = self._unscaled(run)
        for key in _keys(run) if self._scale else ():
            if (scale := self._scale.get(key)) is not None:
                return replace(time, seconds=time.seconds * scale, basis=Basis.FINISHED)
        return time

    def _unscaled(self, run: Planned) -> RunTime:
        if self._between is not None:
            trial = self._trials.get((run.shape, batch_tokens(run)))
            if trial is not None:
                return _by_trial(run, trial, Basis.MEASURED)
            return _by_trial(run, self._between.trial_of(run), Basis.INTERPOLATED)
        guessed = guess_seconds(run.shape, run.n_steps, run.planned_flops, self._kind, self._speed)
        return RunTime(guessed, 0.0, Basis.GUESSED)

    def _scales(self, timings: Iterable[Timing]) -> dict[Hashable, float]:
        ratios: dict[Hashable, list[float]] = defaultdict(list)
        for timing in filter(_tells, timings):
            run = _Finished(timing.shape, timing.n_steps, timing.achieved_flops)
            ratio = timing.seconds / self._unscaled(run).seconds
            for key in _keys(run):
                ratios[key].append(ratio)
        return {key: median(found) for key, found in ratios.items()}


def batch_tokens(run: Planned) -> int:
    """Tokens of an optimizer step; 1 for a program of the user's own, see `steps_of`."""
    return round(run.planned_flops / run.shape.flops_per_token / steps_of(run))


def _keys(run: Planned) -> tuple[Hashable, ...]:
    """What a run has in common with others, most telling first; at last, that a program of the user's own trains it."""
    return (run.shape, batch_tokens(run)), run.shape, not run.n_steps


def _by_trial(run: Planned, trial: Measurement, basis: Basis) -> RunTime:
    training = steps_of(run) * trial.seconds_per_step
    between = max(CHECKPOINT_SECONDS, trial.checkpoint_seconds / CHECKPOINT_SHARE)
    checkpoints = training // between * trial.checkpoint_seconds
    return RunTime(training + trial.eval_seconds, trial.beside_seconds + checkpoints, basis)


class _Between:
    """What trials of some shapes say of others: how far the guess of a step is off changes slowly with its FLOPs."""

    def __init__(self, trials: Iterable[Measurement], device_kind: str) -> None:
        self._kind = device_kind
        self._trials = sorted(trials, key=lambda trial: trial.flops_per_step)
        self._at = [math.log(trial.flops_per_step) for trial in self._trials]

    def trial_of(self, run: Planned) -> Measurement:
        """What a trial of the run would have found."""
        per_token = run.shape.flops_per_token
        step = guess_step_seconds(run, self._kind)
        at = math.log(run.planned_flops / steps_of(run))
        read = self._reader(at)
        nearest = self._trials[min(bisect.bisect(self._at, at), len(self._at) - 1)]
        return replace(
            nearest,
            seconds_per_step=step * math.exp(read(lambda one: math.log(one.seconds_per_step / self._guess(one)))),
            eval_seconds=per_token * read(lambda one: one.eval_seconds / one.shape.flops_per_token),
            checkpoint_seconds=read(lambda one: one.checkpoint_seconds),
            beside_seconds=read(lambda one: one.beside_seconds),
        )

    def _guess(self, trial: Measurement) -> float:
        flops = trial.flops_per_step
        compiled = bool(trial.execution.get("compile"))
        # As many steps as have it compiled, or not.
        n_steps = 1 if not compiled else 10**12
        return guess_step_seconds(_Finished(trial.shape, n_steps, n_steps * flops), self._kind)

    def _reader(self, at: float) -> Callable[[Callable[[Measurement], float]], float]:
        """Reads a number of a trial at log FLOPs per step: on the line between two neighbours, beyond them the last."""
        right = bisect.bisect(self._at, at)
        if right in (0, len(self._at)):
            end = self._trials[0 if right == 0 else -1]
            return lambda number: number(end)
        left, low, high = right - 1, self._trials[right - 1], self._trials[right]
        share = (at - self._at[left]) / (self._at[right] - self._at[left])
        return lambda number: (1 - share) * number(low) + share * number(high)


def _tells(timing: Timing) -> bool:
    """Whether it tells what others take: not without FLOPs, nor with a result read after its worker was killed."""
    return timing.seconds > 0 and timing.achieved_flops > 0


def count_bases(times: Iterable[RunTime]) -> Mapping[Basis, int]:
    """How many of the times rest on what; kinds without any are left out."""
    found = [time.basis for time in times]
    return {basis: found.count(basis) for basis in Basis if basis in found}


def finishing_time(seconds: Sequence[float], n_workers: int) -> float:
    """Wall time when each worker that becomes free takes the next job, in the order given.

    That is list scheduling (Graham 1969, SIAM Journal on Applied Mathematics 17, section 2).
    """
    free_at = [0.0] * min(n_workers, max(1, len(seconds)))
    for duration in seconds:
        heapq.heapreplace(free_at, free_at[0] + duration)
    return max(free_at)
