"""Rounds of a sweep that steers itself: stored with the plan that has their runs, and never again."""

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from isoflop.run_spec import RunSpec
from isoflop.store import SteeringRound, Store, Verdict, read_snapshot
from tests.databases import make_older, opened
from tests.store.store_examples import make_plan, make_run, make_spec, rows_of


def make_round(number: int = 1, **changes: Any) -> SteeringRound:
    fields = {
        "sweep": "demo", "round": number, "decided_at": "2026-01-02T03:04:05+00:00", "isoflop_version": "0.1.0",
        "target_flops": 1e14, "within": 1.25, "max_hours": None, "n_rows": 7, "estimator": "joint", "n_opt": 1e5,
        "n_opt_low": 9e4, "n_opt_high": 1.2e5, "flops_spent": 7e11, "hours_spent": 0.25, "verdict": Verdict.GROW,
        "why": "because", "hint": "", "new_flops": 1e11, "new_hours": None, "expected_span": 1.2, "new_runs": ("aaa",),
    }  # fmt: skip
    return SteeringRound(**{**fields, **changes})


def test_rounds_are_read_back_in_order_and_outlive_every_later_plan(store: Store, run: RunSpec) -> None:
    none_yet = make_round(n_opt=None, n_opt_low=None, n_opt_high=None, estimator=None, expected_span=None)
    end = make_round(2, verdict=Verdict.MET, new_runs=(), max_hours=2.0, new_hours=0.1)
    store.save_plan(make_spec(), make_plan(run), rounds=[none_yet])
    store.add_round(end)
    store.save_plan(make_spec(), make_plan(make_run(seed=3)))
    assert store.rounds("demo") == (none_yet, end)
    assert none_yet.span is None and end.span == pytest.approx(4 / 3)
    assert store.rounds("other") == ()


def test_a_round_that_is_there_already_is_refused_with_the_plan_that_brings_it(
    store: Store, run: RunSpec, path: Path
) -> None:
    store.save_plan(make_spec(), make_plan(run), rounds=[make_round()])
    cells = rows_of(path, "cells")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        store.save_plan(make_spec(), make_plan(make_run(seed=3)), rounds=[make_round(why="otherwise")])
    assert store.rounds("demo") == (make_round(),)
    assert rows_of(path, "cells") == cells, "a decision and its plan are one transaction"


@pytest.mark.parametrize(
    ("column", "value"),
    [("within", 1.0), ("max_hours", 0.0), ("n_rows", 0), ("n_opt_low", 2e5), ("verdict", "done"), ("new_flops", -1.0),
     ("expected_span", 0.5), ("flops_spent", float("inf"))],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_the_table(
    store: Store, run: RunSpec, path: Path, column: str, value: object
) -> None:
    store.save_plan(make_spec(), make_plan(run), rounds=[make_round()])
    store.close()
    with opened(path) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(f"update steering_rounds set {column} = ?", [value])


def test_a_database_of_before_has_no_rounds(store: Store, run: RunSpec, path: Path) -> None:
    store.save_plan(make_spec(), make_plan(run))
    store.close()
    make_older(path)
    assert read_snapshot(path, lambda older: older.rounds("demo")) == ()


def test_the_same_decision_at_another_time_is_the_same() -> None:
    one = make_round()
    assert one.is_as(dataclasses.replace(one, round=4, decided_at="2027-01-01T00:00:00+00:00"))
    assert not one.is_as(dataclasses.replace(one, n_rows=8))
