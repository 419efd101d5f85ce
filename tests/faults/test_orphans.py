"""After any death of the coordinator no worker survives five seconds, whatever it is in the middle of."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.conftest import Sandbox, alive, in_time
from tests.faults.processes import descendants, fork_server, freeze, has_stepped, reap

# One step takes seconds: 60 thousand tokens through a million parameters, in as few passes as memory allows.
STEP = """
name = "step"
budgets = [6e13]
[grid]
sizes = 1
center_n_params = 1e6
[model]
context_length = 32
[corpus]
source = "files"
paths = ["text"]
heldout_fraction = 0.45
[recipe]
base_batch_tokens = 60000
base_tokens = 1e7
max_epochs = 1000
min_steps = 20
[evaluation]
tokens = 2000000
"""
# A second of training, then two million held-out tokens.
EVALUATION = (
    STEP.replace('"step"', '"evaluation"')
    .replace("6e13", "8e9")
    .replace("1e6\n", "1e5\n")
    .replace("= 60000", "= 64")
    .replace("= 1e7", "= 1e4")
)
SWEEPS = {"step": STEP, "evaluation": EVALUATION}
ORPHAN_SECONDS = 5.0
TERM_SECONDS = 10.0
# Python imports a module of this name at every start: torch takes as long to import as from a slow disk.
SLOW_TORCH = """
import os, sys, time

def slow(event, arguments):
    if event == "import" and arguments[0] == "torch":
        open(os.environ["IMPORTING"], "w").close()
        time.sleep(30)

sys.addaudithook(slow)
"""


@dataclass(frozen=True)
class Busy:
    """Two coordinators: the worker of one is in the middle of a step, that of the other of its evaluation."""

    coordinators: list[subprocess.Popen[str]]
    workers: list[int]

    def servers(self) -> list[int]:
        """The processes that the workers were forked from."""
        return [server for process in self.coordinators if (server := fork_server(process.pid))]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five megabytes of lines that are all different."""
    folder = tmp_path_factory.mktemp("long") / "text"
    folder.mkdir()
    words = random.Random(2)
    vocabulary = ["".join(words.choices("abcdefghij", k=5)) for _ in range(500)]
    for number in range(60):
        lines = (" ".join(words.choices(vocabulary, k=9)) for _ in range(1400))
        (folder / f"{number:02d}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture
def busy(tmp_path: Path, text: Path) -> Iterator[Busy]:
    """Both sweeps at work; whatever a test leaves of them is killed."""
    (tmp_path / "text").symlink_to(text)
    sandbox = Sandbox(tmp_path)
    started = []
    for name, sweep in SWEEPS.items():
        (tmp_path / f"{name}.toml").write_text(sweep)
        started.append(sandbox.start("run", f"{name}.toml", "--workers", "1"))
    try:
        sandbox.wait_for(lambda: both_at_it(sandbox), seconds=120)
        yield Busy(started, list(sandbox.claimed()))
    finally:
        for process in started:
            process.kill()
            reap(process)


def both_at_it(sandbox: Sandbox) -> bool:
    """Both workers are silent, and the one whose steps are short has taken them."""
    if len(silent_runs(sandbox)) < 2:
        return False
    [(evaluated,)] = sandbox.rows("select run_id from cells where sweep = 'evaluation'")
    return has_stepped(sandbox, str(evaluated))


def silent_runs(sandbox: Sandbox) -> list[str]:
    """Runs whose workers have been at the same thing for a while."""
    events = {run: sandbox.folder / "isoflop-artifacts" / run / "events.jsonl" for run in sandbox.claimed().values()}
    return [run for run, path in events.items() if path.exists() and time.time() - path.stat().st_mtime > 1.5]


def kill_coordinators(busy: Busy) -> None:
    for process in busy.coordinators:
        process.kill()


def kill_servers(busy: Busy) -> None:
    for server in busy.servers():
        os.kill(server, signal.SIGKILL)


def kill_both(busy: Busy) -> None:
    """Coordinator and fork server at once: they are one process group, which their workers have left."""
    for process in busy.coordinators:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("disturb", [kill_coordinators, kill_servers, kill_both], ids=["coordinator", "server", "both"])
def test_no_worker_survives_its_coordinator_or_server_by_five_seconds(
    busy: Busy, disturb: Callable[[Busy], None]
) -> None:
    assert len(busy.workers) == 2 and len(busy.servers()) == 2
    begun = time.monotonic()
    disturb(busy)
    while left := [pid for pid in busy.workers if alive(pid)]:
        assert in_time(begun, ORPHAN_SECONDS), f"workers outlive it: {left}"
        time.sleep(0.02)


@pytest.mark.parametrize("state", ["importing", "stopped"])
def test_nothing_survives_a_coordinator_that_is_killed_while_its_server_imports_torch(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """The server hears of its coordinator's end only between two requests; the first is waiting for it to be ready."""
    (sandbox.folder / "site").mkdir()
    (sandbox.folder / "site" / "sitecustomize.py").write_text(SLOW_TORCH)
    paths = [str(sandbox.folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("IMPORTING", str(sandbox.folder / "importing"))
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1")
    sandbox.wait_for((sandbox.folder / "importing").exists)
    left = descendants(coordinator.pid)
    server = fork_server(coordinator.pid)
    assert server in left
    if state == "stopped":
        assert freeze(server)
    begun = time.monotonic()
    coordinator.kill()
    reap(coordinator)
    while outliving := [pid for pid in left if alive(pid)]:
        assert in_time(begun, 1.0), f"they outlive it: {outliving}"
        time.sleep(0.02)


def test_sigterm_ends_the_command_within_ten_seconds_whatever_its_workers_do(busy: Busy) -> None:
    begun = time.monotonic()
    for process in busy.coordinators:
        process.send_signal(signal.SIGTERM)
    codes = [reap(process) for process in busy.coordinators]
    assert in_time(begun, TERM_SECONDS)
    assert codes == [143, 143]
    assert not any(map(alive, busy.workers))
