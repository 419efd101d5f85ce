"""Trials of shapes in the database: kept as they were found, the latest last."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.store import open_store, read_snapshot
from isoflop.store import store as store_module
from tests.databases import make_older, opened
from tests.plan.test_plan_pace import RUNS, trial

FIRST = trial(RUNS[0], 0.01, execution={"step": "native", "micro_batch_sequences": 3})


def test_a_measurement_comes_back_as_it_was_recorded_and_the_latest_is_last(tmp_path: Path) -> None:
    again, other = replace(FIRST, seconds_per_step=0.02), trial(RUNS[1], 0.3, device_kind="cuda", device="Some GPU")
    with open_store(tmp_path / "x.db", write=True) as store:
        for one in (FIRST, other, again):
            store.record_measurement(one)
        assert store.measurements() == (FIRST, other, again)
    with open_store(tmp_path / "x.db", write=False) as store:
        assert store.measurements() == (FIRST, other, again)


def test_only_the_latest_measurements_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "NMEASUREMENTS", 2)
    with open_store(tmp_path / "x.db", write=True) as store:
        for seconds in (1.0, 2.0, 3.0):
            store.record_measurement(replace(FIRST, seconds_per_step=seconds))
        assert [one.seconds_per_step for one in store.measurements()] == [2.0, 3.0]


def test_a_measurement_that_is_no_number_is_not_stored(tmp_path: Path) -> None:
    with open_store(tmp_path / "x.db", write=True) as store:
        with pytest.raises(ValueError, match="seconds_per_step"):
            store.record_measurement(replace(FIRST, seconds_per_step=math.nan))
        assert store.measurements() == ()


def test_an_older_database_has_none_and_gets_the_table_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_store(path, write=True).close()
    make_older(path)
    assert read_snapshot(path, lambda store: store.measurements()) == ()
    with open_store(path, write=True) as store:
        store.record_measurement(FIRST)
        assert store.measurements() == (FIRST,)


def test_an_altered_measurement_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with open_store(path, write=True) as store:
        store.record_measurement(FIRST)
    with opened(path) as db:
        db.execute("pragma ignore_check_constraints = on")
        db.execute("update measurements set seconds_per_step = -1.0")
    with pytest.raises(IsoflopError, match="a row of measurements"):
        open_store(path, write=False)
