"""`isoflop run --engine ray` on a real cluster: the losses of the local engine, whatever is killed.

Nearly all of it is waiting: so the sweeps of all tests run at once, and the tests look at what became of them.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from isoflop.step_library import usable_instructions
from tests.clusters.ray_grounds import RayGrounds, ray_grounds, why_not_here, worker_of
from tests.waits import has_ended, until

_WHY_NOT = why_not_here()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)]

WRONG_TOKEN = "0" * 64
# FLOPs of runs that take a second, so that something can be killed under way.
FLOPS = 3e10 if usable_instructions() else 2e9
SWEEP = f"""
name = "tiny"
budgets = [{FLOPS / 4}, {FLOPS}]
[grid]
sizes = 3
half_width = 0.3
center_n_params = 12e3
[model]
context_length = 32
[corpus]
source = "files"
paths = ["text"]
heldout_fraction = 0.1
[recipe]
base_batch_tokens = 256
base_tokens = 1e5
max_epochs = 1000
min_steps = 20
[evaluation]
tokens = 1024
[engine.ray]
jobs = 2
poll_seconds = 0.5
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sweep and its text."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "tiny.toml").write_text(SWEEP)
    (folder / "text").mkdir()
    words = random.Random(3)
    for number in range(20):
        text = " ".join(words.choice(("alpha", "beta", "gamma", "delta", "of", "the")) for _ in range(1500))
        (folder / "text" / f"{number}.txt").write_text(text)
    return folder


@dataclass(frozen=True)
class _Ended:
    """What a sweep came to that had something killed: what its command said, its losses, and what else was seen."""

    said: str
    losses: dict[str, float]
    seen: list[tuple[object, ...]]


@dataclass(frozen=True)
class _Commands:
    """All that runs at once. `refused`: commands with another token or none, by that token."""

    ray: RayGrounds
    local: "subprocess.Popen[str]"
    copied: "Future[_Ended]"
    shared: "Future[_Ended]"
    nowhere: "subprocess.Popen[str]"
    refused: "dict[str, subprocess.Popen[str]]"


@pytest.fixture(scope="module")
def commands(corpus: Path) -> Iterator[_Commands]:
    """The sweep on this machine while the cluster starts; then all others."""
    words = ("run", "tiny.toml", "--device", "cpu", "--artifacts", "local", "--db", "local.db")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    local = subprocess.Popen(
        [sys.executable, "-m", "isoflop", *words], cwd=corpus, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with ray_grounds() as ray, ThreadPoolExecutor() as pool:
        copied, shared = pool.submit(_with_copies, ray, corpus), pool.submit(_with_shared_storage, ray, corpus)
        nowhere = _run(ray, corpus, "nowhere", "resources=a100=1")
        refused = {token: _refused(ray, corpus, token) for token in (WRONG_TOKEN, "")}
        yield _Commands(ray, local, copied, shared, nowhere, refused)
    local.kill()


@pytest.fixture(scope="module")
def losses(commands: _Commands, corpus: Path) -> dict[str, float]:
    """Of the local engine."""
    _ended(commands.local)
    return _losses(corpus / "local.db")


def _run(ray: RayGrounds, corpus: Path, name: str, *options: str) -> "subprocess.Popen[str]":
    """The sweep on the cluster, with artifacts and database of that name."""
    said = [word for option in options for word in ("--engine-option", option)]
    place = ["--artifacts", name, "--db", f"{name}.db", "--device", "cpu"]
    return ray.isoflop("run", "tiny.toml", "--engine", "ray", *place, *said, folder=corpus)


def _refused(ray: RayGrounds, corpus: Path, token: str) -> "subprocess.Popen[str]":
    given = {"RAY_AUTH_TOKEN": token, "HOME": str(corpus)}
    return ray.isoflop("run", "tiny.toml", "--engine", "ray", "--db", f"token{token[:1]}.db", folder=corpus, **given)


def _ended(process: "subprocess.Popen[str]", code: int = 0) -> str:
    said, _ = process.communicate(timeout=150)
    assert process.returncode == code, said
    return said


def _losses(db: Path) -> dict[str, float]:
    return dict(_rows(db, "select run_id, val_loss from results where status = 'completed'"))


def _rows(db: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute(query).fetchall()


def _trains(artifacts: Path) -> bool:
    """A run is under way."""
    events = (path for path in artifacts.glob("*/events.jsonl") if not list(path.parent.glob("result-*")))
    return any('"progress"' in path.read_text() for path in events)


def _kill(process: psutil.Process | None) -> None:
    assert process is not None
    process.kill()


def _with_copies(ray: RayGrounds, corpus: Path) -> _Ended:
    """A worker, an actor and the command are killed; the command again."""
    artifacts, db, options = corpus / "copied", corpus / "copied.db", ("storage=copied", "resources=head=1")
    first = _run(ray, corpus, "copied", *options)
    until(lambda: _trains(artifacts))
    pilots = ray.pilots("/isoflop-pilot-")
    _kill(next((worker for pilot in pilots if (worker := worker_of(pilot))), None))
    until(lambda: any(row[0] == "died" for row in _rows(db, "select outcome from attempts")))
    until(lambda: _trains(artifacts))
    pilot = ray.pilots("/isoflop-pilot-")[0]
    _kill(pilot.parent())
    until(lambda: has_ended(pilot), 30)
    until(lambda: list(artifacts.glob("*/attempt-*/fenced")))
    until(lambda: _trains(artifacts))
    ray.coordinator(first).kill()
    first.communicate()
    at_work = {path.parent.name for path in (artifacts / "pilots").glob("*/jobs.json")}
    n_before = len(_rows(db, "select * from attempts"))
    said = _ended(_run(ray, corpus, "copied", *options))
    done = _rows(db, "select run_id, engine_job from attempts where outcome = 'done' order by started_at")
    assert len({run_id for run_id, _ in done}) == len(done), "no run was trained twice"
    assert len(_rows(db, "select * from attempts")) > n_before
    assert any(token in str(job) for _, job in done for token in at_work), "a pilot at work was taken up"
    mirrors = Path(ray.environment["TMPDIR"])
    until(lambda: len(list(mirrors.glob("isoflop-pilot-*"))) <= 1, 30)  # the killed actor's
    return _Ended(said, _losses(db), done)


def _with_shared_storage(ray: RayGrounds, corpus: Path) -> _Ended:
    """A node is killed, with its actor; how attempts were lost."""
    artifacts, db, place = corpus / "shared", corpus / "shared.db", f"{corpus}/shared/"
    process = _run(ray, corpus, "shared", "resources=node=1")
    until(lambda: len(ray.pilots(place)) == 2 and any(map(worker_of, ray.pilots(place))) and _trains(artifacts))
    pilot = next(pilot for pilot in ray.pilots(place) if worker_of(pilot))
    worker, raylet = worker_of(pilot), pilot.parents()[1]
    assert worker is not None
    assert "raylet" in raylet.name()
    worker.suspend()  # so that it ends no run before its actor hears that its node is no more
    _kill(raylet)
    until(lambda: has_ended(pilot), 30)
    with suppress(psutil.NoSuchProcess):  # the coordinator ends an orphan that stands still, too
        worker.kill()
    said = _ended(process)
    lost = _rows(db, "select reason from attempts where reason like '%was lost with Ray job%'")
    return _Ended(said, _losses(db), lost)


def test_an_actor_that_no_node_can_hold_says_so_and_goes_with_the_command(commands: _Commands, corpus: Path) -> None:
    process, ray = commands.nowhere, commands.ray
    assert process.stdout is not None
    said = ""
    while "no node of the cluster has CPU 1, a100 1" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    ray.coordinator(process).send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    [submitted] = (corpus / "nowhere" / "pilots").glob("*/jobs.json")
    jobs = json.loads(submitted.read_bytes())
    assert len(jobs) == 2
    cancel = (sys.executable, "-m", "isoflop.engine.ray.ray_cancel", *jobs)
    assert f"has no actor called {', '.join(jobs)}." in _ended(ray.start(*cancel, folder=corpus), 1)


@pytest.mark.parametrize(
    ("token", "sentence"),
    [(WRONG_TOKEN, "does not take the token given here"), ("", "wants a token, and none is given here")],
    ids=["wrong", "missing"],
)
def test_a_token_that_the_cluster_does_not_take_ends_the_command_in_a_sentence(
    commands: _Commands, token: str, sentence: str
) -> None:
    said = _ended(commands.refused[token], 1)
    assert f"The Ray cluster at 127.0.0.1:6391 {sentence}." in said
    assert "0000" not in said


def test_shared_storage_is_found_out_and_a_node_that_dies_loses_no_run(
    commands: _Commands, losses: dict[str, float]
) -> None:
    ended = commands.shared.result()
    assert ended.losses == losses, ended.said
    assert ended.seen, ended.said


def test_copied_storage_survives_the_deaths_of_a_worker_an_actor_and_the_coordinator(
    commands: _Commands, losses: dict[str, float]
) -> None:
    ended = commands.copied.result()
    assert len(losses) == 6
    assert ended.losses == losses, ended.said


def test_no_file_of_a_sweep_holds_the_token(commands: _Commands, corpus: Path) -> None:
    commands.copied.result()
    commands.shared.result()
    token = commands.ray.environment["RAY_AUTH_TOKEN"].encode()
    files = [path for path in corpus.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert not [path for path in files if token in path.read_bytes()]
