"""`isoflop run --engine ray` on a real cluster: the losses of the local engine, whatever is killed."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from isoflop.step_library import usable_instructions
from tests.clusters.ray_grounds import RayGrounds, ray_grounds, until, why_not_here, worker_of

_WHY_NOT = why_not_here()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)]

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
def ray() -> Iterator[RayGrounds]:
    with ray_grounds() as grounds:
        yield grounds


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


@pytest.fixture(scope="module")
def losses(ray: RayGrounds, corpus: Path) -> dict[str, float]:
    """Of the local engine."""
    _ended(
        ray.isoflop("run", "tiny.toml", "--device", "cpu", "--artifacts", "local", "--db", "local.db", folder=corpus)
    )
    return _losses(corpus / "local.db")


def _run(ray: RayGrounds, corpus: Path, name: str, *options: str) -> "subprocess.Popen[str]":
    """The sweep on the cluster, with artifacts and database of that name."""
    said = [word for option in options for word in ("--engine-option", option)]
    place = ["--artifacts", name, "--db", f"{name}.db", "--device", "cpu"]
    return ray.isoflop("run", "tiny.toml", "--engine", "ray", *place, *said, folder=corpus)


def _ended(process: "subprocess.Popen[str]", code: int = 0) -> str:
    said, _ = process.communicate(timeout=100)
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


def _has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_copied_storage_survives_the_deaths_of_a_worker_an_actor_and_the_coordinator(
    ray: RayGrounds, corpus: Path, losses: dict[str, float]
) -> None:
    artifacts, db = corpus / "copied", corpus / "copied.db"
    first = _run(ray, corpus, "copied", "storage=copied")
    until(lambda: _trains(artifacts))
    _kill(next((worker for pilot in ray.pilots() if (worker := worker_of(pilot))), None))
    until(lambda: any(row[0] == "died" for row in _rows(db, "select outcome from attempts")))
    until(lambda: _trains(artifacts))
    pilot = ray.pilots()[0]
    _kill(pilot.parent())
    until(lambda: _has_ended(pilot), 5)
    until(lambda: list(artifacts.glob("*/attempt-*/fenced")))
    until(lambda: _trains(artifacts))
    ray.coordinator(first).kill()
    first.communicate()
    at_work = {path.parent.name for path in (artifacts / "pilots").glob("*/jobs.json")}
    n_before = len(_rows(db, "select * from attempts"))
    said = _ended(_run(ray, corpus, "copied", "storage=copied"))
    assert len(losses) == 6
    assert _losses(db) == losses, said
    done = _rows(db, "select run_id, engine_job from attempts where outcome = 'done' order by started_at")
    assert len({run_id for run_id, _ in done}) == len(done), "no run was trained twice"
    assert len(_rows(db, "select * from attempts")) > n_before
    assert any(token in str(job) for _, job in done for token in at_work), "a pilot at work was taken up"
    until(lambda: len(list(Path(ray.environment["TMPDIR"]).glob("isoflop-pilot-*"))) <= 1, 30)  # the killed actor's


def test_an_actor_that_no_node_can_hold_says_so_and_goes_with_the_command(ray: RayGrounds, corpus: Path) -> None:
    process = _run(ray, corpus, "nowhere", "resources=a100=1")
    assert process.stdout is not None
    said = ""
    while "no node of the cluster has CPU 1, a100 1" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    ray.coordinator(process).send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    code = "import ray, ray.util; ray.init(log_to_driver=False); print(ray.util.list_named_actors(all_namespaces=True))"
    left = _ended(ray.start(sys.executable, "-c", code, folder=corpus))
    assert not [name for name in json.loads(left.splitlines()[-1].replace("'", '"')) if "nowhere" in str(name)]


@pytest.mark.parametrize(
    ("token", "sentence"),
    [("0" * 64, "does not take the token given here"), ("", "wants a token, and none is given here")],
    ids=["wrong", "missing"],
)
def test_a_token_that_the_cluster_does_not_take_ends_the_command_in_a_sentence(
    ray: RayGrounds, corpus: Path, token: str, sentence: str
) -> None:
    begun = time.monotonic()
    given = {"RAY_AUTH_TOKEN": token, "HOME": str(corpus)}
    process = ray.isoflop("run", "tiny.toml", "--engine", "ray", "--db", "token.db", folder=corpus, **given)
    said = _ended(process, 1)
    assert f"The Ray cluster at 127.0.0.1:6391 {sentence}." in said
    assert "0000" not in said
    assert time.monotonic() - begun < 40


def test_no_file_of_a_sweep_holds_the_token(ray: RayGrounds, corpus: Path, losses: dict[str, float]) -> None:
    token = ray.environment["RAY_AUTH_TOKEN"].encode()
    files = [path for path in corpus.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert not [path for path in files if token in path.read_bytes()]


def test_shared_storage_is_found_out_and_a_node_that_dies_loses_no_run(
    ray: RayGrounds, corpus: Path, losses: dict[str, float]
) -> None:
    mirrors = set(Path(ray.environment["TMPDIR"]).glob("isoflop-pilot-*"))
    process = _run(ray, corpus, "shared")
    until(lambda: len(ray.pilots()) == 2 and any(map(worker_of, ray.pilots())) and _trains(corpus / "shared"))
    assert set(Path(ray.environment["TMPDIR"]).glob("isoflop-pilot-*")) <= mirrors, "nothing was to be copied"
    pilot = next(pilot for pilot in ray.pilots() if worker_of(pilot))
    worker, raylet = worker_of(pilot), pilot.parents()[1]
    assert worker is not None
    assert "raylet" in raylet.name()
    worker.suspend()  # so that it ends no run before its actor hears that its node is no more
    _kill(raylet)
    until(lambda: _has_ended(pilot), 30)
    with suppress(psutil.NoSuchProcess):  # the coordinator ends an orphan that stands still, too
        worker.kill()
    said = _ended(process)
    assert _losses(corpus / "shared.db") == losses, said
    lost = _rows(corpus / "shared.db", "select reason from attempts where reason like '%was lost with Ray job%'")
    assert lost, said
