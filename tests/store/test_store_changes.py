"""What a new plan changes in the database: runs by kind, their sizes and results, and the keys of the sweep file."""

import dataclasses
from pathlib import Path

import pytest

from isoflop.plan.types import Plan
from isoflop.result import Status
from isoflop.spec import EngineSpec, SlurmSpec, SweepSpec
from isoflop.store import Standing, changes_since, open_store
from tests.report_examples import make_cell, make_result, save_sweep, unfinished

KEPT, GONE, FAILED, NEW = make_cell(1e12, 32), make_cell(1e12, 64), make_cell(1e13, 32), make_cell(1e13, 96)
SPEC = SweepSpec(name="demo", budgets=(1e12, 1e13))


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    results = [make_result(GONE), unfinished(FAILED, "failed", "no memory")]
    save_sweep(tmp_path / "x.db", [KEPT, GONE, FAILED], results, spec=SPEC)
    return tmp_path / "x.db"


def changes(path: Path, spec: SweepSpec, *cells):
    with open_store(path, write=False) as store:
        return changes_since(store, spec, Plan(spec.name, tuple(cells), (), ()))


def ids(listed) -> list[str]:
    return [run.run_id for run in listed]


def test_runs_are_kept_new_or_no_longer_asked_for_with_the_result_they_have(planned: Path) -> None:
    found = changes(planned, SPEC, KEPT, NEW)
    assert (ids(found.kept), ids(found.new)) == ([KEPT.run.run_id], [NEW.run.run_id])
    gone = {run.run_id: run for run in found.no_longer_asked_for}
    assert set(gone) == {GONE.run.run_id, FAILED.run.run_id}
    assert gone[GONE.run.run_id].status is Status.COMPLETED
    assert gone[FAILED.run.run_id].status is Status.FAILED
    [new], [kept] = found.new, found.kept
    assert (new.status, kept.status) == (None, None)
    assert (new.budget_flops, new.n_params, new.n_tokens) == (
        1e13, NEW.run.shape.n_params_total, NEW.run.n_tokens,
    )  # fmt: skip
    assert found.keys == {}
    assert found.differ


def test_the_plan_of_before_changes_nothing(planned: Path) -> None:
    found = changes(planned, SPEC, FAILED, GONE, KEPT)
    assert set(ids(found.kept)) == {cell.run.run_id for cell in (KEPT, GONE, FAILED)}
    assert (found.new, found.no_longer_asked_for, found.keys) == ((), (), {})
    assert not found.differ


def test_where_the_sweep_is_trained_is_no_change_of_it(planned: Path) -> None:
    there = SPEC.model_copy(update={"engine": EngineSpec(slurm=SlurmSpec(partition="gpu", jobs=8))})
    assert not changes(planned, there, FAILED, GONE, KEPT).differ


def test_a_new_run_that_another_sweep_has_trained_has_its_result(planned: Path) -> None:
    other = SweepSpec(name="other", budgets=(1e13,))
    save_sweep(planned, [NEW], [make_result(NEW)], spec=other)
    [new] = changes(planned, SPEC, KEPT, GONE, FAILED, NEW).new
    assert new.status is Status.COMPLETED


def test_a_run_of_two_budgets_is_named_once_at_the_smaller(planned: Path) -> None:
    twice = dataclasses.replace(NEW, budget_flops=5e12)
    found = changes(planned, SPEC, KEPT, GONE, FAILED, NEW, twice)
    assert [(run.run_id, run.budget_flops) for run in found.new] == [(NEW.run.run_id, 5e12)]


def test_a_sweep_that_the_database_does_not_have_has_no_changes(planned: Path) -> None:
    assert changes(planned, SweepSpec(name="another", budgets=(1e12,)), KEPT) is None


def test_keys_that_changed_are_dotted_with_their_old_and_new_values(planned: Path) -> None:
    grid = SPEC.grid.model_copy(update={"sizes": 9})
    recipe = SPEC.recipe.model_copy(update={"learning_rate": 0.5})
    found = changes(planned, SPEC.model_copy(update={"grid": grid, "recipe": recipe}), KEPT, GONE, FAILED)
    assert found.keys == {
        "grid.sizes": (SPEC.grid.sizes, 9), "recipe.learning_rate": (SPEC.recipe.learning_rate, 0.5),
    }  # fmt: skip
    assert (found.new, found.no_longer_asked_for) == ((), ())
    assert found.differ


@pytest.mark.parametrize("side", ["achieved_flops", "n_tokens"])
@pytest.mark.parametrize(
    ("off", "expected"),
    [(-0.006, Standing.OFF_PLAN), (-0.004, Standing.USED), (0.004, Standing.USED), (0.006, Standing.OFF_PLAN)],
)
def test_a_run_is_off_plan_where_its_flops_or_its_tokens_miss_by_more_than_half_a_per_cent(
    tmp_path: Path, side: str, off: float, expected: Standing
) -> None:
    planned = {"achieved_flops": KEPT.run.planned_flops, "n_tokens": KEPT.run.n_tokens}
    missed = type(planned[side])(planned[side] * (1 + off))
    save_sweep(tmp_path / "x.db", [KEPT, GONE], [make_result(KEPT, **{side: missed}), make_result(GONE)])
    with open_store(tmp_path / "x.db", write=False) as store:
        standings = {cell.run_id: cell.standing for cell in store.cells("demo")}
    assert standings == {KEPT.run.run_id: expected, GONE.run.run_id: Standing.USED}
