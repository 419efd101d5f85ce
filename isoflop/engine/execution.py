"""How a job is computed: fixed before its first step, reused by every later attempt."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from isoflop.engine.devices import Slot
from isoflop.plan.estimate import micro_batch_sequences
from isoflop.run_spec import Job
from isoflop.rundir import Execution, JobFile, RunDir


@dataclass(frozen=True)
class GitState:
    """Commit of a source tree and whether it had uncommitted changes; None outside a repository."""

    commit: str | None
    dirty: bool | None


def git_state(folder: Path) -> GitState:
    """State of the repository that `folder` lies in."""
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain")
    return GitState(commit, None if commit is None or changes is None else bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def job_file(job: Job, slot: Slot, run_dir: RunDir) -> JobFile:
    """The job and its execution: the one it was begun with if `slot` can do that, else a new one.

    A job begun on another kind of device starts again: its checkpoint would mix two kinds of arithmetic.
    """
    begun = run_dir.read_job()
    if begun is not None and begun.job == job and begun.execution.device_kind == slot.kind:
        return begun
    for state in run_dir.checkpoint_dir.glob("*.safetensors"):
        state.unlink()
    return JobFile(runs=job.runs, execution=_execution(job, slot))


def _execution(job: Job, slot: Slot) -> Execution:
    largest = max(job.runs, key=lambda run: run.shape.n_params_total)
    return Execution(
        device_kind=slot.kind,
        dtype="bfloat16" if slot.bfloat16 else "float32",
        n_threads=1,
        micro_batch_sequences=micro_batch_sequences(largest.shape, largest.batch_sequences, slot.memory_bytes),
    )
