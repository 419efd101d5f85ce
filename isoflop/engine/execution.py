"""How a job is computed: fixed before its first step, reused by every later attempt."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop.engine.protocol import Preload, Slot
from isoflop.plan.estimate import MeasuredMemory, compiling_pays, memory_bytes, micro_batch_sequences
from isoflop.run_spec import AnyRun, Job, RunSpec
from isoflop.rundir import Execution, JobFile, ProgramExecution, RunDir
from isoflop.shape import ModelShape
from isoflop.step_library import Instructions, supports, usable_instructions

# Micro-batches that a recorded step may have: their passes are recorded one after the other, and a batch that needs
# more belongs to a model whose kernels run longer than their launch.
MOST_GRAPH_PARTS = 8

MemoryOf = Callable[[Job, Slot], MeasuredMemory | None]
"""What a trial of a job's shape and batch took on such a slot; None where there was none."""


def not_measured(job: Job, slot: Slot) -> None:
    """Nothing: no trial was made."""


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


def preload_of(runs: Sequence[AnyRun], execution: Execution | ProgramExecution) -> Preload:
    """What workers of such runs need."""
    trained = [run for run in runs if isinstance(run, RunSpec) and run.trainer == "builtin"]
    if not trained or not isinstance(execution, Execution):
        return Preload.NOTHING
    in_cpp = execution.step == "native" and all(run.optimizer.kind != "muon" for run in trained)
    return Preload.TORCH if in_cpp else Preload.COMPILER


def job_file(
    job: Job,
    slot: Slot,
    run_dir: RunDir,
    *,
    at_most: int | None = None,
    may_compile: bool = True,
    memory_of: MemoryOf = not_measured,
) -> JobFile:
    """The job and its execution: the one it was begun with if `slot` can do that, else a new one.

    A new one passes at most `at_most` sequences through the model at once: what a like shape was found to fit with;
    and is compiled, where that pays, only if it `may_compile`.
    A job begun on another kind of device, or on another number of them, starts again: its checkpoint would mix two
    kinds of arithmetic, or two orders of adding.
    """
    begun = run_dir.read_job()
    if begun is not None and begun.job == job and _can_go_on(begun.execution, slot):
        return begun
    run_dir.discard_checkpoints()
    execution = (
        _execution(job, slot, at_most, may_compile=may_compile, measured=memory_of(job, slot))
        if _ours(job)
        else ProgramExecution(device_kind=slot.kind, world_size=slot.n_devices)
    )
    return JobFile(runs=job.runs, execution=execution)


def _can_go_on(execution: Execution | ProgramExecution, slot: Slot) -> bool:
    return (execution.device_kind, execution.world_size) == (slot.kind, slot.n_devices)


def new_execution(job: Job, slot: Slot) -> Execution:
    """How a job that nobody has begun is computed on `slot`."""
    return _execution(job, slot, None, may_compile=True, measured=None)


def shrink(run_dir: RunDir) -> tuple[int, int | None] | None:
    """Sequences per forward pass of a job before and after halving them, the latter None where it was one already.

    Before, it is 0 of a program of the user's own, whose batches are its business.

    None where another process works on the job by now. The job starts again: a checkpoint of other micro-batches
    would mix two roundings.
    """
    with run_dir.lock() as alone:
        begun = run_dir.read_job()
        if not alone or begun is None:
            return None
        if isinstance(begun.execution, ProgramExecution):
            return 0, None
        smaller = begun.execution.smaller()
        if smaller is None:
            return begun.execution.micro_batch_sequences, None
        _begin_again(run_dir, begun, smaller)
        return begun.execution.micro_batch_sequences, smaller.micro_batch_sequences


def with_plainer_step(run_dir: RunDir) -> str | None:
    """Have a job's steps taken without the compiler from now on, or else operation by operation.

    Returns what they are taken without: `compiler`, `graph` or `native`. None where they are as plain as can be, or
    another process works on the job. The job starts again: each rounds otherwise.
    """
    with run_dir.lock() as alone:
        begun = run_dir.read_job()
        execution = begun.execution if begun is not None else None
        if not alone or begun is None or not isinstance(execution, Execution) or execution.step == "eager":
            return None
        if execution.compile:
            _begin_again(run_dir, begun, execution.model_copy(update={"compile": False}))
            return "compiler"
        _begin_again(run_dir, begun, execution.model_copy(update={"step": "eager", "instructions": ""}))
        return execution.step


def _begin_again(run_dir: RunDir, begun: JobFile, execution: Execution) -> None:
    run_dir.discard_checkpoints()
    run_dir.write_job(begun.model_copy(update={"execution": execution}))


def _execution(
    job: Job, slot: Slot, at_most: int | None, *, may_compile: bool, measured: MeasuredMemory | None
) -> Execution:
    runs = _ours(job)
    micro_batch = min(_micro_batch(runs, slot, measured), at_most or sys.maxsize)
    n_parts = math.ceil(_sequences_of_a_rank(runs, slot) / micro_batch)
    instructions = _instructions(runs, slot)
    # Among ranks the step is taken operation by operation: a collective stands in its middle.
    graph = slot.kind == "cuda" and slot.n_devices == 1 and n_parts <= MOST_GRAPH_PARTS
    graph = graph and all(run.factory is None for run in runs)  # a module of the user's own may do what none records
    return Execution(
        device_kind=slot.kind,
        dtype="bfloat16" if slot.bfloat16 else "float32",
        n_threads=1,
        step="graph" if graph else "native" if instructions else "eager",
        instructions=instructions,
        compile=may_compile and graph and slot.bfloat16 and any(map(compiling_pays, runs)),
        micro_batch_sequences=micro_batch,
        world_size=slot.n_devices,
    )


def _instructions(runs: Sequence[RunSpec], slot: Slot) -> Instructions:
    """What the job's step in C++ uses; "" where torch's is taken: not on a CPU, not built, not this shape."""
    fits = all(run.trainer == "builtin" and isinstance(run.shape, ModelShape) and supports(run.shape) for run in runs)
    alone = slot.kind == "cpu" and slot.n_devices == 1
    if not fits or not alone or slot.bfloat16:
        return ""
    return usable_instructions() if slot.instructions is None else slot.instructions


def memory_needed(job: Job, slot: Slot, measured: MeasuredMemory | None = None) -> float:
    """Bytes of the slot's device that the job will take: its share, or what a single sequence needs if that is more.

    As `measured` by a trial, and what sequences more or fewer than the trial's are guessed to add.
    """
    runs = _ours(job)
    if not runs:
        return slot.share_bytes / slot.n_packed * slot.n_ranks_in_memory  # nobody knows; its share is its own
    shape, sequences, among = _largest(runs).shape, _micro_batch(runs, slot, measured), slot.n_devices > 1
    of_a_rank = memory_bytes(shape, sequences, among_ranks=among)
    if measured is not None:
        of_a_rank += measured.n_bytes - memory_bytes(shape, measured.sequences, among_ranks=among)
    return of_a_rank * slot.n_ranks_in_memory


def _micro_batch(runs: Sequence[RunSpec], slot: Slot, measured: MeasuredMemory | None = None) -> int:
    """Sequences per forward pass. On a CPU by the guess alone: a trial must not change the bits of a loss there."""
    return micro_batch_sequences(
        _largest(runs).shape,
        _sequences_of_a_rank(runs, slot),
        slot.share_bytes,
        among_ranks=slot.n_devices > 1,
        measured=measured if slot.kind == "cuda" else None,
    )


def _sequences_of_a_rank(runs: Sequence[RunSpec], slot: Slot) -> int:
    """The most sequences of a batch that one of the slot's devices takes."""
    return math.ceil(_largest(runs).batch_sequences / slot.n_devices)


def _largest(runs: Sequence[RunSpec]) -> RunSpec:
    return max(runs, key=lambda run: run.shape.n_params_total)


def _ours(job: Job) -> list[RunSpec]:
    """The runs that isoflop trains: all of a job, or none."""
    return [run for run in job.runs if isinstance(run, RunSpec)]
