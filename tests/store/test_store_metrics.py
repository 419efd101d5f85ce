"""What models can do, in the database: one row per run and metric, never another number for the same question."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from isoflop.result import Metric
from isoflop.store import open_store, run_cells
from tests.store.store_examples import make_plan, make_result, make_run, make_spec


def metric(name: str = "continuation_accuracy", value: float = 0.5, **changes: object) -> Metric:
    fields = {
        "name": name,
        "value": value,
        "standard_error": 0.01,
        "n_items": 1000,
        "unit": "share",
        "higher_is_better": True,
        "chance": 0.25,
        "majority": 0.01,
        "probe_version": 1,
        "corpus_fingerprint": "c0ffee",
        "evaluated_at": "2026-01-02T03:04:05+00:00",
    }
    return Metric.model_validate({**fields, **changes})


def stored(path: Path, *metrics: Metric, status: str = "completed") -> str:
    run = make_run()
    with open_store(path, write=True) as store:
        store.save_plan(make_spec(), make_plan(run))
        store.record(make_result(run, status, metrics=metrics))
    return run.run_id


def test_metrics_of_a_result_are_its_cells(tmp_path: Path) -> None:
    first, second = (
        metric(),
        metric("continuation_bits_per_byte", 2.5, unit="bits per byte", chance=None, majority=None),
    )
    run_id = stored(tmp_path / "x.db", first, second)
    with open_store(tmp_path / "x.db", write=False) as store:
        assert store.metrics("demo") == {run_id: {first.name: first, second.name: second}}
        [cell] = run_cells(store.cells("demo"))
    assert cell.metrics == {first.name: first, second.name: second}


def test_a_metric_is_replaced_only_by_one_of_newer_questions(tmp_path: Path) -> None:
    run_id = stored(tmp_path / "x.db", metric())
    with open_store(tmp_path / "x.db", write=True) as store:
        store.record_metrics(run_id, [metric(value=0.6)])
        assert store.metrics("demo")[run_id]["continuation_accuracy"].value == 0.5
        store.record_metrics(run_id, [metric(value=0.7, probe_version=2), metric("spelling_accuracy")])
        assert store.metrics("demo")[run_id]["continuation_accuracy"].value == 0.7
        assert len(store.metrics("demo")[run_id]) == 2


def test_a_run_that_did_not_complete_has_no_metrics(tmp_path: Path) -> None:
    run_id = stored(tmp_path / "x.db", status="diverged")
    with open_store(tmp_path / "x.db", write=True) as store, pytest.raises(ValueError, match="did not complete"):
        store.record_metrics(run_id, [metric()])


@pytest.mark.parametrize("column", ["value = 9e999", "standard_error = -1", "unit = 'nats'", "n_items = 0"])
def test_the_table_refuses_what_is_no_metric(tmp_path: Path, column: str) -> None:
    stored(tmp_path / "x.db", metric())
    with closing(sqlite3.connect(tmp_path / "x.db")) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(f"update metrics set {column}")
