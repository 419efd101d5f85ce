"""A run that several devices train: what kills one rank ends all, and it still comes to the bits of one process."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from isoflop.corpus import load_corpus
from isoflop.engine.local.devices import cpu_cores
from isoflop.rundir import JobFile
from isoflop.rundir.events import ProgressEvent, StartedEvent, read_events
from isoflop.train.loop import train
from tests.engine.conftest import SWEEP, Sandbox, alive, kill, make_sandbox
from tests.train.conftest import StopAt

pytestmark = pytest.mark.skipif(cpu_cores() < 2, reason="needs two cores")

# One run of some seconds by torch's step.
TOGETHER = (
    SWEEP.replace("[6e8, 1.2e9]", "[2.4e9]")
    .replace("sizes = 3", "sizes = 1")
    .replace("base_batch_tokens = 256", "base_batch_tokens = 128\nbatch_exponent = 0")
    + "[run]\ndevices_per_run = 2\n"
)


def training_ranks(sandbox: Sandbox, attempt: int) -> tuple[int, int] | None:
    """Process ids of rank 0 and rank 1 once that attempt has taken a step."""
    events = [
        event for path in sandbox.folder.glob("isoflop-artifacts/*/events.jsonl") for event in read_events(path, 0)[0]
    ]
    numbers = [event.attempt if isinstance(event, StartedEvent) else 0 for event in events]
    if attempt not in numbers or not any(isinstance(e, ProgressEvent) for e in events[numbers.index(attempt) :]):
        return None
    [first] = sandbox.workers()
    [second] = psutil.Process(first).children()
    return first, second.pid


def await_ranks(sandbox: Sandbox, attempt: int) -> tuple[int, int]:
    found: list[tuple[int, int]] = []

    def look() -> bool:
        found.extend(filter(None, [training_ranks(sandbox, attempt)]))
        return bool(found)

    sandbox.wait_for(look)
    return found[0]


def await_end(coordinator: "subprocess.Popen[str]", pids: tuple[int, int], sandbox: Sandbox) -> None:
    sandbox.wait_for(lambda: not any(map(alive, pids)), seconds=10)
    assert coordinator.poll() is None, "the sweep goes on"


def loss_of_one_process(sandbox: Sandbox, folder: Path) -> float:
    """The run's held-out loss where one process takes the two ranks' rows one after the other."""
    [path] = sandbox.folder.glob("isoflop-artifacts/*/job.json")
    job_file = JobFile.model_validate_json(path.read_text())
    [run] = job_file.runs
    how = job_file.execution.model_copy(update={"world_size": 1, "micro_batch_sequences": -(-run.batch_sequences // 2)})
    corpus = load_corpus(sandbox.folder / "isoflop-artifacts/corpora", run.corpus_fingerprint)
    trained = train(run, corpus, how, checkpoints=folder, watcher=StopAt())
    assert trained.heldout is not None
    return trained.heldout.nats_per_token


@pytest.mark.slow(25)
def test_ranks_die_together_and_stop_together_and_the_run_ends_with_the_bits_of_one_process(tmp_path: Path) -> None:
    """First rank 1 is killed, then rank 0, then the sweep is asked to stop; at last it may end."""
    (tmp_path / "sweep").mkdir()
    sandbox = make_sandbox(tmp_path / "sweep", TOGETHER)
    coordinator = sandbox.start("run", "tiny.toml")
    for attempt, victim in ((1, 1), (2, 0)):
        pids = await_ranks(sandbox, attempt)
        os.kill(pids[victim], signal.SIGKILL)
        await_end(coordinator, pids, sandbox)
    pids = await_ranks(sandbox, 3)
    assert kill(coordinator, signal.SIGTERM) == 143
    assert not any(map(alive, pids))
    assert len(list(sandbox.folder.glob("isoflop-artifacts/*/checkpoint/*"))) == 1, "rank 0 has left a checkpoint"

    sandbox.run("run", "tiny.toml")
    outcomes = sandbox.rows("select outcome, reason from attempts order by attempt")
    killed = "the worker was killed by signal 9 without a result"
    assert outcomes == [("died", killed), ("died", killed), ("interrupted", "asked to stop"), ("done", None)]
    [(loss, device)] = sandbox.rows("select val_loss, device from results")
    assert str(device).endswith("(2 together)")
    assert loss == loss_of_one_process(sandbox, tmp_path)
    assert not list(sandbox.folder.rglob("*.tmp"))
    folders = [process.info["cwd"] or "" for process in psutil.process_iter(["cwd"])]
    assert not [folder for folder in folders if folder.startswith(str(sandbox.folder))], "nothing outlives the sweep"
