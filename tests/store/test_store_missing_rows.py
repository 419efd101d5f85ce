"""Rows that are gone whole, and numbers that another number contradicts, are noticed before anything is fitted."""

import math
import shutil
from pathlib import Path

import pytest

from isoflop.corpus_facts import CorpusFacts
from isoflop.errors import IsoflopError
from isoflop.plan.planner import make_plan
from isoflop.plan.types import Extra, Plan
from isoflop.rundir import Execution
from isoflop.spec import GridSpec, RecipeSpec, SweepSpec
from isoflop.store import Store, open_store, read_snapshot
from isoflop.train.loop import CURVE_POINTS
from tests.databases import opened
from tests.run_examples import make_curve
from tests.store import store_examples
from tests.store.store_examples import make_result, make_run, make_spec

CORPUS = CorpusFacts(fingerprint="c0ffee", n_train_tokens=10**18, n_heldout_tokens=10**18, bytes_per_token=1.0)
BUDGETS = (1e15, 4e15)
GRIDS = {
    "sizes": GridSpec(),
    "seeds": GridSpec(sizes=5, seeds=2),
    "further seeds at the centre": GridSpec(sizes=5, center_seeds=3),
    "a window of a lattice": GridSpec(lattice=True),
    "a list of sizes": GridSpec(lattice=(3e5, 1e6, 3e6)),
    "sizes that come to the same shape": GridSpec(sizes=40, half_width=0.02),
    "sizes that cannot be built": GridSpec(sizes=6, half_width=3.0),
}
EXECUTION = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=4).model_dump(mode="json")
RUNS = [make_run(seed=seed) for seed in range(5)]


def planned(path: Path, grid: GridSpec, extra: tuple[Extra, ...] = ()) -> Plan:
    spec = SweepSpec(name="demo", budgets=BUDGETS, grid=grid)
    plan = make_plan(spec, CORPUS, extra=extra)
    with open_store(path, write=True) as store:
        store.save_plan(SweepSpec(name="another", budgets=BUDGETS), make_plan_of_another())
        store.save_plan(spec, plan)
    return plan


def make_plan_of_another() -> Plan:
    return make_plan(SweepSpec(name="another", budgets=BUDGETS), CORPUS)


def read(path: Path) -> object:
    return read_snapshot(path, lambda store: store.planned_sweep("demo"))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_any_cell_that_is_gone_is_missed(tmp_path: Path, grid: GridSpec) -> None:
    whole = tmp_path / "isoflop.db"
    plan = planned(whole, grid)
    read(whole)
    with opened(whole) as connection:
        cells = [cell for (cell,) in connection.execute("select id from cells where sweep = 'demo' order by id")]
    assert len(cells) == len(plan.cells) + len(plan.dropped)
    for gone in [[cell] for cell in cells] + [cells[:2], cells[-2:], cells]:
        path = Path(shutil.copy(whole, tmp_path / "cut.db"))
        with opened(path) as connection:
            connection.executemany("delete from cells where id = ?", [[cell] for cell in gone])
        with pytest.raises(IsoflopError, match=r"is damaged: cells of sweep 'demo' .*missing"):
            read(path)


def test_a_cell_that_is_there_twice_is_noticed(tmp_path: Path) -> None:
    planned(path := tmp_path / "isoflop.db", GRIDS["sizes"])
    with opened(path) as connection:
        connection.execute(
            "insert into cells (sweep, run_id, budget_flops, role, epochs) "
            "select sweep, run_id, budget_flops, role, epochs from cells where sweep = 'demo' limit 1"
        )
    with pytest.raises(IsoflopError, match="missing, or there twice"):
        read(path)


def test_a_suggested_run_that_a_later_plan_drops_is_no_damage(tmp_path: Path) -> None:
    """At a budget of its own, which the sweep does not name; a dropped cell keeps no role."""
    shape = make_plan_of_another().cells[0].run.shape
    planned(path := tmp_path / "isoflop.db", GRIDS["sizes"], (Extra(3 * BUDGETS[1], shape, 7),))
    read(path)
    recipe = RecipeSpec(min_steps=10**6)
    spec = SweepSpec(name="demo", budgets=BUDGETS, grid=GRIDS["sizes"], recipe=recipe)
    plan = make_plan(spec, CORPUS, extra=(Extra(3 * BUDGETS[1], shape, 7),))
    assert 3 * BUDGETS[1] in {cell.budget_flops for cell in plan.dropped}
    with open_store(path, write=True) as store:
        store.save_plan(spec, plan)
    read_snapshot(path, lambda store: store.cells("demo"))


def test_suggested_cells_that_are_gone_before_others_are_missed(tmp_path: Path) -> None:
    shape = make_plan_of_another().cells[0].run.shape
    extra = tuple(Extra(BUDGETS[0], shape, seed) for seed in (7, 8))
    planned(path := tmp_path / "isoflop.db", GRIDS["sizes"], extra)
    read(path)
    with opened(path) as connection:
        connection.execute("delete from cells where id = (select min(id) from cells where role = 'suggested')")
    with pytest.raises(IsoflopError, match="missing"):
        read(path)


def test_a_grid_of_shapes_that_this_version_does_not_build_is_not_judged(tmp_path: Path) -> None:
    """A rule of shapes that changes between versions must not turn older databases into damaged ones."""
    with open_store(tmp_path / "isoflop.db", write=True) as store:
        store.save_plan(make_spec(), store_examples.make_plan(*RUNS))
        assert len(store.planned_sweep("demo")[1]) == len(RUNS)


def recorded(path: Path) -> None:
    """A sweep of runs that were trained here, with curves, and losses in nats and in bits per byte."""
    with open_store(path, write=True) as store:
        store.save_plan(make_spec(), store_examples.make_plan(*RUNS))
        for loss, run in enumerate(RUNS, start=1):
            bits = loss / math.log(2) / 1.7
            store.record(make_result(run, val_loss=loss, bits_per_byte=bits, execution=EXECUTION))


def curves(store: Store) -> object:
    return store.curves("demo")


OF_CURVES = {
    "all": "delete from curves",
    "of a run": f"delete from curves where run_id = '{RUNS[0].run_id}'",
    "the first": "delete from curves where step = 3",
    "one between": "delete from curves where step = 6",
    "the last": "delete from curves where step = 250",
    "all but the last": "delete from curves where step < 250",
    "every other one": "delete from curves where step % 2 = 1",
    "an altered step": "update curves set step = 7 where step = 6",
    "altered tokens": "update curves set n_tokens = n_tokens + 1 where step = 6",
}


@pytest.mark.parametrize("harm", OF_CURVES.values(), ids=OF_CURVES)
def test_points_of_a_curve_that_are_gone_are_missed(tmp_path: Path, harm: str) -> None:
    recorded(path := tmp_path / "isoflop.db")
    assert read_snapshot(path, curves)
    with opened(path) as connection:
        assert connection.execute(harm).rowcount > 0
    with pytest.raises(IsoflopError, match=r"is damaged: points of the training curve of run \w+ are missing"):
        read_snapshot(path, curves)


@pytest.mark.parametrize("n_steps", [1, 2, 63, 64, 65, 127, 128, 129, 1000])
def test_a_curve_as_the_trainer_leaves_it_is_whole(tmp_path: Path, n_steps: int) -> None:
    run = make_run(n_steps=n_steps)
    every = max(1, n_steps // CURVE_POINTS)
    expected = [step for step in range(1, n_steps + 1) if step % every == 0 or step == n_steps]
    with open_store(tmp_path / "isoflop.db", write=True) as store:
        store.save_plan(make_spec(), store_examples.make_plan(run))
        store.record(make_result(run, execution=EXECUTION, curve=make_curve(run)))
        assert [point.step for point in store.curves("demo")[run.run_id]] == expected


def test_a_result_of_another_program_may_have_any_curve(tmp_path: Path) -> None:
    with open_store(tmp_path / "isoflop.db", write=True) as store:
        store.save_plan(make_spec(), store_examples.make_plan(*RUNS[:2]))
        store.record(make_result(RUNS[0], curve=[], execution={"dtype": "float32"}))
        store.record(make_result(RUNS[1], curve=[{"step": 10, "n_tokens": 5, "loss": 4.5}], execution={}))
        assert list(store.curves("demo")) == [RUNS[1].run_id]


@pytest.mark.parametrize("column", ["val_loss", "bits_per_byte"])
@pytest.mark.parametrize("factor", [1 + 1e-6, 1.01, -1], ids=["a late digit", "a digit", "the sign"])
def test_an_altered_loss_is_held_against_the_same_loss_in_other_units(
    tmp_path: Path, column: str, factor: float
) -> None:
    recorded(path := tmp_path / "isoflop.db")
    with opened(path) as connection:
        connection.execute(f"update results set {column} = {column} * ? where rowid = 3", [factor])
    with pytest.raises(IsoflopError, match=f"the loss of run {RUNS[2].run_id} was altered"):
        read_snapshot(path, Store.sweep_names)


def test_an_altered_simulated_loss_is_held_against_its_own_noise(tmp_path: Path) -> None:
    runs = [make_run(seed=seed, trainer="simulated") for seed in range(4)]
    with open_store(path := tmp_path / "isoflop.db", write=True) as store:
        store.save_plan(make_spec(), store_examples.make_plan(*runs))
        for loss, run in enumerate(runs, start=2):
            store.record(make_result(run, val_loss=loss, val_loss_se=0.002 * loss, execution=EXECUTION, curve=[]))
    read_snapshot(path, Store.sweep_names)
    with opened(path) as connection:
        connection.execute("update results set val_loss = val_loss + 0.1 where rowid = 2")
    with pytest.raises(IsoflopError, match=f"the loss of run {runs[1].run_id} was altered"):
        read_snapshot(path, Store.sweep_names)


def test_losses_of_two_texts_have_each_their_own_bits(tmp_path: Path) -> None:
    runs = [make_run(seed=seed, corpus_fingerprint=text) for seed in (0, 1) for text in ("c0ffee", "decaf")]
    with open_store(path := tmp_path / "isoflop.db", write=True) as store:
        store.save_plan(make_spec(), store_examples.make_plan(*runs))
        for run in runs:
            bits = {"c0ffee": 1.5, "decaf": 1.25}[run.corpus_fingerprint]
            store.record(make_result(run, val_loss=1.0, bits_per_byte=bits, execution=EXECUTION))
    read_snapshot(path, Store.sweep_names)
