"""What a sweep that steers itself decided, round by round."""

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a round came to: more runs, or an end and its cause."""

    GROW = "grow"
    MET = "met"
    HOURS_GONE = "hours_gone"
    NO_GAIN = "no_gain"
    NO_VALLEY = "no_valley"
    OUT_OF_REACH = "out_of_reach"

    @property
    def ends(self) -> bool:
        """Whether nothing more is trained."""
        return self is not Verdict.GROW


@dataclass(frozen=True)
class SteeringRound:
    """One row of `steering_rounds`: how the sweep stood, and what was decided before it was done.

    Attributes:
        sweep, round: which round of which sweep, from 1 on.
        decided_at: UTC, ISO 8601; before the new runs were trained.
        isoflop_version: of the fit.
        target_flops, within, max_hours: the goal.
        n_rows: results that were fitted.
        estimator: of the recommended estimate; None where there was none, as N_opt and the interval then.
        n_opt, n_opt_low, n_opt_high: at the target, parameters, with the statistical interval at 90 %.
        flops_spent, hours_spent: on all results of the sweep so far, FLOPs and device-hours.
        verdict: what came of it.
        why: what is next and why, or why it ended, one sentence.
        hint: what would help where the goal was not met; empty otherwise.
        new_flops, new_hours: what the new runs cost; hours by estimate, None where no device trains.
        expected_span: high over low end of the interval with the new runs, by design; None where unknown.
        new_runs: ids of the runs that were added to the plan.
    """

    sweep: str
    round: int
    decided_at: str
    isoflop_version: str
    target_flops: float
    within: float
    max_hours: float | None
    n_rows: int
    estimator: str | None
    n_opt: float | None
    n_opt_low: float | None
    n_opt_high: float | None
    flops_spent: float
    hours_spent: float
    verdict: Verdict
    why: str
    hint: str
    new_flops: float
    new_hours: float | None
    expected_span: float | None
    new_runs: tuple[str, ...]

    @property
    def span(self) -> float | None:
        """High over low end of the interval; None without one."""
        if self.n_opt_low is None or self.n_opt_high is None:
            return None
        return self.n_opt_high / self.n_opt_low

    @property
    def meets_goal(self) -> bool:
        """Whether the interval was narrow enough."""
        return self.verdict is Verdict.MET

    def is_as(self, other: "SteeringRound") -> bool:
        """Whether both found the same and decided the same, whenever that was."""
        passing = {"round", "decided_at", "isoflop_version"}
        return all(
            getattr(self, field.name) == getattr(other, field.name)
            for field in fields(self)
            if field.name not in passing
        )

    def as_row(self) -> dict[str, Any]:
        """Its row in the table."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**row, "verdict": self.verdict.value, "new_runs": json.dumps(self.new_runs)}


def parse_round(row: dict[str, Any]) -> SteeringRound:
    """The round that a row holds."""
    runs = json.loads(row["new_runs"])
    if not isinstance(runs, list):
        raise ValueError("new_runs is not a list")
    return SteeringRound(**{**row, "verdict": Verdict(row["verdict"]), "new_runs": tuple(map(str, runs))})
