"""How a new plan differs from the one that the database has, as data, text and JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from isoflop.errors import IsoflopError
from isoflop.plan.types import Plan
from isoflop.result import Status
from isoflop.spec import SweepSpec
from isoflop.store import Store
from isoflop.units import format_flops
from isoflop.view.drawing import table_block, text
from isoflop.view.table import Column, Table
from isoflop.view.wording import ABSENT, count, runs

# Runs of each kind, and keys, that the text names; --json lists them all.
_NAMED = 4


@dataclass(frozen=True)
class PlannedRun:
    """A run in the plan of before or of now.

    Attributes:
        budget_flops: the smallest budget that asks for it.
        n_params: every parameter.
        n_tokens: planned training tokens.
        status: of its recorded result; None without one.
    """

    run_id: str
    budget_flops: float
    n_params: int
    n_tokens: int
    status: Status | None


@dataclass(frozen=True)
class PlanChanges:
    """What a new plan changes in a sweep that was planned before.

    Attributes:
        kept: runs of both plans.
        new: runs of the new plan alone.
        no_longer_asked_for: runs of the old plan alone; their results stay in the database.
        keys: dotted names of the sweep file whose values changed, with the old and the new value; None where the old
            ones were written by a version that this one cannot read.
    """

    kept: tuple[PlannedRun, ...]
    new: tuple[PlannedRun, ...]
    no_longer_asked_for: tuple[PlannedRun, ...]
    keys: Mapping[str, tuple[object, object]] | None

    @property
    def differ(self) -> bool:
        """Whether anything changes."""
        return bool(self.new or self.no_longer_asked_for or self.keys)

    @property
    def sentence(self) -> str:
        """How many runs are kept, new and no longer asked for."""
        numbers = (
            f"{runs(len(self.kept))} kept, {len(self.new)} new, {len(self.no_longer_asked_for)} no longer asked for"
        )
        results = sum(run.status is not None for run in self.no_longer_asked_for)
        return numbers + (f" ({_results(results)} in the database)" if results else "")


def _results(number: int) -> str:
    return "its result stays" if number == 1 else f"{number} results stay"


def changes_since(store: Store, spec: SweepSpec, plan: Plan) -> PlanChanges | None:
    """What `plan`, made of `spec`, changes in the database; None for a sweep that it does not have yet."""
    if spec.name not in store.sweep_names():
        return None
    before: dict[str, PlannedRun] = {}
    for cell in store.cells(spec.name):  # by ascending budget
        if cell.run_id is not None:
            assert cell.n_tokens is not None
            size = (cell.n_params_total, cell.n_tokens)
            before.setdefault(cell.run_id, PlannedRun(cell.run_id, cell.budget_flops, *size, cell.status))
    return compare_plans(before, _planned(store, plan, before), _changed_keys(store, spec))


def _planned(store: Store, plan: Plan, before: Mapping[str, PlannedRun]) -> dict[str, PlannedRun]:
    """The runs of `plan`; another sweep may have brought a new one its result."""
    added = {cell.run.run_id for cell in plan.cells} - before.keys()
    known = store.known_runs() if added else {}
    now: dict[str, PlannedRun] = {}
    for cell in sorted(plan.cells, key=lambda cell: cell.budget_flops):
        run_id, run = cell.run.run_id, cell.run
        old = before.get(run_id) or known.get(run_id)
        status = old.status if old else None
        now.setdefault(run_id, PlannedRun(run_id, cell.budget_flops, run.shape.n_params_total, run.n_tokens, status))
    return now


def compare_plans(
    before: Mapping[str, PlannedRun],
    now: Mapping[str, PlannedRun],
    keys: Mapping[str, tuple[object, object]] | None,
) -> PlanChanges:
    """The difference between the runs of two plans, by id."""
    return PlanChanges(
        kept=tuple(run for run_id, run in now.items() if run_id in before),
        new=tuple(run for run_id, run in now.items() if run_id not in before),
        no_longer_asked_for=tuple(run for run_id, run in before.items() if run_id not in now),
        keys=keys,
    )


def _changed_keys(store: Store, spec: SweepSpec) -> dict[str, tuple[object, object]] | None:
    try:
        stored = store.sweep_spec(spec.name)
    except IsoflopError:
        return None
    old, new = dict(_dotted(stored.model_dump(mode="json"))), dict(_dotted(spec.model_dump(mode="json")))
    return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}


def _dotted(section: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def changes_document(changes: PlanChanges) -> dict[str, object]:
    """The `changes` of `isoflop plan --json`: run ids by kind, and the keys with their old and new values."""
    keys = changes.keys
    return {
        "kept": [run.run_id for run in changes.kept],
        "new": [run.run_id for run in changes.new],
        "no_longer_asked_for": [run.run_id for run in changes.no_longer_asked_for],
        "keys": None if keys is None else {name: {"old": old, "new": new} for name, (old, new) in keys.items()},
    }


def print_changes(changes: PlanChanges, console: Console) -> None:
    """Nothing; `console` shows which keys changed, how many runs that concerns, and the first of them."""
    console.print(text(f"Changed since it was last planned: {changes.sentence}", "bold"))
    keys = list((changes.keys or {}).items())
    for name, (old, new) in keys[:_NAMED]:
        console.print(text(f"  {name}: {_value(old)} -> {_value(new)}"))
    if len(keys) > _NAMED:
        console.print(text(f"  ... and {len(keys) - _NAMED} more keys", "dim"))
    if changes.keys is None:
        console.print(text("  The keys of before were written by another version and cannot be compared.", "dim"))
    for title, listed in (("New", changes.new), ("No longer asked for", changes.no_longer_asked_for)):
        if listed:
            console.print(table_block(_table(title, listed), console))
    console.print(text(""))


def _value(value: object) -> str:
    """A value as a sweep file writes it; in words where the key was absent."""
    match value:
        case None:
            return "not given"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}".replace("e+", "e")
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(_value(item) for item in value)}]"
        case _:
            return str(value)


def _table(title: str, listed: Sequence[PlannedRun]) -> Table:
    columns = (
        Column("budget"),
        Column("N"),
        Column("D"),
        Column("run", numeric=False),
        Column("result", numeric=False),
    )
    rows = tuple(
        (format_flops(run.budget_flops), count(run.n_params), count(run.n_tokens), run.run_id, run.status or ABSENT)
        for run in listed[:_NAMED]
    )
    more = f"... and {len(listed) - _NAMED} more" if len(listed) > _NAMED else None
    return Table(title, columns, rows, more)
