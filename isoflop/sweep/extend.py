"""Suggested runs of a sweep: those that are planned already, and new ones that its results ask for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.errors import IsoflopError
from isoflop.finding import Finding
from isoflop.plan.planner import planned_tokens
from isoflop.plan.run_hours import RunHours
from isoflop.plan.shapes import ShapeRule, nearest_shape, rule_with
from isoflop.plan.types import Extra, Role
from isoflop.shape import Shape
from isoflop.spec import SweepSpec
from isoflop.store import RunCell, Store, SweepCell, read_snapshot, run_cells
from isoflop.units import plural

if TYPE_CHECKING:
    from isoflop.fit.question import Trainable
    from isoflop.fit.results.target import Suggestion

# Of the fit's findings, those a plan repeats.
_ON_SUGGESTIONS = ("nothing_to_suggest", "little_to_gain")


@dataclass(frozen=True)
class Extension:
    """New runs, as they were suggested and as they will be built.

    Attributes:
        suggested: why each is worth its FLOPs.
        level: nominal coverage of the intervals in `suggested`.
        findings: what the fit says of the suggestions.
        extras: the same runs as cells of the sweep.
    """

    suggested: "tuple[Suggestion, ...]"
    level: float
    findings: tuple[Finding, ...]
    extras: tuple[Extra, ...]


def planned_extras(db: Path, spec: SweepSpec, *, drop_waiting: bool = False) -> tuple[Extra, ...]:
    """What `plan --extend` and `run --confirm` added to the sweep before; nothing where the database has no such sweep.

    A suggested run follows the recipe of the file as it is now; a confirm run stays only as it was predicted. With
    `drop_waiting` suggested runs without a result are left out.
    """
    found = (
        Extra(
            cell.budget_flops,
            cell.shape,
            cell.seed,
            role=cell.role,
            run_id=cell.run_id if cell.role is Role.CONFIRM else None,
        )
        for cell in _cells(db, spec, beside_grid=True)
        if not (drop_waiting and cell.role is Role.SUGGESTED and cell.result is None)
    )
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Request:
    """What `plan --extend` asks for.

    Attributes:
        count: runs.
        target: budget, FLOPs, that they are to tell of; None for ten times the largest.
        hours: device-hours of a run; None where none is trained.
        max_hours: that the new runs and those that wait may take together; None for any number.
    """

    count: int
    target: float | None = None
    hours: RunHours | None = None
    max_hours: float | None = None


def extend_sweep(db: Path, spec: SweepSpec, request: Request, can_train: Callable[[Shape, float], bool]) -> Extension:
    """The runs that would tell most about the target, as many as asked for and paid, as shapes that can be built.

    Only shapes that `can_train` at a budget are suggested. Runs that are planned and not trained yet are taken as
    trained. A size that a budget has already is asked for with the next seed.

    Raises:
        IsoflopError: nothing has completed, or the results do not determine what to ask for, or hours are too few.
    """
    from isoflop.fit import Question
    from isoflop.sources.load import load_source
    from isoflop.sources.source import fit_source

    if not db.exists():
        raise IsoflopError(
            f"There is no database {str(db)!r}, so there are no results from which to choose more runs.",
            hint="Train the sweep first: isoflop run with the same sweep file and --db.",
        )
    rows = load_source(str(db), db=db, sweep=spec.name)
    cells = _cells(db, spec)
    waiting = [
        (cell.budget_flops, float(cell.shape.n_params(spec.fit.params))) for cell in cells if cell.will_be_fitted
    ]
    # The results are of models with this vocabulary, whatever the sweep file has come to say.
    rule = rule_with(spec, cells[0].shape)
    question = Question(
        targets=[request.target] if request.target is not None else [],
        suggest=request.count,
        planned=waiting,
        trainable=nearest_trainable(rule, can_train),
        hours=request.hours,
        max_hours=_hours_left(request, waiting),
    )
    fit = fit_source(rows, question)
    said = [finding for finding in fit.findings if finding.code in _ON_SUGGESTIONS]
    if not fit.suggested:
        raise IsoflopError(
            f"The results of {spec.name!r} suggest no further runs. {said[0].message}", hint=said[0].hint
        )
    suggested = tuple(_as_planned(suggestion, spec, rule) for suggestion in fit.suggested)
    extras = with_new_seeds([(one.budget_flops, nearest_shape(rule, one.n_params)) for one in suggested], cells, spec)
    return Extension(suggested, fit.level, tuple(said), extras)


def nearest_trainable(rule: ShapeRule, can_train: Callable[[Shape, float], bool]) -> "Trainable":
    """From a budget and N to the parameters of the nearest shape, None where that cannot be trained there."""

    def trainable(budget_flops: float, n_params: float) -> float | None:
        shape = nearest_shape(rule, n_params)
        return float(shape.n_params(rule.count)) if can_train(shape, budget_flops) else None

    return trainable


def with_new_seeds(
    wanted: Iterable[tuple[float, Shape]], cells: Iterable[RunCell], spec: SweepSpec
) -> tuple[Extra, ...]:
    """Suggested runs of these shapes at these budgets, each with the first seed that no run of the sweep has there."""
    taken = {(cell.budget_flops, cell.shape, cell.seed) for cell in cells}
    extras: list[Extra] = []
    for budget, shape in wanted:
        seed = spec.grid.first_seed
        while (budget, shape, seed) in taken:
            seed += 1
        taken.add((budget, shape, seed))
        extras.append(Extra(budget, shape, seed))
    return tuple(extras)


def _hours_left(request: Request, waiting: Sequence[tuple[float, float]]) -> float | None:
    """What of the hours the runs that wait leave to new ones.

    Raises:
        IsoflopError: nothing, or no device trains the sweep.
    """
    if request.max_hours is None:
        return None
    if request.hours is None:
        raise IsoflopError(
            "--max-hours has no effect on a simulated sweep, which takes no time.", hint="Leave out --max-hours."
        )
    left = request.max_hours - sum(request.hours(*run) for run in waiting)
    if left <= 0:
        raise IsoflopError(
            f"The {plural(len(waiting), 'planned run')} without a result take all of --max-hours {request.max_hours:g} "
            "already.",
            hint="Allow more hours, or take suggested runs out of the plan with --drop-suggested.",
        )
    return left


def _as_planned(suggestion: "Suggestion", spec: SweepSpec, rule: ShapeRule) -> "Suggestion":
    """The suggestion with the tokens that its run is planned with: the fit knows only what a token costs about."""
    shape = nearest_shape(rule, suggestion.n_params)
    n_tokens = planned_tokens(spec, shape, suggestion.budget_flops)
    return suggestion if n_tokens is None else replace(suggestion, n_tokens=float(n_tokens))


def _cells(db: Path, spec: SweepSpec, *, beside_grid: bool = False) -> Sequence[RunCell]:
    if not db.exists():
        return ()

    def read(store: Store) -> tuple[SweepCell, ...]:
        return store.cells(spec.name, beside_grid=beside_grid) if spec.name in store.sweep_names() else ()

    return run_cells(read_snapshot(db, read))
