"""Plans: saved whole, again and again, and read back in order."""

import dataclasses
import json
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.plan.types import Cell, DroppedCell, Plan, Role
from isoflop.run_spec import RunSpec
from isoflop.shape import ModelShape
from isoflop.spec import GridSpec, SweepSpec
from isoflop.store import Standing, Store
from tests.store.store_examples import SHAPE, dump, make_plan, make_result, make_run, make_spec, rows_of

DROPPED = DroppedCell(budget_flops=1e11, shape=SHAPE, reason="only 20 steps; at least 200 are needed")


def test_a_planned_cell_is_read_back_with_its_run(planned: Store, run: RunSpec) -> None:
    (cell,) = planned.cells("demo")
    assert (cell.sweep, cell.role, cell.budget_flops, cell.epochs) == ("demo", Role.GRID, 1e11, 0.5)
    assert (cell.run_id, cell.shape, cell.seed) == (run.run_id, run.shape, run.seed)
    assert (cell.n_tokens, cell.planned_flops) == (run.n_tokens, run.planned_flops)
    assert cell.n_params_total == run.shape.n_params_total
    assert cell.status is cell.result is cell.excluded is None
    assert cell.standing is Standing.PENDING


def test_a_dropped_cell_is_kept_with_its_reason_and_is_never_pending(store: Store, run: RunSpec) -> None:
    store.save_plan(make_spec(), make_plan(run, dropped=(DROPPED,)))
    (dropped,) = [cell for cell in store.cells("demo") if cell.run_id is None]
    assert (dropped.drop_reason, dropped.shape, dropped.role) == (DROPPED.reason, SHAPE, None)
    assert dropped.n_params_total == SHAPE.n_params_total
    assert store.pending("demo") == (run.run_id,)


def test_a_run_is_read_back_as_itself(planned: Store, run: RunSpec) -> None:
    assert planned.run_spec(run.run_id) == run
    assert planned.run_spec(run.run_id).run_id == run.run_id


def test_parameter_groups_and_recipe_are_columns(planned: Store, run: RunSpec, path: Path) -> None:
    (row,) = rows_of(path, "runs")
    for name in ("embedding", "attention", "mlp", "norm", "head", "total", "non_embedding", "matmul"):
        assert row[f"n_params_{name}"] == getattr(run.shape, f"n_params_{name}")
    assert ModelShape(**json.loads(row["shape"])) == run.shape
    assert (row["learning_rate"], row["batch_tokens"], row["n_steps"]) == (0.01, 128, 250)
    assert (row["warmup_steps"], row["cooldown_steps"], row["seed"]) == (12, 125, 0)
    assert (row["flops_per_token"], row["planned_flops"]) == (run.shape.flops_per_token, run.planned_flops)


def test_saving_the_same_plan_again_changes_nothing(planned: Store, run: RunSpec, path: Path) -> None:
    planned.record(make_result(run))
    before = dump(path)
    planned.save_plan(make_spec(), make_plan(run))
    assert dump(path) == before


def test_a_new_plan_replaces_the_cells_and_keeps_every_run_and_result(planned: Store, run: RunSpec) -> None:
    planned.record(make_result(run))
    other = make_run(seed=1)
    planned.save_plan(make_spec(), make_plan(other))
    assert [cell.run_id for cell in planned.cells("demo")] == [other.run_id]
    planned.save_plan(make_spec(), make_plan(run, other))
    assert planned.pending("demo") == (other.run_id,)


def test_sweeps_share_runs_and_results_but_not_cells(planned: Store, run: RunSpec) -> None:
    planned.save_plan(make_spec("second"), make_plan(run, make_run(seed=1), sweep="second", budget=2e11))
    planned.record(make_result(run))
    assert planned.sweep_names() == ["demo", "second"]
    assert planned.pending("demo") == ()
    assert planned.pending("second") == (make_run(seed=1).run_id,)
    assert {cell.budget_flops for cell in planned.cells("demo")} == {1e11}


def test_a_run_in_two_cells_of_a_sweep_is_pending_once(store: Store, run: RunSpec) -> None:
    cells = tuple(Cell(role=role, budget_flops=1e11, run=run, epochs=0.5) for role in (Role.GRID, Role.CONTROL))
    store.save_plan(make_spec(), Plan(sweep="demo", cells=cells, dropped=(), findings=()))
    assert store.pending("demo") == (run.run_id,)
    assert [cell.role for cell in store.cells("demo")] == [Role.GRID, Role.CONTROL]


def test_a_plan_that_cannot_be_saved_leaves_everything_as_it_was(planned: Store, run: RunSpec, path: Path) -> None:
    before = dump(path)
    impossible = dataclasses.replace(DROPPED, budget_flops=float("nan"))
    with pytest.raises(ValueError, match="budget_flops"):
        planned.save_plan(make_spec(budgets=(5e11,)), make_plan(make_run(seed=9), dropped=(impossible,)))
    assert dump(path) == before


def test_a_plan_of_another_sweep_is_a_bug(store: Store, run: RunSpec) -> None:
    with pytest.raises(AssertionError, match="other"):
        store.save_plan(make_spec("other"), make_plan(run))


def test_the_sweep_is_read_back_as_it_was_last_asked(planned: Store, run: RunSpec, path: Path) -> None:
    assert planned.sweep_spec("demo") == make_spec()
    changed = SweepSpec(
        name="demo",
        budgets=(3e11, 1e12),
        trainer="simulated",
        grid=GridSpec(lattice=(1e5, 2e5), center_n_params=(1e5,), seeds=2),
    )
    planned.save_plan(changed, make_plan(run))
    assert planned.sweep_spec("demo") == changed
    (row,) = rows_of(path, "sweeps")
    assert row["spec_hash"] == changed.spec_hash


@pytest.mark.parametrize("ask", [Store.sweep_spec, Store.cells, Store.pending], ids=lambda method: method.__name__)
def test_an_unknown_sweep_is_refused_naming_the_known_ones(planned: Store, ask: object) -> None:
    with pytest.raises(IsoflopError, match="'domo'") as caught:
        ask(planned, "domo")
    assert "demo" in caught.value.hint


def test_an_empty_store_says_how_to_fill_it(store: Store) -> None:
    with pytest.raises(IsoflopError) as caught:
        store.cells("demo")
    assert "isoflop plan" in caught.value.hint


def test_an_unknown_run_is_refused(store: Store) -> None:
    with pytest.raises(IsoflopError, match="deadbeef"):
        store.run_spec("deadbeef")


def test_cells_are_ordered_by_budget_size_and_seed_and_pending_runs_as_planned(store: Store) -> None:
    places = [(2e11, 32, 0), (1e11, 32, 1), (1e11, 16, 5), (1e11, 32, 0), (1e11, 16, 3)]
    cells = tuple(Cell(Role.GRID, budget, make_run(width, seed), 0.5) for budget, width, seed in places)
    # The first place is planned twice: the same run at another budget.
    cells += (Cell(Role.GRID, 3e11, make_run(32, 0), 0.5),)
    store.save_plan(make_spec(), Plan("demo", cells, (DROPPED,), ()))
    found = [(cell.budget_flops, cell.shape.width, getattr(cell, "seed", None)) for cell in store.cells("demo")]
    first = [(1e11, 16, None), (1e11, 16, 3), (1e11, 16, 5), (1e11, 32, 0), (1e11, 32, 1)]
    assert found == [*first, (2e11, 32, 0), (3e11, 32, 0)]
    expected = [make_run(32, 0), make_run(32, 1), make_run(16, 5), make_run(16, 3)]
    assert store.pending("demo") == tuple(run.run_id for run in expected)


@pytest.mark.parametrize("flops", [1e25, 10**25, 1.2345678901234567e11, 1e300], ids=repr)
def test_flops_of_any_size_come_back_exactly(store: Store, run: RunSpec, flops: float) -> None:
    store.save_plan(make_spec(), make_plan(run, budget=flops))
    store.record(make_result(run, achieved_flops=flops, spent_flops=flops))
    (cell,) = store.cells("demo")
    assert (cell.budget_flops, cell.result.achieved_flops, cell.result.spent_flops) == (float(flops),) * 3


def test_a_run_of_1e25_flops_can_be_planned(store: Store) -> None:
    large = dataclasses.replace(
        SHAPE, width=8192, n_layers=80, n_heads=64, head_dim=128, d_ff=28672, vocab_size=128_000
    )
    run = make_run(shape=large, n_steps=4_000_000, batch_sequences=2**17)
    assert run.planned_flops > 1e24
    store.save_plan(make_spec(), make_plan(run, budget=1e25))
    (cell,) = store.cells("demo")
    assert (cell.planned_flops, cell.n_tokens) == (run.planned_flops, run.n_tokens)


@pytest.mark.slow
def test_ten_thousand_cells_are_saved_and_read_whole(store: Store) -> None:
    runs = [make_run(width, seed) for width in range(16, 116) for seed in range(100)]
    store.save_plan(make_spec(), make_plan(*runs))
    assert [cell.run_id for cell in store.cells("demo")] == [run.run_id for run in runs]
    assert store.pending("demo") == tuple(run.run_id for run in runs)
