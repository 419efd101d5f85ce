"""What lies in the place of a file of a run directory and is none: left alone, never a traceback, never a wait."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from isoflop.plan.types import Plan
from isoflop.rundir import RunDir
from isoflop.store import open_store
from tests.artifacts.artifact_examples import inventory_of, leave_run
from tests.report_examples import make_cell, make_result
from tests.store.store_examples import make_spec

NAMES = ("claim.json", "job.json", "result", "events.jsonl", "heartbeat", "checkpoint", ".lock")


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def deep_json(path: Path) -> None:
    path.write_text("[" * 200_000)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [a_folder, a_pipe, a_link_to_itself, deep_json], ids=lambda kind: kind.__name__)
def test_what_is_no_file_of_a_run_stops_nobody(tmp_path: Path, name: str, kind: Callable[[Path], None]) -> None:
    """Of a run that the sweep asked for once; with its result recorded, its folder may go unless something is odd."""
    cell, other = make_cell(1e12, 16), make_cell(1e12, 32)
    db, artifacts = tmp_path / "isoflop.db", tmp_path / "artifacts"
    with open_store(db, write=True) as store:
        store.save_plan(make_spec(budgets=(1e12,)), Plan("demo", (cell,), (), ()))
        store.record(make_result(cell))
        store.save_plan(make_spec(budgets=(1e12,)), Plan("demo", (other,), (), ()))
    run_dir = RunDir(leave_run(artifacts, cell))
    path = run_dir.result_path(cell.run.run_id) if name == "result" else run_dir.path / name
    if path.is_dir():
        for entry in path.iterdir():
            entry.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    kind(path)
    inventory = inventory_of(artifacts, db)
    if name == "result":
        assert [entry.reason for entry in inventory.left_alone] == ["holds a result that the database does not have"]
        assert run_dir.read_result(cell.run.run_id) is None
    else:
        assert [item.path for item in inventory.items] == [run_dir.path]
    assert list(run_dir.last_events()) == [] and run_dir.read_events(0)[0] == []
    assert run_dir.read_claim() is None


@pytest.mark.parametrize("kind", [a_folder, a_pipe, deep_json], ids=lambda kind: kind.__name__)
def test_what_lies_in_the_place_of_a_result_is_set_aside(tmp_path: Path, kind: Callable[[Path], None]) -> None:
    run_dir = RunDir(tmp_path / "0123456789ab")
    run_dir.path.mkdir()
    kind(run_dir.result_path("0123456789ab"))
    run_dir.set_unreadable_result_aside("0123456789ab")
    assert [path.name for path in run_dir.attempt_dir(1).iterdir()] == ["unreadable-result-0123456789ab.json"]
    assert not run_dir.result_path("0123456789ab").exists()
