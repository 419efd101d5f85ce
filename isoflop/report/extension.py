"""Suggested runs of a sweep: those that are planned already, and new ones that its results ask for."""

from collections.abc import Sequence
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.plan.types import Extra, Role
from isoflop.spec import SweepSpec
from isoflop.store import Standing, SweepCell, read_untouched, standing


def planned_extras(db: Path, spec: SweepSpec) -> tuple[Extra, ...]:
    """What `plan --extend` added to the sweep before; nothing where the database, or the sweep in it, is not there."""
    cells = _cells(db, spec)
    found = (Extra(cell.budget_flops, cell.shape, cell.seed or 0) for cell in cells if cell.role is Role.SUGGESTED)
    return tuple(dict.fromkeys(found))


def new_extras(db: Path, spec: SweepSpec, count: int, target: float | None) -> tuple[Extra, ...]:
    """The `count` runs that would tell most about `target` (ten times the largest budget), as shapes that can be built.

    Runs that are planned and not trained yet are taken as trained. A size that a budget has already is asked for with
    the next seed.

    Raises:
        IsoflopError: nothing has completed, or the results do not determine what to ask for.
    """
    from isoflop.corpus import make_tokenizer
    from isoflop.plan.shapes import ShapeRule, nearest_shape
    from isoflop.report.fitting import fit_input
    from isoflop.report.source import load_source

    rows = load_source(str(db), db=db, sweep=spec.name)
    cells = _cells(db, spec)
    waiting = [
        (cell.budget_flops, float(cell.shape.n_params(spec.fit.params)))
        for cell in cells
        if standing(cell) is Standing.PENDING
    ]
    fit = fit_input(rows, targets=[target] if target is not None else [], suggest=count, planned=waiting)
    if not fit.suggested:
        raise IsoflopError(
            f"The results of {spec.name!r} do not tell what to train next: they determine no joint valley yet.",
            hint="`isoflop fit` says what is missing; two budgets with a floor inside six sizes are enough.",
        )
    rule = ShapeRule(spec.model, make_tokenizer(spec.tokenizer).vocab_size, spec.fit.params)
    taken = {(cell.budget_flops, cell.shape, cell.seed) for cell in cells if cell.run_id is not None}
    extras: list[Extra] = []
    for suggestion in fit.suggested:
        budget, shape = suggestion.budget_flops, nearest_shape(rule, suggestion.n_params)
        seed = spec.grid.first_seed
        while (budget, shape, seed) in taken:
            seed += 1
        taken.add((budget, shape, seed))
        extras.append(Extra(budget, shape, seed))
    return tuple(extras)


def _cells(db: Path, spec: SweepSpec) -> Sequence[SweepCell]:
    if not db.exists():
        return ()
    return read_untouched(db, lambda store: store.cells(spec.name) if spec.name in store.sweep_names() else ())
