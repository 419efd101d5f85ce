"""How a new plan differs from the one that the database has."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from isoflop.errors import IsoflopError
from isoflop.plan.types import Plan
from isoflop.spec import SweepSpec
from isoflop.store.known_runs import PlannedRun
from isoflop.store.store import Store


@dataclass(frozen=True)
class PlanChanges:
    """What a new plan changes in a sweep that was planned before.

    Attributes:
        kept: runs of both plans.
        new: runs of the new plan alone.
        no_longer_asked_for: runs of the old plan alone; their results stay in the database.
        keys: dotted names of the sweep file whose values changed, with the old and the new value; None where the old
            ones were written by a version that this one cannot read.
        corpus: fingerprints of the text before and now, where they differ.
    """

    kept: tuple[PlannedRun, ...]
    new: tuple[PlannedRun, ...]
    no_longer_asked_for: tuple[PlannedRun, ...]
    keys: Mapping[str, tuple[object, object]] | None
    corpus: tuple[str, str] | None = None

    @property
    def differ(self) -> bool:
        """Whether anything changes."""
        return bool(self.new or self.no_longer_asked_for or self.keys or self.corpus)


def changes_since(store: Store, spec: SweepSpec, plan: Plan) -> PlanChanges | None:
    """What `plan`, made of `spec`, changes in the database; None for a sweep that it does not have yet."""
    if spec.name not in store.sweep_names():
        return None
    before: dict[str, PlannedRun] = {}
    for run in store.planned_runs(spec.name):  # by ascending budget
        before.setdefault(run.run_id, run)
    changes = compare_plans(before, _planned(store, plan, before), _changed_keys(store, spec))
    return replace(changes, corpus=_changed_corpus(store, plan, changes))


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


def _changed_corpus(store: Store, plan: Plan, changes: PlanChanges) -> tuple[str, str] | None:
    """A plan is of one text: one run of each tells."""
    if not (changes.no_longer_asked_for and changes.new):
        return None
    before = store.run_spec(changes.no_longer_asked_for[0].run_id).corpus_fingerprint
    now = plan.runs[changes.new[0].run_id].corpus_fingerprint
    return (before, now) if before != now else None


def _changed_keys(store: Store, spec: SweepSpec) -> dict[str, tuple[object, object]] | None:
    try:
        stored = store.sweep_spec(spec.name)
    except IsoflopError:
        return None
    # where a sweep is trained is not kept with it
    old, new = (dict(_dotted(one.model_dump(mode="json", exclude={"engine"}))) for one in (stored, spec))
    changed = {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}
    changed.pop("model.counted", None)  # what follows from the other keys, the text and the factory
    return changed


def _dotted(section: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
