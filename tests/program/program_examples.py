"""Sweeps that a small program trains: what it does is an argument of each size."""

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent

from isoflop.result import RunResult
from isoflop.run_spec import AnyRun
from isoflop.rundir import RunDir
from isoflop.sweep.session import Session, open_session
from tests.config_changes import as_toml

# FLOPs per token that spend the budget on whole tokens.
PER_PARAM, BUDGET = 6, 6e9

# Reports a loss that follows from its size. `did` says what it made of it, one word of the ladder.
PROGRAM = """
import json, os, signal, subprocess, sys, time
did, run_id, n_tokens, per_token, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
result = {"run_id": run_id, "status": "completed", "n_tokens": n_tokens, "achieved_flops": n_tokens * per_token,
          "val_loss": 2.0 + 1e-4 * per_token ** 0.5}

def report(**changes):
    said = {**result, **changes}
    with open(out + ".part", "w") as file:
        json.dump({key: value for key, value in said.items() if value is not None}, file)
    os.replace(out + ".part", out)

print("begun", did)
%s
"""


def write_sweep(
    folder: Path,
    modes: Sequence[str],
    body: str,
    *,
    command: Mapping[str, object] | None = None,
    head: Mapping[str, object] | None = None,
) -> Path:
    """A sweep of one budget with a size for each of `modes`, and its program, whose end is `body`."""
    (folder / "program.py").write_text(PROGRAM % dedent(body))
    argv = [
        sys.executable, "-S", "-E", "program.py", "{mode}", "{run_id}", "{n_tokens}", "{flops_per_token}",
        "{result_path}",
    ]  # fmt: skip
    sizes = [round(1000 * 1.7**number) for number in range(len(modes))]
    content = {
        "name": "own",
        "budgets": [BUDGET],
        "trainer": "command",
        **(head or {}),
        "grid": {"lattice": sizes},
        "command": {"argv": argv, **(command or {})},
    }
    ladder = "".join(
        f"[[ladder]]\nn_params = {size}\nflops_per_token = {PER_PARAM * size}\nmode = {json.dumps(mode)}\n"
        for size, mode in zip(sizes, modes, strict=True)
    )
    file = folder / "sweep.toml"
    file.write_text(as_toml(content) + ladder)
    return file


def session_of(file: Path, *, workers: int = 2, retry: bool = False) -> contextlib.AbstractContextManager[Session]:
    """A session of the sweep in `file`, everything beside it."""
    folder = file.parent
    return open_session(file, folder / "isoflop.db", folder / "artifacts", device="cpu", workers=workers, retry=retry)


def train(file: Path, *, workers: int = 2, retry: bool = False) -> dict[str, RunResult]:
    """The results of the sweep by mode, once all that can be trained is."""
    with session_of(file, workers=workers, retry=retry) as session:
        for _ in session.events():
            pass
        return results_of(session)


def results_of(session: Session) -> dict[str, RunResult]:
    """The results that lie in the run directories, by mode."""
    read = (
        (mode_of(run), RunDir(session.engine.artifacts / run_id).read_result(run_id))
        for run_id, run in session.plan.runs.items()
    )
    return {mode: result for mode, result in read if result is not None}


def mode_of(run: AnyRun) -> str:
    """What the run's size has its program do."""
    return str(run.shape.as_dict()["arguments"]["mode"])


def log_of(file: Path, result: RunResult) -> str:
    """What the program of the run printed."""
    return RunDir(file.parent / "artifacts" / result.run_id).log_path(result.attempt).read_text()
