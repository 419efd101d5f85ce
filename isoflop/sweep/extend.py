"""Suggested runs of a sweep: those that are planned already, and new ones that its results ask for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.errors import IsoflopError
from isoflop.finding import Finding
from isoflop.plan.planner import planned_tokens
from isoflop.plan.shapes import ShapeRule, nearest_shape, rule_with
from isoflop.plan.types import Extra, Role
from isoflop.shape import Shape
from isoflop.spec import SweepSpec
from isoflop.store import RunCell, read_snapshot, run_cells

if TYPE_CHECKING:
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


def planned_extras(db: Path, spec: SweepSpec) -> tuple[Extra, ...]:
    """What `plan --extend` and `run --confirm` added to the sweep before; nothing where the database has no such sweep.

    A suggested run follows the recipe of the file as it is now; a confirm run stays only as it was predicted.
    """
    found = (
        Extra(
            cell.budget_flops,
            cell.shape,
            cell.seed,
            role=cell.role,
            run_id=cell.run_id if cell.role is Role.CONFIRM else None,
        )
        for cell in _cells(db, spec)
        if cell.role in (Role.SUGGESTED, Role.CONFIRM)
    )
    return tuple(dict.fromkeys(found))


def extend_sweep(
    db: Path,
    spec: SweepSpec,
    count: int,
    target: float | None,
    can_train: Callable[[Shape, float], bool],
) -> Extension:
    """The `count` runs that would tell most about `target` (ten times the largest budget), as shapes that can be built.

    Only shapes that `can_train` at a budget are suggested. Runs that are planned and not trained yet are taken as
    trained. A size that a budget has already is asked for with the next seed.

    Raises:
        IsoflopError: nothing has completed, or the results do not determine what to ask for.
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
        (cell.budget_flops, float(cell.shape.n_params(spec.fit.params)))
        for cell in cells
        if cell.result is None and cell.role is not Role.CONFIRM  # which no fit will use
    ]
    # The results are of models with this vocabulary, whatever the sweep file has come to say.
    rule = rule_with(spec, cells[0].shape)

    def trainable(budget_flops: float, n_params: float) -> float | None:
        shape = nearest_shape(rule, n_params)
        return float(shape.n_params(rule.count)) if can_train(shape, budget_flops) else None

    targets = [target] if target is not None else []
    fit = fit_source(rows, Question(targets=targets, suggest=count, planned=waiting, trainable=trainable))
    said = [finding for finding in fit.findings if finding.code in _ON_SUGGESTIONS]
    if not fit.suggested:
        raise IsoflopError(
            f"The results of {spec.name!r} suggest no further runs. {said[0].message}", hint=said[0].hint
        )
    suggested = tuple(_as_planned(suggestion, spec, rule) for suggestion in fit.suggested)
    taken = {(cell.budget_flops, cell.shape, cell.seed) for cell in cells}
    extras: list[Extra] = []
    for suggestion in suggested:
        budget, shape = suggestion.budget_flops, nearest_shape(rule, suggestion.n_params)
        seed = spec.grid.first_seed
        while (budget, shape, seed) in taken:
            seed += 1
        taken.add((budget, shape, seed))
        extras.append(Extra(budget, shape, seed))
    return Extension(suggested, fit.level, tuple(said), tuple(extras))


def _as_planned(suggestion: "Suggestion", spec: SweepSpec, rule: ShapeRule) -> "Suggestion":
    """The suggestion with the tokens that its run is planned with: the fit knows only what a token costs about."""
    shape = nearest_shape(rule, suggestion.n_params)
    n_tokens = planned_tokens(spec, shape, suggestion.budget_flops)
    return suggestion if n_tokens is None else replace(suggestion, n_tokens=float(n_tokens))


def _cells(db: Path, spec: SweepSpec) -> Sequence[RunCell]:
    if not db.exists():
        return ()
    cells = read_snapshot(db, lambda store: store.cells(spec.name) if spec.name in store.sweep_names() else ())
    return run_cells(cells)
