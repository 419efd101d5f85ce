"""What a sweep that steers itself is to reach, and what is known of it between two rounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from isoflop.fit.question import Hours, Trainable
from isoflop.store import Verdict

# Nominal coverage of the interval that a goal speaks of.
LEVEL = 0.90

# FLOPs and parameters of a run to be trained.
WantedRun = tuple[float, float]


@dataclass(frozen=True)
class Goal:
    """The statistical interval of N_opt at the target is to span at most a factor.

    Attributes:
        target_flops: where N_opt is wanted.
        within: high over low end of the interval, above 1.
        max_hours: device-hours that the sweep may take in all; None for any number.
    """

    target_flops: float
    within: float
    max_hours: float | None = None


@dataclass(frozen=True)
class Reading:
    """N_opt at the target.

    Attributes:
        estimator: `joint`, `parabola` or `surface`.
        low, high: ends of the statistical interval at `LEVEL`.
        n_floors: budgets whose floor lies among their sizes.
    """

    estimator: str
    n_opt: float
    low: float
    high: float
    n_floors: int

    @property
    def span(self) -> float:
        """High over low end."""
        return self.high / self.low


@dataclass(frozen=True)
class Past:
    """What is known of an earlier round: results fitted, what they cost, and the span, None without an interval."""

    n_rows: int
    flops_spent: float
    span: float | None


@dataclass(frozen=True)
class Means:
    """What further runs may be.

    Attributes:
        flops_spent, hours_spent: on the sweep so far.
        trainable: nearest size that can be trained at a budget.
        hours: device-hours of a run; None where no device trains.
        past: the rounds so far, the last one last.
    """

    flops_spent: float
    hours_spent: float
    trainable: Trainable
    hours: Hours | None = None
    past: Sequence[Past] = ()

    def hours_of(self, runs: Sequence[WantedRun]) -> float | None:
        """Device-hours of all of them; None where no device trains."""
        return None if self.hours is None else sum(self.hours(*run) for run in runs)


@dataclass(frozen=True)
class NextRound:
    """What is to be done.

    Attributes:
        reading: as the results have it now; None where they give no frontier.
        why, hint: see `SteeringRound`.
        runs: to be trained, in this order; empty where `verdict` ends the sweep.
        expected_span: see `SteeringRound`.
    """

    verdict: Verdict
    reading: Reading | None
    why: str
    hint: str = ""
    runs: tuple[WantedRun, ...] = field(default=())
    expected_span: float | None = None
