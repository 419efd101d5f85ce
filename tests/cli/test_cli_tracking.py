"""[track] where no library is needed: refusals, trackers that fail or hang, and what a sweep asks."""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.spec import parse_spec
from isoflop.spec.track_spec import TrackSpec
from isoflop.store import open_store
from isoflop.sweep.tracked_runs import ended_run, recorded_runs
from isoflop.track import Background, TrackedFit, TrackedRun, wanted_trackers
from tests.cli.test_cli_surface import SIMULATED
from tests.commands import isoflop_here
from tests.report_examples import grid, make_result, save_sweep, unfinished
from tests.track.track_examples import make_fit, make_tracked

MINIMAL = {"name": "s", "budgets": [1e12, 3e12]}


@dataclass
class Shelf:
    """A tracker that keeps what it gets, or raises."""

    name: str = "Shelf"
    there: set[str] = field(default_factory=set)
    kept: list[str] = field(default_factory=list)
    broken: bool = False
    free: threading.Event = field(default_factory=threading.Event)

    def known(self, sweep: str) -> Collection[str]:
        return self.there

    def add(self, run: TrackedRun) -> None:
        if self.broken:
            raise ValueError("no\nroom")
        self.kept.append(run.key)

    def conclude(self, fit: TrackedFit) -> None:
        self.free.wait()
        self.kept.append("fit")

    def close(self) -> None:
        self.kept.append("closed")


def test_a_library_that_is_missing_is_one_sentence_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "drawn.toml").write_text(SIMULATED + '[track]\nwandb = "p"\n')
    done = isoflop_here("run", "drawn.toml", folder=tmp_path, code=1)
    assert "[track] wandb needs the library wandb" in done.stderr and "pip install 'isoflop[wandb]'" in done.stderr
    assert done.stderr.count("\n") == 2 and not (tmp_path / "isoflop.db").exists()


def test_each_run_is_handed_over_once_and_what_is_there_is_not() -> None:
    shelf, said = Shelf(there={"b"}), list[str]()
    shelf.free.set()
    background = Background([shelf], said.append)
    for key in ("a", "b", "a", "c"):
        background.add(make_tracked(key))
    background.conclude(make_fit())
    background.close()
    assert shelf.kept == ["a", "c", "fit", "closed"] and not said


def test_a_tracker_that_fails_is_said_once_and_the_others_go_on() -> None:
    broken, good, said = Shelf("Broken", broken=True), Shelf("Good"), list[str]()
    good.free.set()
    background = Background([broken, good], said.append)
    background.add(make_tracked("a"))
    background.add(make_tracked("b"))
    background.close()
    assert good.kept == ["a", "b", "closed"] and broken.kept == []
    assert said == ["Broken is left out from here (ValueError: no room); the sweep goes on."]


def test_a_tracker_that_hangs_holds_the_command_up_for_a_bounded_time() -> None:
    shelf, said, begun = Shelf(), list[str](), time.monotonic()
    background = Background([shelf], said.append)
    background.conclude(make_fit())
    background.close(within=0.2)
    assert time.monotonic() - begun < 30
    assert said == ["Shelf: not written to the end within 0.2 s; the next `isoflop run` writes the rest."]
    shelf.free.set()


def test_a_run_is_tracked_alike_as_it_ends_and_out_of_the_database(tmp_path: Path) -> None:
    cells = grid(1e12)[:2]
    results = [make_result(cells[0]), unfinished(cells[1], "diverged", "loss was not finite")]
    save_sweep(tmp_path / "x.db", cells, results)
    with open_store(tmp_path / "x.db", write=False) as store:
        recorded = {run.key: run for run in recorded_runs(store, "demo")}
    ended = [ended_run("demo", cell, result) for cell, result in zip(cells, results, strict=True)]
    assert recorded == {run.key: run for run in ended}
    completed, diverged = ended
    assert completed.key == cells[0].run.run_id and diverged.key == f"{cells[1].run.run_id}-diverged"
    assert completed.outcome["val_loss"] == results[0].val_loss and "val_loss" not in diverged.outcome
    assert completed.parameters["seed"] == 0 and completed.parameters["budget_flops"] == 1e12


@pytest.mark.parametrize(
    ("place", "where"),
    [("runs/", "sweeps/runs"), ("file:runs", "sweeps/runs"), ("file:///abs/runs", "/abs/runs"), ("/abs", "/abs")],
)
def test_folders_are_relative_to_the_sweep_file(tmp_path: Path, place: str, where: str) -> None:
    (wanted,) = wanted_trackers(TrackSpec(mlflow=place), tmp_path / "sweeps")
    assert wanted.place == tmp_path / where


@pytest.mark.parametrize("table", [{"mlflow": "http://host"}, {"wandb": "a/b"}, {"tensorboard": ""}, {"wandb": 7}])
def test_what_no_tracker_takes_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(IsoflopError, match="track"):
        parse_spec({**MINIMAL, "track": table}, source="x")


def test_tracking_asks_nothing_else_and_leaves_the_hash_of_a_sweep_without_it() -> None:
    without, tracked = (parse_spec({**MINIMAL, **table}, source="x") for table in ({}, {"track": {"wandb": "p"}}))
    assert without.asks_the_same_as(tracked) and tracked.asks_the_same_as(without)
    assert "track" not in without.to_json()
