"""A sweep that steers itself: between two trainings it is fitted, decides, and plans what it decided on."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from isoflop import __version__
from isoflop.decision.steering.goal import Goal, Means, NextRound, Past
from isoflop.decision.steering.next_round import decide_round
from isoflop.errors import IsoflopError
from isoflop.fit import Columns
from isoflop.fit.estimators.fitted_rows import select
from isoflop.plan.run_hours import SECONDS_PER_HOUR, RunHours
from isoflop.plan.shapes import nearest_shape, rule_with
from isoflop.sources.load import load_source
from isoflop.spec import SweepSpec
from isoflop.store import RunCell, SteeringRound, Verdict, run_cells
from isoflop.sweep.extend import nearest_trainable, with_new_seeds
from isoflop.sweep.forecast import hours_of_runs, known_of
from isoflop.sweep.planning import PlannedSweep
from isoflop.sweep.session import Session
from isoflop.units import format_device_hours, plural

_NOTHING_NEW = "the runs that would come next are in the sweep already, at a budget that hardly differs"
_FARTHER_APART = "Name budgets that differ by a factor of 1.5 or more in the sweep file."


def required_goal(spec: SweepSpec, file: Path) -> Goal:
    """The goal of the sweep in `file`.

    Raises:
        IsoflopError: it has none.
    """
    if spec.goal is None:
        raise IsoflopError(
            f"{str(file)!r} has no table [goal], so --until-goal does not know where to stop.",
            hint="Add [goal] with target, the FLOPs of the training that is to be decided; within = 1.25, the factor "
            "by which the ends of the 90 % interval of N_opt there may differ; and max_hours, if hours are limited.",
        )
    return Goal(spec.goal.target, spec.goal.within, spec.goal.max_hours)


class Steering:
    """Decides round by round what a session trains next."""

    def __init__(self, session: Session, goal: Goal) -> None:
        self.goal, self._session = goal, session

    @property
    def rounds(self) -> tuple[SteeringRound, ...]:
        """All that the sweep ever decided, first to last."""
        return self._session.store.rounds(self._session.plan.sweep)

    def may_train(self) -> bool:
        """Whether hours are left for what is planned; nothing planned, nothing asked.

        Runs that a round decided on with the same hours are not weighed again: estimates change with every result.

        Raises:
            IsoflopError: what is planned takes more hours than the goal allows.
        """
        pending = set(self._session.store.pending(self._session.plan.sweep))
        if self.goal.max_hours is None or not pending:
            return True
        cells = self._cells()
        left = self.goal.max_hours - _hours_spent(cells, self._session.growth.spec)
        if left <= 0:
            return False
        needed = self._hours_of([cell for cell in cells if cell.run_id in pending])
        if needed > left and not pending <= self._decided() and not self._is_resumed(pending):
            raise IsoflopError(
                f"The {plural(len(pending), 'planned run')} without a result would take about "
                f"{format_device_hours(needed)}, and goal.max_hours leaves {format_device_hours(left)}.",
                hint="Raise goal.max_hours, or begin with fewer or smaller budgets: the sweep adds what it needs."
                if not self.rounds
                else "Raise goal.max_hours, take budgets out of the sweep file, or waiting runs out of the plan with "
                "`isoflop plan --drop-suggested`.",
            )
        return True

    def _is_resumed(self, pending: Iterable[str]) -> bool:
        """Whether the first grid was weighed before and is under way: a killed command goes on."""
        return not self.rounds and any(map(self._session.keeps_state, pending))

    def _decided(self) -> set[str]:
        """The runs of the latest round that added some, if the goal allowed the same hours then."""
        grown = [one for one in self.rounds if one.verdict is Verdict.GROW][-1:]
        return {run_id for one in grown if one.max_hours == self.goal.max_hours for run_id in one.new_runs}

    def next_round(self) -> SteeringRound:
        """What is next, in the database already; where it goes on, the session has the new runs to train.

        Raises:
            IsoflopError: no run completed.
        """
        session, cells = self._session, self._cells()
        spec, planned, db = session.growth.spec, session.growth.planned, session.store.path
        selected = select(Columns(**load_source(str(db), db=db, sweep=spec.name).columns_of_fit))
        rule = rule_with(spec, cells[0].shape)
        means = Means(
            flops_spent=sum(_flops_spent(cell) for cell in cells),
            hours_spent=_hours_spent(cells, spec),
            trainable=nearest_trainable(rule, partial(planned.can_train, spec)),
            hours=self._run_hours,
            past=self._past(cells),
        )
        decided = decide_round(selected.rows, self.goal, means, n_runs=selected.n_runs)
        as_round = partial(self._as_round, decided, means, len(selected.rows), {cell.run_id for cell in cells})
        if decided.verdict.ends:
            return self._ended(as_round(planned))
        wanted = [(budget, nearest_shape(rule, n_params)) for budget, n_params in decided.runs]
        grown = session.planned_with(with_new_seeds(wanted, cells, spec))
        found = as_round(grown)
        if found.verdict.ends:
            return self._ended(found)
        session.grow(grown, found)
        return found

    def _ended(self, found: SteeringRound) -> SteeringRound:
        """The round as it is stored: an end that was found before is not stored again."""
        last = self.rounds[-1:]
        if last and found.is_as(last[0]):
            return last[0]
        self._session.store.add_round(found)
        return found

    def _as_round(
        self, decided: NextRound, means: Means, n_rows: int, before: set[str], planned: PlannedSweep
    ) -> SteeringRound:
        """The row of a decision; `before`: runs of the sweep that `planned` has more than."""
        added = tuple(run_id for run_id in planned.plan.runs if run_id not in before)
        if not decided.verdict.ends and not added:  # it would come again for ever
            decided = NextRound(Verdict.NO_GAIN, decided.reading, _NOTHING_NEW, _FARTHER_APART)
        reading = decided.reading
        return SteeringRound(
            sweep=planned.plan.sweep,
            round=len(self.rounds) + 1,
            decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
            isoflop_version=__version__,
            target_flops=self.goal.target_flops,
            within=self.goal.within,
            max_hours=self.goal.max_hours,
            n_rows=n_rows,
            estimator=reading.estimator if reading else None,
            n_opt=reading.n_opt if reading else None,
            n_opt_low=reading.low if reading else None,
            n_opt_high=reading.high if reading else None,
            flops_spent=means.flops_spent,
            hours_spent=means.hours_spent,
            verdict=decided.verdict,
            why=decided.why,
            hint=decided.hint,
            new_flops=sum(planned.plan.runs[run_id].planned_flops for run_id in added),
            new_hours=means.hours_of(decided.runs),
            expected_span=decided.expected_span,
            new_runs=added,
        )

    def _past(self, cells: Sequence[RunCell]) -> list[Past]:
        """Earlier rounds towards the same target whose runs the sweep still has."""
        planned = {cell.run_id for cell in cells}
        return [
            Past(one.n_rows, one.flops_spent, one.span)
            for one in self.rounds
            if one.verdict is Verdict.GROW
            and one.target_flops == self.goal.target_flops
            and not planned.isdisjoint(one.new_runs)
        ]

    def _cells(self) -> list[RunCell]:
        """Every run of the sweep once."""
        cells = run_cells(self._session.store.cells(self._session.plan.sweep))
        return list({cell.run_id: cell for cell in cells}.values())

    @property
    def _run_hours(self) -> RunHours | None:
        growth = self._session.growth
        return hours_of_runs(growth.spec, growth.planned, known_of(self._session.store, growth.spec))

    def _hours_of(self, cells: Sequence[RunCell]) -> float:
        hours, count = self._run_hours, self._session.growth.spec.fit.params
        return sum(hours(cell.budget_flops, float(cell.shape.n_params(count))) for cell in cells) if hours else 0.0


def _flops_spent(cell: RunCell) -> float:
    """FLOPs of a result; a simulated run counts for what it stands for."""
    if cell.result is None:
        return 0.0
    return cell.planned_flops if cell.result.simulated else cell.result.spent_flops


def _hours_spent(cells: Sequence[RunCell], spec: SweepSpec) -> float:
    """Device-hours of all results; what was lost with a killed worker is in none."""
    seconds = sum(cell.result.device_seconds for cell in cells if cell.result and not cell.result.simulated)
    return seconds * spec.devices_per_run / SECONDS_PER_HOUR
