"""What a tracker is given, and what it does with it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from isoflop.result import CurvePoint


@dataclass(frozen=True)
class TrackedRun:
    """A run with a result, to be shown under its name.

    Attributes:
        key: its id; of a run that did not complete with how it ended, so that a later attempt is another.
        name: budget, size and seed, for people.
        group: the budget, for people.
        status, reason: how it ended, and why it did not complete.
        parameters: what was chosen: N, D, C, rates, seed.
        outcome: what was measured; losses in nats per token.
        curve: mean training losses.
        ended_at: seconds since the epoch.
        seconds: what it took.
    """

    sweep: str
    key: str
    name: str
    group: str
    status: str
    reason: str | None
    simulated: bool
    parameters: Mapping[str, float | int | str]
    outcome: Mapping[str, float]
    curve: tuple[CurvePoint, ...]
    ended_at: float
    seconds: float

    def time_of(self, step: int) -> float:
        """About when the step was taken, seconds since the epoch: of a curve only the end is on a clock."""
        last = max(self.curve[-1].step if self.curve else step, 1)
        return self.ended_at - self.seconds * (1 - min(1.0, step / last))


@dataclass(frozen=True)
class TrackedFit:
    """The fit of a sweep.

    Attributes:
        values: exponents and coefficients by name, without those that do not exist.
        figure: PNG.
        made_at: seconds since the epoch.
    """

    sweep: str
    simulated: bool
    values: Mapping[str, float]
    figure: bytes
    made_at: float


class Tracker(Protocol):
    """Shows runs and fits elsewhere. Whatever it raises ends its part and nothing else."""

    name: str

    def known(self, sweep: str) -> Collection[str]:
        """Keys of the sweep's runs that are there whole."""

    def add(self, run: TrackedRun) -> None:
        """Have the run there, whole or, if this is interrupted, not at all."""

    def conclude(self, fit: TrackedFit) -> None:
        """Have the fit there in the place of an earlier one."""

    def close(self) -> None:
        """Free what is held."""
