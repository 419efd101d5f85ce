"""Weights that no sweep keeps go while the sweep runs, and never under somebody's hands."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from isoflop.artifacts.weights import WeightKeeper
from isoflop.plan.types import Cell
from isoflop.rundir import RunDir, own_claim
from isoflop.spec import Keep, RunPolicy, SweepSpec
from isoflop.store import Store, open_store
from tests.artifacts.artifact_examples import has_weights, leave_run
from tests.report_examples import make_cell, make_result, save_sweep

CELLS = [make_cell(1e12, width) for width in (16, 32, 48)]
IDS = [cell.run.run_id for cell in CELLS]


def spec_of(name: str, keep: Keep) -> SweepSpec:
    return SweepSpec(name=name, budgets=(1e12,), run=RunPolicy(keep=keep))


def finish(store: Store, keeper: WeightKeeper, artifacts: Path, cell: Cell, loss: float) -> None:
    result = make_result(cell, val_loss=loss)
    leave_run(artifacts, cell, result)
    store.record(result)
    keeper.take(result)
    keeper.free()


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ("best-per-budget", [{0}, {0}, {2}]),
        ("all", [{0}, {0, 1}, {0, 1, 2}]),
        ("none", [set(), set(), set()]),
    ],
)
def test_each_result_leaves_only_what_is_kept(tmp_path: Path, keep: Keep, left: list[set[int]]) -> None:
    save_sweep(tmp_path / "db", CELLS, [], spec=spec_of("demo", keep))
    with open_store(tmp_path / "db", write=True) as store:
        keeper = WeightKeeper(store, "demo", keep, tmp_path)
        for cell, loss, expected in zip(CELLS, (2.0, 3.0, 1.0), left, strict=True):
            finish(store, keeper, tmp_path, cell, loss)
            assert has_weights(tmp_path, CELLS) == {IDS[index] for index in expected}


@pytest.mark.parametrize("how", ["lock", "claim"])
def test_weights_beside_which_somebody_works_wait(tmp_path: Path, how: str) -> None:
    save_sweep(tmp_path / "db", CELLS, [], spec=spec_of("demo", "none"))
    run_dir = RunDir(leave_run(tmp_path, CELLS[0]))
    with open_store(tmp_path / "db", write=True) as store:
        keeper = WeightKeeper(store, "demo", "none", tmp_path)
        keeper.take(make_result(CELLS[0]))
        with run_dir.lock() if how == "lock" else claimed(run_dir):
            keeper.free()
            assert has_weights(tmp_path, CELLS) == {IDS[0]}
        keeper.free()
        assert has_weights(tmp_path, CELLS) == set()


@contextlib.contextmanager
def claimed(run_dir: RunDir) -> Iterator[None]:
    run_dir.write_claim(own_claim(1))
    yield
    run_dir.claim_path.unlink()


@pytest.mark.parametrize(("others", "left"), [("all", {0, 1}), ("none", {1}), ("best-per-budget", {0, 1})])
def test_a_run_that_another_sweep_asks_for_is_decided_at_the_end_by_both(
    tmp_path: Path, others: Keep, left: set[int]
) -> None:
    save_sweep(tmp_path / "db", CELLS, [], spec=spec_of("demo", "best-per-budget"))
    save_sweep(tmp_path / "db", CELLS[:1], [], spec=spec_of("other", others))
    with open_store(tmp_path / "db", write=True) as store:
        keeper = WeightKeeper(store, "demo", "best-per-budget", tmp_path)
        for cell, loss in zip(CELLS, (2.0, 1.0, 3.0), strict=True):
            finish(store, keeper, tmp_path, cell, loss)
        assert has_weights(tmp_path, CELLS) == {IDS[0], IDS[1]}
        keeper.free_all()
        assert has_weights(tmp_path, CELLS) == {IDS[index] for index in left}


def test_the_end_frees_what_an_earlier_process_left(tmp_path: Path) -> None:
    save_sweep(tmp_path / "db", CELLS, map(make_result, CELLS[:2]), spec=spec_of("demo", "none"))
    for cell in CELLS:
        leave_run(tmp_path, cell)
    with open_store(tmp_path / "db", write=True) as store:
        WeightKeeper(store, "demo", "none", tmp_path).free_all()
    assert has_weights(tmp_path, CELLS) == {IDS[2]}, "a run without a recorded result is not judged"


def test_missing_weights_and_foreign_folders_are_no_error(tmp_path: Path) -> None:
    save_sweep(tmp_path / "db", CELLS, map(make_result, CELLS), spec=spec_of("demo", "none"))
    elsewhere = leave_run(tmp_path / "elsewhere", CELLS[0]) / "checkpoint"
    (tmp_path / IDS[0]).mkdir()
    (tmp_path / IDS[0] / "checkpoint").symlink_to(elsewhere)
    with open_store(tmp_path / "db", write=True) as store:
        WeightKeeper(store, "demo", "none", tmp_path).free_all()
    assert has_weights(tmp_path / "elsewhere", CELLS) == {IDS[0]}
    assert not (tmp_path / IDS[1]).exists()
