"""All that findings are drawn from, and how they name budgets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from isoflop.finding import Finding, Severity
from isoflop.fit.design.advice import Advice
from isoflop.fit.estimators.choice import Choice, on_surface_road
from isoflop.fit.estimators.fitted_rows import Selected
from isoflop.fit.estimators.joint import JointFit
from isoflop.fit.estimators.parabola import Valley
from isoflop.fit.intervals import Noise
from isoflop.fit.noise import PureError
from isoflop.fit.question import Question
from isoflop.fit.results.estimators import Estimators
from isoflop.fit.results.profile import Frontier, Profile, Vertex
from isoflop.fit.results.target import Forecast, Suggestion, Target
from isoflop.fit.rows import Rows

# As many budgets as a message still names; the values of a finding name more.
_MAX_NAMED = 6
MAX_LISTED = 50


@dataclass(frozen=True)
class Evidence:
    """A fit before it is judged.

    Attributes:
        rows: all completed runs.
        valleys, profiles: of all budgets, and those of them that are listed.
        noise: pooled over `inside` parabolas.
        joint: the joint fit of all rows; `choice`: the estimate to act on.
        replicates: None without any.
        credible_decades, loss_credible_decades: how far the scorecard reaches; None without forecasts.
        suggested: runs to train next.
        advice: what else to ask for where they would hardly narrow the interval; None where they would.
        narrow: `choice` again from the runs near their budget's best; None where no grid reaches farther.
        outlook: budgets at which the estimate is read where no target is asked for, FLOPs.
        selected: which runs `rows` are; None where they are all.
    """

    rows: Rows
    valleys: Sequence[Valley]
    profiles: tuple[Profile, ...]
    noise: Noise | None
    frontier: Frontier | None
    estimators: Estimators
    joint: JointFit | None
    choice: Choice | None
    replicates: PureError | None
    targets: tuple[Target, ...]
    scorecard: Sequence[Forecast]
    credible_decades: float | None
    question: Question
    suggested: tuple[Suggestion, ...]
    loss_credible_decades: float | None = None
    narrow: Choice | None = None
    outlook: tuple[float, ...] = ()
    selected: Selected | None = None
    advice: Advice | None = None

    @property
    def largest_planned(self) -> float:
        """The largest budget that has runs or will have them, FLOPs."""
        planned = [budget for budget, _ in self.question.planned]
        return max([*self.rows.budget_flops[-1:].tolist(), *planned], default=0.0)

    @property
    def unanswered_suggestions(self) -> int:
        """How many of the runs asked for could not be suggested."""
        return max(self.question.suggest - len(self.suggested), 0)

    @property
    def ungrouped(self) -> bool:
        """Whether no budget has rows enough for a parabola."""
        return all(valley.vertex is Vertex.TOO_FEW for valley in self.valleys)

    @cached_property
    def without_valleys(self) -> bool:
        """Whether only a surface can answer: no budget has a parabola, or those that have one were never planned."""
        return self.ungrouped or on_surface_road(self.rows, self.valleys)


def per_budget(
    code: str, severity: Severity, budgets: Sequence[float], message: str, hint: str, **values: object
) -> Iterator[Finding]:
    """One finding for all budgets it applies to, if any; `message` is finished with their names."""
    if budgets:
        listed = {"budgets": list(budgets[:MAX_LISTED]), "n_budgets": len(budgets)}
        yield Finding(code, severity, f"{message} {name_budgets(budgets)}.", hint, {**values, **listed})


def name_budgets(budgets: Sequence[float]) -> str:
    """`1.00e18, 1.00e19 and 3 more FLOPs`."""
    names = ", ".join(flops(budget) for budget in budgets[:_MAX_NAMED])
    more = f" and {len(budgets) - _MAX_NAMED} more" if len(budgets) > _MAX_NAMED else ""
    return f"{names}{more} FLOPs"


def flops(budget_flops: float) -> str:
    """As everywhere in isoflop: `1.00e19`."""
    mantissa, exponent = f"{budget_flops:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"
