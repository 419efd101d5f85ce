"""Whose weights are kept, decided from rows alone."""

import dataclasses
import random
from pathlib import Path

import pytest

from isoflop.artifacts.retention import Ranking, weights_any_keeps, weights_to_keep
from isoflop.plan.types import Cell, Plan, Role
from isoflop.result import RunResult
from isoflop.spec import RunPolicy, SweepSpec
from isoflop.store import SweepCell, open_store
from tests.report_examples import grid, make_cell, make_result, save_sweep, unfinished

BUDGETS = (1e12, 3e12)


def cells_in(db: Path, sweep: str = "demo") -> tuple[SweepCell, ...]:
    with open_store(db, write=False) as store:
        return store.cells(sweep)


def with_losses(cells: list[Cell], *losses: float) -> list[RunResult]:
    return [make_result(cell, val_loss=loss) for cell, loss in zip(cells, losses, strict=True)]


def spec_of(name: str, keep: str) -> SweepSpec:
    return SweepSpec(name=name, budgets=BUDGETS, run=RunPolicy(keep=keep))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "isoflop.db"


def test_the_lowest_loss_of_each_budget_is_kept(db: Path) -> None:
    cells = [make_cell(budget, width) for budget in BUDGETS for width in (16, 32, 48)]
    save_sweep(db, cells, with_losses(cells, 2.0, 1.5, 1.8, 1.4, 1.2, 1.1))
    best = {cells[1].run.run_id, cells[5].run.run_id}
    assert weights_to_keep("best-per-budget", cells_in(db)) == best
    assert weights_to_keep("all", cells_in(db)) == {cell.run.run_id for cell in cells}
    assert weights_to_keep("none", cells_in(db)) == frozenset()


def test_only_a_run_that_enters_the_fit_can_be_the_best(db: Path) -> None:
    cells = [make_cell(1e12, width) for width in (16, 32, 48, 64, 96, 128)]
    cells[3] = dataclasses.replace(cells[3], role=Role.PROBE)
    results = with_losses(cells, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    results[1] = unfinished(cells[1], "diverged", "loss was not finite")
    results[2] = make_result(cells[2], val_loss=1.2, achieved_flops=1.02 * cells[2].run.planned_flops)
    save_sweep(db, cells, results, excluded={cells[0].run.run_id: "wrong corpus"})
    assert weights_to_keep("best-per-budget", cells_in(db)) == {cells[4].run.run_id}


@pytest.mark.parametrize("role", [Role.GRID, Role.REPLICATE, Role.SUGGESTED])
def test_replicates_and_suggested_runs_compete_with_the_grid(db: Path, role: Role) -> None:
    cells = [make_cell(1e12, 16), dataclasses.replace(make_cell(1e12, 32), role=role)]
    save_sweep(db, cells, with_losses(cells, 2.0, 1.0))
    assert weights_to_keep("best-per-budget", cells_in(db)) == {cells[1].run.run_id}


def test_a_confirm_run_keeps_its_weights_whatever_its_loss(db: Path) -> None:
    """It is what will be exported; of the grid the best stays, at its own budget and at the confirm run's."""
    cells = [make_cell(1e12, 16), make_cell(1e12, 32), dataclasses.replace(make_cell(1e12, 48), role=Role.CONFIRM)]
    save_sweep(db, cells, [])
    ranking = Ranking(cells_in(db))
    results = with_losses(cells, 2.0, 1.0, 3.0)
    assert ranking.take(results[2]) == frozenset()
    assert ranking.take(results[0]) == frozenset()
    assert ranking.take(results[1]) == {cells[0].run.run_id}
    save_sweep(db, cells, results)
    assert weights_to_keep("best-per-budget", cells_in(db)) == {cells[1].run.run_id, cells[2].run.run_id}
    assert weights_to_keep("none", cells_in(db)) == frozenset()


def test_results_one_by_one_leave_what_all_at_once_leave(db: Path) -> None:
    """The ranking in memory against the one read anew, in any order of results, ties among them."""
    for seed in range(20):
        order = random.Random(seed)
        path = db.with_name(f"{seed}.db")
        cells = grid(*BUDGETS)
        save_sweep(path, cells, [])
        ranking, let_go = Ranking(cells_in(path)), set[str]()
        results = [make_result(cell, val_loss=order.choice([1.0, 1.5, 2.0, 2.5])) for cell in cells]
        order.shuffle(results)
        for result in results:
            out = ranking.take(result)
            assert not out & ranking.kept
            let_go |= out
        with open_store(path, write=True) as store:
            assert all(store.record(result) for result in results)
        assert ranking.kept == weights_to_keep("best-per-budget", cells_in(path))
        assert let_go | ranking.kept == {cell.run.run_id for cell in cells}


def test_a_run_at_two_budgets_stays_while_it_is_the_best_of_one(db: Path) -> None:
    shared, better = make_cell(1e12, 16), make_cell(1e12, 32)
    cells = [shared, better, dataclasses.replace(shared, budget_flops=1.001e12)]
    save_sweep(db, cells, [])
    ranking = Ranking(cells_in(db))
    assert ranking.take(make_result(shared, val_loss=2.0)) == frozenset()
    assert ranking.take(make_result(better, val_loss=1.0)) == frozenset()
    assert ranking.kept == {shared.run.run_id, better.run.run_id}


def test_any_sweep_that_asks_for_a_run_may_want_its_weights(db: Path) -> None:
    cells = [make_cell(1e12, width) for width in (16, 32, 48)]
    save_sweep(db, cells, with_losses(cells, 1.0, 2.0, 3.0), spec=spec_of("demo", "none"))
    save_sweep(db, cells[1:], [], spec=spec_of("other", "best-per-budget"))
    with open_store(db, write=False) as store:
        assert weights_any_keeps(store, ["demo"]) == frozenset()
        assert weights_any_keeps(store, ["demo", "other"]) == {cells[1].run.run_id}


def test_a_sweep_in_the_words_of_another_version_may_want_anything(db: Path) -> None:
    cells = [make_cell(1e12, width) for width in (16, 32)]
    with open_store(db, write=True) as store:
        store.save_plan(spec_of("demo", "none"), Plan("demo", tuple(cells), (), ()))
        store._db.execute("update sweeps set spec_json = ?", ['{"name": "demo", "budgets": [1e12], "colour": "red"}'])
        store._db.conn.commit()
        assert weights_any_keeps(store, ["demo"]) == {cell.run.run_id for cell in cells}
