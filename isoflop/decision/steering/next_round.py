"""What a sweep that steers itself does next, from the results that it has."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from isoflop.decision.steering.goal import LEVEL, Goal, Means, NextRound, Reading, WantedRun
from isoflop.decision.steering.recentre import ENOUGH_FLOORS, Recentred, next_valleys, recentred_valleys
from isoflop.fit.design.suggest import VALLEY_OFFSETS, Allowance, suggest_runs
from isoflop.fit.estimators.choice import SURFACE, Choice, choose
from isoflop.fit.estimators.parabola import Valley, budget_floors, find_valleys
from isoflop.fit.intervals import FIVE_PERCENT, log_interval, student_quantile, ten_to
from isoflop.fit.results.target import Suggestion
from isoflop.fit.rows import Rows
from isoflop.store import Verdict
from isoflop.units import format_device_hours, format_flops, plural

# A round spends at most this share of what the sweep has spent: its results choose the next runs, so that little is
# spent by an estimate that is about to change, and rounds grow with the sweep (benchmarks/steering.py runs with it).
ROUND_SHARE = 0.25
# A new valley may cost as much as the sweep so far: it is worth more per FLOP than what a share can buy, once the noise
# at the fitted budgets is no longer what makes the interval wide.
VALLEY_SHARE = 1.0
# Runs of one round; more are never worth one decision.
MOST_RUNS = 56
# Rounds that narrow log (high / low) by less than this share, by design or in as many rounds, are not worth it.
LEAST_NARROWING, PATIENCE = 0.02, 3
# Without max_hours a sweep that would have to grow by more than this factor is given up: an interval narrows with the
# square root of what is spent.
MOST_GROWTH = 100.0

_NEARER = "Accept a larger goal.within, or add budgets nearer to the target to the sweep file."
_NOT_TRAINABLE = (
    "the sizes about the expected ridge cannot be trained or are there already, and the floors make no frontier"
)
_MAKE_TRAINABLE = (
    "`isoflop plan` says which cells are dropped and why: lower recipe.min_steps, raise recipe.max_epochs or choose "
    "larger budgets; where noise hides the floors, more seeds or a wider grid help."
)
_MORE_HOURS = "Raise goal.max_hours, or accept a larger goal.within."


@dataclass(frozen=True)
class _Seen:
    """All that a decision rests on."""

    rows: Rows
    valleys: tuple[Valley, ...]
    choice: Choice | None
    reading: Reading | None
    goal: Goal
    means: Means

    @property
    def n_floors(self) -> int:
        """Budgets whose floor lies among their sizes."""
        return len(budget_floors(self.valleys))

    @property
    def hours_left(self) -> float:
        """Infinite where the goal sets no limit."""
        return math.inf if self.goal.max_hours is None else self.goal.max_hours - self.means.hours_spent

    def affords(self, runs: Sequence[WantedRun]) -> bool:
        """Whether the hours left suffice for the runs."""
        return (self.means.hours_of(runs) or 0.0) <= self.hours_left

    def stop(self, verdict: Verdict, why: str, hint: str) -> NextRound:
        """The end."""
        return NextRound(verdict, self.reading, why, hint)


def decide_round(rows: Rows, goal: Goal, means: Means, *, n_runs: int | None = None) -> NextRound:
    """What is next for a sweep whose fitted results are `rows`; `n_runs`: how many runs these stand for.

    The same results and the same past give the same decision. While fewer than three budgets have a floor among their
    sizes, whole valleys are trained about where the ridge is expected, the cheapest first; then the runs that
    `fit --suggest` would name for the statistical interval alone, for at most a quarter of what was spent so far.
    """
    valleys = find_valleys(rows)
    choice = choose(rows, valleys=valleys, n_runs=n_runs)
    seen = _Seen(rows, valleys, choice, _read(choice, valleys, goal), goal, means)
    return _ended(seen) or _bracket(seen) or _despite_idle(seen) or _narrow(seen)


def _read(choice: Choice | None, valleys: Sequence[Valley], goal: Goal) -> Reading | None:
    """The recommended N_opt at the target with its statistical interval, as `isoflop fit` gives it."""
    if choice is None:
        return None
    log_n, variance = choice.on_params.at(math.log10(goal.target_flops))
    half = student_quantile(LEVEL, choice.degrees_of_freedom) * math.sqrt(variance)
    n_opt, interval = ten_to(log_n), log_interval(log_n, half)
    if n_opt is None or interval is None:
        return None
    return Reading(choice.estimator, n_opt, *interval, len(budget_floors(valleys)))


def _ended(seen: _Seen) -> NextRound | None:
    """The end, where one was reached before new runs are looked for; None where it goes on."""
    reading, goal = seen.reading, seen.goal
    is_surface = reading is not None and reading.estimator == SURFACE
    if reading and reading.span <= goal.within and (is_surface or seen.n_floors >= ENOUGH_FLOORS):
        return NextRound(Verdict.MET, reading, "the goal is met")
    if seen.hours_left <= 0:
        spent = format_device_hours(seen.means.hours_spent)
        why = f"{spent} are spent and goal.max_hours is {goal.max_hours:g}"
        return seen.stop(Verdict.HOURS_GONE, why, _MORE_HOURS)
    if is_surface:
        return seen.stop(
            Verdict.NO_VALLEY,
            "the sizes make one crossed grid and no valley for each budget, so no next runs can be named",
            "Leave out grid.lattice, so that every budget has sizes about its own optimum.",
        )
    if all(valley.on_params is None for valley in seen.valleys):
        most = max(valley.n_points for valley in seen.valleys)
        return seen.stop(
            Verdict.NO_VALLEY,
            f"no budget has the 4 runs of 3 sizes that a valley takes; the most that one has is {plural(most, 'run')}",
            "Set grid.sizes to 7 and plan again; `isoflop plan` says which cells are dropped and why.",
        )
    if seen.means.past and seen.means.past[-1].n_rows == len(seen.rows):
        return seen.stop(
            Verdict.NO_GAIN,
            "none of the runs of the round before gave a result that can be fitted",
            "`isoflop status` shows what became of them; `isoflop run --until-goal --retry` tries them again.",
        )
    return None


def _despite_idle(seen: _Seen) -> NextRound | None:
    """Another budget, or the end, where `PATIENCE` rounds have not narrowed the interval; None where they have."""
    before = [one.span for one in seen.means.past[-PATIENCE:] if one.span is not None]
    if seen.reading is None or len(before) < PATIENCE:
        return None
    if math.log(seen.reading.span) <= (1 - LEAST_NARROWING) * math.log(before[0]):
        return None
    return _next_budget(seen, f"{PATIENCE} rounds have not narrowed the interval, a factor of {before[0]:.3g} before")


def _next_budget(seen: _Seen, why: str) -> NextRound:
    """A valley at the next budget, because more runs at the others do not help; the end where there is none."""
    ways = list(next_valleys(seen.rows, seen.valleys, seen.choice, seen.means.trainable, seen.goal.target_flops))
    if not ways:
        return seen.stop(Verdict.NO_GAIN, why + _obstacle(seen.choice), _what_helps(seen.choice))
    runs = ways[0].runs
    if not seen.affords(runs):
        return _no_hours(seen, runs)
    valley = f"a new valley of {plural(len(runs), 'size')} at {format_flops(ways[0].budget_flops)} FLOPs"
    return NextRound(Verdict.GROW, seen.reading, f"{valley}, because {why}", runs=runs)


def _bracket(seen: _Seen) -> NextRound | None:
    """Valleys about the expected ridge, the cheapest first and one at least, while too few floors are bracketed.

    None where enough are, or where nothing is left to centre and a joint valley tells what to train.
    """
    joint = seen.choice is not None and seen.choice.joint is not None
    if joint and seen.n_floors >= ENOUGH_FLOORS:
        return None
    known = seen.rows, seen.valleys, seen.choice, seen.means.trainable, seen.goal.target_flops
    ways = [*recentred_valleys(*known), *next_valleys(*known)]
    taken: list[Recentred] = []
    for way in ways:
        runs = [run for one in (*taken, way) for run in one.runs]
        dear = bool(taken) and _flops(runs) > ROUND_SHARE * seen.means.flops_spent
        # where the second floor lies is better known when the first is
        if dear or not seen.affords(runs) or (taken and not seen.n_floors):
            break
        taken.append(way)
    if taken:
        words = [f"{plural(len(one.runs), 'size')} at {format_flops(one.budget_flops)} FLOPs" for one in taken]
        why = f"re-centred on the ridge: {', '.join(words)}, because {taken[0].why}"
        return NextRound(Verdict.GROW, seen.reading, why, runs=tuple(run for one in taken for run in one.runs))
    if ways:
        return _no_hours(seen, ways[0].runs)
    return None if joint else seen.stop(Verdict.OUT_OF_REACH, _NOT_TRAINABLE, _MAKE_TRAINABLE)


def _narrow(seen: _Seen) -> NextRound:
    """The runs that narrow the interval most per FLOP."""
    choice, reading, goal = seen.choice, seen.reading, seen.goal
    assert choice is not None and choice.joint is not None, "without a joint valley `_bracket` decides"
    if reading is None:
        return seen.stop(Verdict.OUT_OF_REACH, "the interval leaves the range of floating-point numbers", _NEARER)
    growth = (math.log(reading.span) / math.log(goal.within)) ** 2
    # a first interval, from valleys that were just found, says little
    known = len(seen.means.past) >= PATIENCE
    if goal.max_hours is None and growth > (MOST_GROWTH if known else MOST_GROWTH**2):
        return _too_far(seen, reading, growth)
    found = _suggested(seen)
    if not found:
        dearer = _suggested(seen, in_hours=False)
        if dearer:
            return _no_hours(seen, [(one.budget_flops, one.n_params) for one in dearer[:1]])
        return _next_budget(seen, "no run at the fitted budgets that can be trained would narrow the interval")
    expected = 10 ** (2 * found[-1].half_width_statistical)
    if expected > goal.within and math.log(expected) > (1 - LEAST_NARROWING) * math.log(reading.span):
        return _next_budget(seen, f"the runs that tell most would narrow the interval to {expected:.3g} only")
    runs = tuple((one.budget_flops, one.n_params) for one in found)
    return NextRound(Verdict.GROW, reading, _what_is_next(found), runs=runs, expected_span=expected)


def _too_far(seen: _Seen, reading: Reading, growth: float) -> NextRound:
    within = 1 + math.ceil(100 * (math.exp(math.log(reading.span) / math.sqrt(MOST_GROWTH)) - 1)) / 100
    return seen.stop(
        Verdict.OUT_OF_REACH,
        f"the goal takes about {growth:.0f} times the FLOPs spent so far: intervals narrow with their square root",
        f"Set goal.within to {within:g} or more, or give goal.max_hours to go on until they are gone.",
    )


def _suggested(seen: _Seen, *, in_hours: bool = True) -> tuple[Suggestion, ...]:
    """What tells most per FLOP: runs for a share of what was spent, or a new valley; else the one run that does."""
    few = _within(seen, MOST_RUNS, ROUND_SHARE, in_hours=in_hours)
    valley = _within(seen, len(VALLEY_OFFSETS), VALLEY_SHARE, in_hours=in_hours)
    found = [one for one in (few, valley if valley and valley[0].opens_budget else ()) if one]
    if found:
        return max(found, key=partial(_per_flop, seen))
    return (
        valley
        or _within(seen, 1, math.inf, in_hours=in_hours)
        or _within(seen, len(VALLEY_OFFSETS), math.inf, in_hours=in_hours)
    )


def _within(seen: _Seen, count: int, share: float, *, in_hours: bool) -> tuple[Suggestion, ...]:
    """At most `count` runs for a share of the FLOPs spent and, if asked, for the hours left."""
    assert seen.choice is not None
    allowances = [Allowance(lambda budget_flops, _: budget_flops, share * seen.means.flops_spent)]
    if in_hours and seen.means.hours is not None:
        allowances.append(Allowance(seen.means.hours, seen.hours_left))
    return suggest_runs(
        seen.choice,
        seen.goal.target_flops,
        count,
        LEVEL,
        trainable=seen.means.trainable,
        allowances=allowances,
        enough=math.log10(seen.goal.within) / 2,
    )


def _per_flop(seen: _Seen, found: Sequence[Suggestion]) -> float:
    """By how much the variance of the reading falls per FLOP, decades^2, but for a factor that is common to all."""
    assert seen.reading is not None
    before = math.log10(seen.reading.span) / 2
    return (before**2 - found[-1].half_width_statistical ** 2) / math.fsum(one.budget_flops for one in found)


def _no_hours(seen: _Seen, runs: Sequence[WantedRun]) -> NextRound:
    needed = format_device_hours(seen.means.hours_of(runs) or 0.0)
    return seen.stop(
        Verdict.HOURS_GONE,
        f"{plural(len(runs), 'run')} at {format_flops(runs[0][0])} FLOPs would come next and take about {needed}, and "
        f"{format_device_hours(seen.hours_left)} are left",
        _MORE_HOURS,
    )


def _obstacle(choice: Choice | None) -> str:
    """What stands in the way of a narrower interval, as the end of a sentence."""
    scatter = _scatter(choice)
    if scatter <= FIVE_PERCENT:
        return ""
    return f", because floors scatter about the ridge by {scatter:.2f} decades, which repeats do not lessen"


def _what_helps(choice: Choice | None) -> str:
    if _scatter(choice) > FIVE_PERCENT:
        return "Add budgets to the sweep file and look for budgets of another recipe, or accept a larger goal.within."
    return _NEARER


def _scatter(choice: Choice | None) -> float:
    """Of floors about the ridge, decades."""
    return choice.joint.valley.scatter.sd if choice and choice.joint else 0.0


def _what_is_next(found: Sequence[Suggestion]) -> str:
    """`what narrows the interval most per FLOP: a new valley of 7 sizes at 1.00e12 FLOPs, 5 runs at 3.00e10 FLOPs`."""
    parts = []
    for budget in dict.fromkeys(one.budget_flops for one in found):
        own = [one for one in found if one.budget_flops == budget]
        size = f"a new valley of {plural(len(own), 'size')}" if own[0].opens_budget else plural(len(own), "run")
        parts.append(f"{size} at {format_flops(budget)} FLOPs")
    return f"what narrows the interval most per FLOP: {', '.join(parts)}"


def _flops(runs: Sequence[WantedRun]) -> float:
    return math.fsum(budget_flops for budget_flops, _ in runs)
