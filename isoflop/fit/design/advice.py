"""What would narrow an interval that the suggested runs hardly do: more of them, or a budget nearer to the target."""

from collections.abc import Sequence
from dataclasses import dataclass

from isoflop.fit.design.suggest import VALLEY_OFFSETS, budgets_ahead, narrowed_by_valley, suggest_runs
from isoflop.fit.estimators.choice import Choice
from isoflop.fit.question import Question
from isoflop.fit.results.target import Suggestion

# Suggested runs that narrow an interval by less than this share leave the answer what it was.
LITTLE_GAIN = 0.1
# Counts that are tried in a person's place: one valley, two, four, eight.
_COUNTS = tuple(len(VALLEY_OFFSETS) * factor for factor in (1, 2, 4, 8))
# As many budgets beyond the largest are tried, each a step of the sweep.
_STEPS_TRIED = 12


@dataclass(frozen=True)
class Advice:
    """What to ask for instead, tried before it is said; neither where nothing of this sweep narrows the interval much.

    Attributes:
        count: as many runs, suggested for the same target, narrow the interval.
        budget_flops: a valley at this budget, which is farther than suggestions reach, narrows it.
    """

    count: int | None = None
    budget_flops: float | None = None


def narrowed_by(suggested: Sequence[Suggestion]) -> float:
    """The share by which the suggested runs, one at least, narrow the interval at the target together."""
    return 1 - suggested[-1].half_width / suggested[0].half_width_before


def advise(choice: Choice, target_flops: float, question: Question) -> Advice:
    """What narrows the interval at the target by `LITTLE_GAIN` where what `question` asks for does not."""
    planned, trainable = question.planned, question.trainable
    for count in (count for count in _COUNTS if count > question.suggest):
        found = suggest_runs(choice, target_flops, count, question.level, planned=planned, trainable=trainable)
        if found and narrowed_by(found) >= LITTLE_GAIN:
            return Advice(count=count)
    for budget in budgets_ahead(choice.rows.budgets, _STEPS_TRIED):
        if budget >= target_flops:
            break
        if narrowed_by_valley(choice, target_flops, budget, question.level, planned) >= LITTLE_GAIN:
            return Advice(budget_flops=budget)
    return Advice()
