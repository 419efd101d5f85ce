"""`run --until-goal`: rounds until the goal is met, recorded before their runs are trained, through any kill."""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from isoflop.cli.event_stream import EventStream
from isoflop.cli.until_goal import train_until
from isoflop.decision.steering.goal import Goal
from isoflop.errors import IsoflopError
from isoflop.store import SteeringRound, read_snapshot, run_cells
from isoflop.sweep.session import open_session
from isoflop.sweep.steering import Steering, required_goal
from tests.commands import isoflop, isoflop_here
from tests.config_changes import BASE, answer, as_toml
from tests.databases import opened
from tests.store.test_store_rounds import make_round

pytestmark = pytest.mark.slow

# The surface's optimum at 1e17 FLOPs has about 60 tokens per parameter: the guess is five times too large in N.
SWEEP = {
    "name": "grown",
    "budgets": [1e17, 3e17, 9e17],
    "trainer": "simulated",
    "grid": {"sizes": 7, "half_width": 0.5, "center_tokens_per_param": 3},
    "goal": {"target": 9e18, "within": 1.08},
}


def write(folder: Path, **changes: Any) -> Path:
    """A folder with the sweep file."""
    folder.mkdir(exist_ok=True)
    (folder / "grown.toml").write_text(as_toml({key: value for key, value in {**SWEEP, **changes}.items() if value}))
    return folder


def rounds(folder: Path) -> tuple[SteeringRound, ...]:
    return read_snapshot(folder / "isoflop.db", lambda store: store.rounds("grown"))


def asked_again(folder: Path) -> dict[str, Any]:
    return json.loads(isoflop_here("run", "grown.toml", "--until-goal", "--json", folder=folder).stdout)


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A sweep that has come to its goal, and what the command said."""
    folder = write(tmp_path_factory.mktemp("steered"))
    return folder, isoflop("run", "grown.toml", "--until-goal", "--events", "events.jsonl", folder=folder)


def test_a_sweep_goes_on_until_its_goal_is_met_and_says_a_line_a_round(steered: Any) -> None:
    folder, done = steered
    found = rounds(folder)
    said = [line for line in done.stderr.splitlines() if line.startswith("SIMULATED grown, round")]
    assert [one.verdict.value for one in found] == ["grow"] * (len(found) - 1) + ["met"]
    assert len(found) > 2 and len(said) == len(found)
    assert "device-hours spent; next" in said[0] and "the goal is met" in said[-1]
    last = found[-1]
    assert last.span is not None and last.span <= 1.08
    assert [one.round for one in found] == list(range(1, len(found) + 1))
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    told = [event for event in events if event["event"] == "round_decided"]
    assert [(one["sentence"], one["round"]["verdict"]) for one in told] == [
        (line, one.verdict.value) for line, one in zip(said, found, strict=True)
    ]
    assert all(before.flops_spent < after.flops_spent for before, after in pairwise(found))
    assert last.flops_spent == pytest.approx(found[0].flops_spent + sum(one.new_flops for one in found), rel=1e-9)


def test_the_interval_of_a_round_is_the_one_that_fit_shows(steered: Any) -> None:
    folder, _ = steered
    document = json.loads(isoflop("fit", "grown.toml", "--target", "9e18", "--json", folder=folder).stdout)
    last = rounds(folder)[-1]
    assert document["targets"][0]["n_opt_ci_statistical"] == pytest.approx([last.n_opt_low, last.n_opt_high], rel=1e-9)
    assert len(document["rounds"]) == last.round


def test_the_same_command_again_trains_nothing_and_adds_no_round(steered: Any) -> None:
    folder, _ = steered
    before = rounds(folder)
    document = asked_again(folder)
    assert document["goal"]["met"] is True and document["goal"]["verdict"] == "met"
    assert len(document["goal"]["rounds"]) == len(before)
    assert rounds(folder) == before


@pytest.mark.slow(5)
def test_a_report_shows_how_the_sweep_grew(steered: Any) -> None:
    folder, _ = steered
    paths = json.loads(isoflop("report", "grown.toml", "--out", "report", "--json", folder=folder).stdout)["paths"]
    assert {"growth.svg", "growth.png"} <= {Path(path).name for path in paths}
    page, text = ((folder / "report" / name).read_text() for name in ("index.html", "report.md"))
    for content in (page, text):
        assert "How this sweep grew" in content
        assert "the goal is met" in content
    assert "(growth.png)" in text
    assert page.count("data:image/svg+xml;base64,") == 1
    assert "SIMULATED" in (folder / "report" / "growth.svg").read_text()
    document = json.loads((folder / "report" / "report.json").read_text())
    assert [one["verdict"] for one in document["rounds"]][-1] == "met"


def test_a_sweep_killed_after_a_decision_goes_on_to_the_same_end(steered: Any, tmp_path: Path) -> None:
    undisturbed, _ = steered
    folder = write(tmp_path / "killed")
    command = [sys.executable, "-m", "isoflop", "run", "grown.toml", "--until-goal"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        assert run.stderr is not None
        next(line for line in run.stderr if "round" in line and "next" in line)
        run.send_signal(signal.SIGKILL)
    planned = read_snapshot(folder / "isoflop.db", lambda store: run_cells(store.cells("grown")))
    decided = {run_id for one in rounds(folder) for run_id in one.new_runs}
    assert decided and decided <= {cell.run_id for cell in planned}, "a decision and its plan are one"
    assert asked_again(folder)["goal"]["met"] is True
    together = zip(rounds(folder), rounds(undisturbed), strict=True)
    assert all(one.is_as(other) for one, other in together)


def test_each_round_tells_of_the_results_that_it_read_from_the_artifacts_itself(steered: Any, tmp_path: Path) -> None:
    undisturbed, _ = steered
    folder = shutil.copytree(undisturbed, tmp_path / "lost")
    (folder / "isoflop.db").unlink()
    said = isoflop("run", "grown.toml", "--until-goal", folder=folder).stderr
    read = [int(number) for number in re.findall(r"(\d+) results? read from the artifacts", said)]
    assert read == [21, *(len(one.new_runs) for one in rounds(undisturbed) if one.new_runs)]


def test_a_goal_that_was_met_is_not_the_end_of_a_later_command_that_is_stopped(steered: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(steered[0], tmp_path / "stopped")
    file, db, artifacts = folder / "grown.toml", folder / "isoflop.db", folder / "isoflop-artifacts"
    with open_session(file, db, artifacts, device="cpu", workers=1, retry=False) as session:
        goal = required_goal(session.growth.spec, file)
        assert rounds(folder)[-1].meets_goal
        received, said = train_until(goal, session, lambda: [signal.SIGINT], EventStream(None))
    assert (received, said) == ([signal.SIGINT], ())


def test_without_a_goal_there_is_nothing_to_steer_to(tmp_path: Path) -> None:
    done = isoflop("run", "grown.toml", "--until-goal", folder=write(tmp_path, goal=None), code=1)
    assert "has no table [goal]" in done.stderr and "Hint: Add [goal]" in done.stderr
    assert not (tmp_path / "isoflop.db").exists()


@pytest.mark.parametrize(
    "other", [("--confirm", "5e18"), ("--again", "abc"), ("--max-hours", "1")], ids=lambda option: option[0]
)
def test_what_looks_at_a_fixed_plan_is_not_asked_of_a_sweep_that_grows(tmp_path: Path, other: tuple[str, str]) -> None:
    done = isoflop("run", "grown.toml", "--until-goal", *other, folder=write(tmp_path), code=1)
    assert other[0] in done.stderr


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        ({"grid": {"sizes": 3, "half_width": 0.5}}, "no_valley", "Set grid.sizes to 7"),
        ({"goal": {"target": 9e18, "within": 1.00001}}, "out_of_reach", "Set goal.within to"),
        ({"budgets": [1e17, 1.0000001e17], "grid": {"sizes": 7}}, "no_gain", "Name budgets that differ"),
    ],
    ids=["too few sizes", "out of reach", "budgets that hardly differ"],
)
def test_a_goal_that_cannot_be_met_ends_with_3_and_says_what_would_help(
    tmp_path: Path, changes: dict[str, Any], verdict: str, said: str
) -> None:
    done = isoflop("run", "grown.toml", "--until-goal", "--json", folder=write(tmp_path, **changes), code=3)
    goal = json.loads(done.stdout)["goal"]
    assert (goal["met"], goal["verdict"]) == (False, verdict)
    assert said in goal["hint"] and said in done.stderr
    assert goal["rounds"][-1]["new_runs"] == []


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    """A sweep of 10 runs that a trainer of another make took 10 times some seconds for."""
    write(tmp_path, **{**BASE, "name": "grown", "trainer": "builtin", "goal": {"target": 1e12, "max_hours": 1e-9}})
    (tmp_path / "text").mkdir()
    for number in range(20):
        (tmp_path / "text" / f"{number}.txt").write_text("".join(f"{number} is {word}\n" for word in range(900)))
    file, db, artifacts = tmp_path / "grown.toml", tmp_path / "isoflop.db", tmp_path / "isoflop-artifacts"
    with open_session(file, db, artifacts, device="cpu", workers=1, retry=False) as session:
        answer(artifacts, session.plan)
        session.read_results()
    return tmp_path


def test_hours_that_are_spent_already_train_nothing(timed: Path) -> None:
    done = isoflop("run", "grown.toml", "--until-goal", "--device", "cpu", folder=timed, code=3)
    assert "stopped: the hours are gone" in done.stderr and "Raise goal.max_hours" in done.stderr
    (only,) = rounds(timed)
    assert only.hours_spent > 0 and only.new_runs == ()


def test_a_grid_that_takes_more_hours_than_the_goal_allows_is_refused_before_it_is_trained(timed: Path) -> None:
    with opened(timed / "isoflop.db") as db:
        db.execute("delete from results")
    for folder in (timed / "isoflop-artifacts").glob("*/result*"):
        folder.unlink()
    done = isoflop("run", "grown.toml", "--until-goal", "--device", "cpu", folder=timed, code=1)
    assert "planned runs without a result would take about" in done.stderr
    assert "Raise goal.max_hours" in done.stderr
    assert rounds(timed) == ()


@pytest.mark.parametrize(("same_hours", "n_decided"), [(False, 2), (True, 1)], ids=["fewer hours", "a larger grid"])
def test_hours_bind_what_no_round_decided_on_with_them(timed: Path, same_hours: bool, n_decided: int) -> None:
    with opened(timed / "isoflop.db") as db:
        waiting = [run_id for (run_id,) in db.execute("select run_id from results order by run_id limit 2")]
        db.execute("delete from results where run_id in (?, ?)", waiting)
        ((seconds,),) = db.execute("select sum(seconds) from results")
    limit = seconds / 3600 + 1e-9
    file, db_path, artifacts = timed / "grown.toml", timed / "isoflop.db", timed / "isoflop-artifacts"
    with open_session(file, db_path, artifacts, device="cpu", workers=1, retry=False) as session:
        steering = Steering(session, Goal(1e12, 1.25, limit))
        hours, new_runs = limit if same_hours else None, tuple(waiting[:n_decided])
        decided = make_round(sweep="grown", max_hours=hours, new_runs=new_runs)
        session.store.add_round(decided)
        with pytest.raises(IsoflopError, match="planned runs without a result would take") as refused:
            steering.may_train()
        assert "--drop-suggested" in refused.value.hint
        session.store.add_round(replace(decided, round=2, max_hours=limit, new_runs=tuple(waiting)))
        assert steering.may_train()


def test_suggested_runs_of_a_round_can_be_dropped_and_the_sweep_decides_anew(tmp_path: Path) -> None:
    folder = write(tmp_path / "dropped")
    with open_session(
        folder / "grown.toml", folder / "isoflop.db", folder / "isoflop-artifacts", device="cpu", workers=1, retry=False
    ) as session:
        assert list(session.events())
        steering = Steering(session, required_goal(session.growth.spec, folder / "grown.toml"))
        assert steering.next_round().new_runs
    plan = json.loads(isoflop("plan", "grown.toml", "--drop-suggested", "--json", folder=folder).stdout)
    assert plan["dropped_suggestions"] == len(rounds(folder)[0].new_runs)
    assert asked_again(folder)["goal"]["met"] is True
