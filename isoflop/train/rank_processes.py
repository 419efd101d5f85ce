"""The other ranks of a run as child processes of its worker, which is rank 0. They live and die together.

Started as programs, not by multiprocessing: a worker is a daemon process there, which may have no children.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import IO, NoReturn

from isoflop.files import TEMPORARY_SUFFIX
from isoflop.run_spec import RunSpec
from isoflop.rundir import Assignment, Execution, ExitCode, RunDir
from isoflop.train.ranks import RankLost, Ranks, joined

PROGRAM = "isoflop.train.rank_worker"
# How often the worker looks whether a rank has ended, and how long its own step may take to find out, seconds.
LOOK_SECONDS, GRACE_SECONDS = 0.2, 2.0


@dataclass(frozen=True)
class RankTask:
    """What a rank is told, as JSON on its standard input, which stays open for as long as rank 0 lives.

    Attributes:
        run, execution: as JSON.
        parent_pid: the process that it dies with.
        meeting: file through which the ranks meet.
    """

    rank: int
    run: str
    execution: str
    corpora: str
    checkpoints: str
    parent_pid: int
    meeting: str


@contextlib.contextmanager
def ranks_of(run: RunSpec, assignment: Assignment, execution: Execution) -> Iterator[Ranks | None]:
    """The ranks that train `run`, this process being the first, for the time of the block; None for one alone.

    Where another rank ends before its time this process ends too, as a worker that died.
    """
    if execution.world_size == 1:
        yield None
        return
    run_dir = RunDir(assignment.job_dir)
    meeting = run_dir.path / f".ranks.{os.getpid()}{TEMPORARY_SUFFIX}"
    meeting.unlink(missing_ok=True)
    task = RankTask(
        rank=0,
        run=run.model_dump_json(),
        execution=execution.model_dump_json(),
        corpora=str(assignment.corpora),
        checkpoints=str(run_dir.checkpoint_dir),
        parent_pid=os.getpid(),
        meeting=str(meeting),
    )
    devices = assignment.visible_device.split(",") if assignment.visible_device else [""] * execution.world_size
    try:
        with (
            _others(task, devices[1:]),
            joined(0, execution.world_size, execution.device_kind, meeting) as ranks,
        ):
            yield ranks
    finally:
        meeting.unlink(missing_ok=True)


@contextlib.contextmanager
def _others(task: RankTask, devices: Sequence[str]) -> Iterator[None]:
    """Ranks 1, 2, ... at work on `task` for the time of the block, each seeing one of `devices`; then killed."""
    processes: list[subprocess.Popen[bytes]] = []
    over = threading.Event()
    watch = threading.Thread(target=_end_with_a_dead_rank, args=(processes, over), daemon=True)
    try:
        for rank, device in enumerate(devices, start=1):
            processes.append(_start(RankTask(**{**asdict(task), "rank": rank}), device))
        watch.start()
        yield
    except RankLost as lost:
        print(lost, file=sys.stderr)
        _wait_for_a_death(processes)
        _end_like(processes)
    finally:
        over.set()
        for process in processes:
            process.kill()
            process.wait()
            _input_of(process).close()


def _start(task: RankTask, device: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, sys.path))  # what this process imports isoflop from
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": device, "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", PROGRAM]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # noqa: S603
    with contextlib.suppress(BrokenPipeError):  # it has ended; the watch tells how
        _input_of(process).write(json.dumps(asdict(task)).encode() + b"\n")
        _input_of(process).flush()
    return process


def _input_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def _end_with_a_dead_rank(processes: Sequence[subprocess.Popen[bytes]], over: threading.Event) -> None:
    """End this process some time after a rank has ended, unless it has noticed: NCCL would wait for ever."""
    while not over.wait(LOOK_SECONDS):
        if any(process.poll() is not None for process in processes):
            if not over.wait(GRACE_SECONDS):
                _end_like(processes)
            return


def _wait_for_a_death(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Return when a rank has ended, or after a moment: its connection closes before it can be asked how."""
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end and all(process.poll() is None for process in processes):
        time.sleep(LOOK_SECONDS / 10)


def _end_like(processes: Sequence[subprocess.Popen[bytes]]) -> NoReturn:
    """End this process as the rank that ended first did, as far as its engine must know: killed, or out of memory."""
    codes = {rank: code for rank, process in enumerate(processes, start=1) if (code := process.poll()) is not None}
    print(f"ranks ended before their time (rank: exit code): {codes}", file=sys.stderr, flush=True)
    for process in processes:
        process.kill()
    if -signal.SIGKILL in codes.values():
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(ExitCode.OUT_OF_MEMORY if ExitCode.OUT_OF_MEMORY in codes.values() else ExitCode.RANK_LOST)
