"""A sweep small enough to train in seconds, run by the real command in processes of its own."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from isoflop.step_library import usable_instructions
from tests.commands import heed_ctrl_c

SWEEP = """
name = "tiny"
budgets = [6e8, 1.2e9]
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
"""

# FLOPs of a run of such a sweep that takes seconds, so that there is something to kill: the step in C++, where it is
# built, is that much faster.
SECONDS_OF_WORK = 5e10 if usable_instructions() else 2e9

_started: list["subprocess.Popen[str]"] = []


@dataclass(frozen=True)
class Sandbox:
    """A folder with a sweep and a corpus, and the command run in it."""

    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, running: what a test leaves of it is killed when the test ends."""
        process = subprocess.Popen(
            [sys.executable, "-m", "isoflop", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no threads here
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        _started.append(process)
        return process

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """stdout and stderr of the command, which must exit with `code`."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        return out, err

    def losses(self, db: str = "isoflop.db") -> dict[str, str]:
        """The exact loss of every result, by run."""
        with closing(sqlite3.connect(self.folder / db)) as connection:
            return {run: float(loss).hex() for run, loss in connection.execute("select run_id, val_loss from results")}

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.folder / "isoflop.db")) as connection:
            return list(connection.execute(sql))

    def workers(self) -> list[int]:
        """Process ids of the workers that live and have claimed a run here."""
        return list(self.claimed())

    def claimed(self) -> dict[int, str]:
        """Living workers and the runs they have claimed and not finished."""
        found = {}
        for claim in self.folder.glob("isoflop-artifacts/*/claim.json"):
            with suppress(FileNotFoundError, ValueError):  # its run has just ended, or a test cut it short
                pid, run_id = json.loads(claim.read_text())["pid"], claim.parent.name
                if alive(pid) and not (claim.parent / f"result-{run_id}.json").exists():
                    found[pid] = run_id
        return found

    def wait_for(self, condition: Callable[[], object], *, seconds: float = 150) -> None:
        begun = time.monotonic()
        while not condition():
            assert in_time(begun, seconds), "it did not happen in time"
            time.sleep(0.05)


def slowness() -> float:
    """How many times as long as alone a process takes at the moment: 1 on a machine with a free core."""
    begun, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.3:
        pass
    return max(1.0, (time.monotonic() - begun) / 0.3)


def in_time(begun: float, seconds: float) -> bool:
    """Whether that time (monotonic) is at most so long ago, for code that waits for four fifths of it at most.

    The rest is work, which takes longer on a machine that is busy with something else.
    """
    took = time.monotonic() - begun
    return took < seconds or took < seconds * (0.8 + 0.2 * slowness())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end_what_was_started() -> None:
    """Kill the commands that a failed test left running, with their workers, and close their pipes."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=60)


def kill(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """Send a signal and return the exit code."""
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def make_sandbox(folder: Path, sweep: str = SWEEP) -> Sandbox:
    words = random.Random(1)
    (folder / "text").mkdir()
    for number in range(60):
        lines = (" ".join(words.choices(["red", "green", "blue", "black"], k=9)) for _ in range(60))
        (folder / "text" / f"{number:02d}.txt").write_text(f"page {number}\n" + "\n".join(lines))
    (folder / "tiny.toml").write_text(sweep)
    return Sandbox(folder)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return make_sandbox(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The same sweep, run once without any trouble."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("undisturbed"))
    sandbox.run("run", "tiny.toml", "--workers", "2")
    return sandbox


@pytest.fixture
def done(tmp_path: Path, undisturbed: Sandbox) -> Sandbox:
    """A copy of a sweep that has run."""
    shutil.copytree(undisturbed.folder, tmp_path, dirs_exist_ok=True)
    return Sandbox(tmp_path)


MakeNvidiaSmi = Callable[..., None]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeNvidiaSmi:
    """`nvidia_smi([lines of its query], list of -L)` puts such a program on PATH, and a python whose torch sees CUDA.

    Both are real programs; the first prints what it is asked for: the list, memory in use, processes, or the query.
    """
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(*gpus: str, listing: str = "", memory: Sequence[str] = (), processes: Sequence[str] = ()) -> None:
        answers = {
            "-L": listing,
            "*memory.used*": "\n".join(memory),
            "--query-compute-apps*": "\n".join(processes),
            "*": "\n".join(gpus),
        }
        cases = "".join(f"{asked}) cat <<'END'\n{answer}\nEND\n;;\n" for asked, answer in answers.items())
        (tmp_path / "nvidia-smi").write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\n')
        (tmp_path / "python").write_text("#!/bin/sh\nexit 0\n")
        for name in ("nvidia-smi", "python"):
            (tmp_path / name).chmod(0o755)

    return make
