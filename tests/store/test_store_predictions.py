"""Predictions of confirm runs: stored with the plan, and never again."""

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from isoflop.errors import IsoflopError
from isoflop.plan.types import Cell, Plan, Role
from isoflop.run_spec import RunSpec
from isoflop.store import ConfirmPlace, Prediction, Store, hash_of_rows, open_store, read_snapshot
from tests.databases import make_older, opened
from tests.store.store_examples import make_plan, make_result, make_run, make_spec, rows_of


def make_prediction(run: RunSpec, **changes: Any) -> Prediction:
    fields = {
        "sweep": "demo", "run_id": run.run_id, "place": ConfirmPlace.OPTIMUM, "budget_flops": 1e12,
        "made_at": "2026-01-02T03:04:05.678+00:00", "isoflop_version": "0.1.0", "estimator": "joint",
        "param_count": "total", "n_opt": 1e5, "n_opt_low": 9e4, "n_opt_high": 1.2e5, "d_opt": 1e7, "d_opt_low": 9e6,
        "d_opt_high": 1.1e7, "n_params": 100_000, "n_tokens": 10_000_000, "loss": 2.0, "loss_low": 1.9,
        "loss_high": 2.1, "loss_unit": "nats per token", "level": 0.9, "noise": 0.01, "n_rows": 2,
        "rows_hash": "0123456789abcdef", "fitted_runs": ("aaa", "bbb"),
    }  # fmt: skip
    return Prediction(**{**fields, **changes})


@pytest.fixture
def confirm() -> RunSpec:
    return make_run(seed=7)


@pytest.fixture
def predicted(store: Store, run: RunSpec, confirm: RunSpec) -> Store:
    plan = make_plan(run)
    cells = (*plan.cells, Cell(Role.CONFIRM, 1e12, confirm, epochs=0.5))
    store.save_plan(make_spec(), dataclasses.replace(plan, cells=cells), [make_prediction(confirm)])
    return store


def test_a_prediction_is_read_back_as_it_was_stored_and_outlives_every_later_plan(
    predicted: Store, run: RunSpec, confirm: RunSpec
) -> None:
    assert predicted.predictions("demo") == (make_prediction(confirm),)
    assert predicted.predictions("other") == ()
    predicted.save_plan(make_spec(), make_plan(run))
    predicted.record(make_result(confirm))
    assert predicted.predictions("demo") == (make_prediction(confirm),)


def test_a_second_prediction_of_a_run_is_refused_with_the_plan_that_brings_it(
    predicted: Store, run: RunSpec, confirm: RunSpec, path: Path
) -> None:
    cells = rows_of(path, "cells")
    other = make_prediction(confirm, loss=1.0, loss_low=0.5, loss_high=1.5)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        predicted.save_plan(make_spec(), make_plan(run), [other])
    assert predicted.predictions("demo") == (make_prediction(confirm),)
    assert rows_of(path, "cells") == cells, "plan and predictions are one transaction"


@pytest.mark.parametrize(
    ("column", "value"),
    [("n_opt_low", 2e5), ("n_opt_high", 1e4), ("d_opt", -1.0), ("loss_low", 2.5), ("loss_high", 1.0), ("level", 1.0),
     ("noise", -0.1), ("n_rows", 0), ("place", "third"), ("loss", float("inf")), ("n_params", 1.5)],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_the_table_and_noticed_by_a_reader(
    predicted: Store, path: Path, column: str, value: object
) -> None:
    predicted.close()
    with opened(path) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(f"update predictions set {column} = ?", [value])
    if column == "n_params":  # no check can be left out of a type
        return
    with opened(path) as db:
        db.execute("pragma ignore_check_constraints = on")
        db.execute(f"update predictions set {column} = ?", [value])
    with pytest.raises(IsoflopError, match="damaged"):
        open_store(path, write=False)


@pytest.mark.parametrize("text", ["[", "{}", '["aaa"]'])
def test_a_list_of_runs_that_was_altered_is_noticed(predicted: Store, path: Path, text: str) -> None:
    predicted.close()
    with opened(path) as db:
        db.execute("update predictions set fitted_runs = ?", [text])
    with open_store(path, write=False) as store, pytest.raises(IsoflopError, match="damaged"):
        store.predictions("demo")


def test_a_database_of_before_is_read_as_it_is_and_gets_the_table_from_a_writer(path: Path, run: RunSpec) -> None:
    with open_store(path, write=True) as store:
        store.save_plan(make_spec(), make_plan(run))
    make_older(path)
    older = path.read_bytes()

    def read(store: Store) -> None:
        assert store.predictions("demo") == ()
        assert store.metrics("demo") == {}
        assert store.pending("demo") == (run.run_id,)

    with open_store(path, write=False) as store:
        read(store)
    read_snapshot(path, read)
    assert path.read_bytes() == older
    with open_store(path, write=True) as store:
        read(store)
    assert path.read_bytes() != older


def test_of_a_database_of_before_what_its_writer_has_not_yet_moved_into_the_file_is_read_too(
    path: Path, run: RunSpec
) -> None:
    with open_store(path, write=True) as store:
        store.save_plan(make_spec(), make_plan(run))
    make_older(path)
    with opened(path) as db:
        db.execute("pragma wal_autocheckpoint = 0")
        db.execute("insert into exclusions values (?, 'disk trouble', '2026-01-02T03:04:05+00:00')", [run.run_id])
        db.commit()
        assert path.with_name(f"{path.name}-wal").stat().st_size > 0
        assert read_snapshot(path, lambda store: store.exclusions()) == {run.run_id: "disk trouble"}


def test_a_database_of_before_that_is_damaged_is_refused(path: Path, run: RunSpec) -> None:
    with open_store(path, write=True) as store:
        store.save_plan(make_spec(), make_plan(run))
    make_older(path)
    with opened(path) as db:
        db.execute("create table metrics (other text)")
    with pytest.raises(IsoflopError, match="is damaged"):
        open_store(path, write=False)


def test_the_hash_of_rows_knows_runs_and_losses_and_no_order() -> None:
    rows = [("aaa", 1.25), ("bbb", 1.5)]
    assert hash_of_rows(rows) == hash_of_rows(reversed(rows))
    assert len({hash_of_rows(rows), hash_of_rows(rows[:1]), hash_of_rows([("aaa", 1.25), ("bbb", 1.5000001)])}) == 3


def test_a_plan_without_predictions_is_as_before(store: Store, run: RunSpec) -> None:
    store.save_plan(make_spec(), Plan("demo", make_plan(run).cells, (), ()))
    assert store.predictions("demo") == ()
