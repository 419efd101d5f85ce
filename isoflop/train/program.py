"""A program of the user's own as a trainer: started, watched, stopped, and its result read (docs/own-trainer.md).

No torch: what the program computes with is its own business.
"""

import contextlib
import ctypes
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from isoflop import __version__
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.files import temporary_name, write_atomically
from isoflop.hardware import cpu_name, devices_name
from isoflop.processes import is_running, kill_with_variable, process_start
from isoflop.result import Provenance, RunResult, Status
from isoflop.run_spec import CommandRun
from isoflop.rundir import Assignment, ExitCode, ProgramExecution, ProgramPlace, RunDir
from isoflop.rundir.layout import RUN_DIR_VARIABLE
from isoflop.shape import LadderModel
from isoflop.spec.command_spec import filled
from isoflop.train.process import Stop
from isoflop.train.program_result import ProgramResult, read_program_result

# How often the program is looked at, and how often its worker says that both live, seconds.
LOOK_SECONDS, BEAT_SECONDS = 0.05, 1.0
# A disk with less room than a result takes is full.
ROOM_BYTES = 1 << 16
# What its children have to end after it.
CHILDREN_SECONDS = 1.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def train_with_program(
    run: CommandRun, assignment: Assignment, execution: ProgramExecution, run_dir: RunDir, stop: Stop
) -> RunResult | ExitCode:
    """The result of the run, or how the worker is to end without one.

    A result that an earlier attempt's program left, and nobody has read, is taken as it is; one whose run is tried
    again is not.

    Raises:
        IsoflopError: there is no such program; every other run would meet that too.
    """
    assert assignment.program is not None
    _end_leftovers(run_dir)
    for attempt in range(assignment.attempt - 1, 0, -1):
        was_read = RunDir(run_dir.attempt_dir(attempt)).result_path(run.run_id).exists()
        if not was_read and not run_dir.is_fenced(attempt) and run_dir.program_result_path(attempt).is_file():
            reported = read_program_result(run_dir.program_result_path(attempt), run)
            if isinstance(reported, ProgramResult):
                return _result(run, replace(assignment, attempt=attempt), execution, reported, seconds=0.0)
    started = time.monotonic()
    ended = _Program(run, assignment, execution, run_dir, stop).work()
    seconds = time.monotonic() - started - ended.rested
    reported = read_program_result(run_dir.program_result_path(assignment.attempt), run)
    if isinstance(reported, ProgramResult) and not ended.too_late:
        return _result(run, assignment, execution, reported, seconds)
    if ended.asked:
        return ExitCode.CHECKPOINTED
    if ended.code == ExitCode.CHECKPOINTED and not ended.too_late:
        return ExitCode.UNASKED  # what does so at every start must not be started for ever
    if ended.code == ExitCode.OUT_OF_MEMORY:
        return ExitCode.OUT_OF_MEMORY
    if ended.code < 0 and not ended.too_late:
        _die_alike(-ended.code)
    _refuse_full_disk(run_dir, assignment.attempt)
    reason = ended.reason or (reported if isinstance(reported, str) else _without_result(ended.code))
    return _result(run, assignment, execution, reason, seconds)


@dataclass(frozen=True)
class _Ended:
    """How the program ended.

    Attributes:
        code: negative for a signal.
        asked: whether it was told to stop, by whoever stops the sweep.
        reason: why it was stopped for good.
        rested: seconds for which it was stopped with the sweep (Ctrl-Z), which count for nothing.
    """

    code: int
    asked: bool = False
    reason: str | None = None
    rested: float = 0.0

    @property
    def too_late(self) -> bool:
        """Whether it was stopped because it took too long."""
        return self.reason is not None


class _Program:
    """The process of one attempt, and all that it starts."""

    def __init__(
        self, run: CommandRun, assignment: Assignment, execution: ProgramExecution, run_dir: RunDir, stop: Stop
    ) -> None:
        assert assignment.program is not None
        self._run_dir, self._stop, self._attempt = run_dir, stop, assignment.attempt
        self._place: ProgramPlace = assignment.program
        self._values = values = placeholder_values(run, assignment, execution)
        self._argv = [filled(word, values) for word in run.argv]
        own = {name: filled(value, values) for name, value in run.env.items()}
        self._environment = {**os.environ, **_variables(values, assignment, execution), **own}
        self._beaten: tuple[int, int] | None = None
        self._next_beat = 0.0
        self._beats_itself = False

    def work(self) -> _Ended:
        """Start the program and wait for its end, passing on what the coordinator wants."""
        Path(str(self._values["checkpoint_dir"])).mkdir(parents=True, exist_ok=True)
        _adopt_orphans()
        process = self._start()
        try:
            note = {"host": socket.gethostname(), "pid": process.pid, "started": _start_of(process.pid)}
            write_atomically(self._run_dir.program_process_path(self._attempt), json.dumps(note).encode())
            return self._watch(process)
        finally:
            _end_all(process.pid)

    def _start(self) -> subprocess.Popen[bytes]:
        program = find_program(self._argv[0], self._place.folder, self._environment.get("PATH"))
        sys.stdout.flush()
        try:
            with warnings.catch_warnings():  # the worker's other thread only sleeps and looks
                warnings.simplefilter("ignore", DeprecationWarning)
                return subprocess.Popen(  # noqa: S603 - it is what the user asks for, and no shell reads it
                    [program, *self._argv[1:]],
                    cwd=self._place.folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    process_group=0,
                    preexec_fn=_die_with_worker,  # noqa: PLW1509
                )
        except OSError as error:
            raise _not_started(self._argv[0], error, self._place.folder) from None

    def _watch(self, process: subprocess.Popen[bytes]) -> _Ended:
        begun, rested, rests_since, asked_at, reason = time.monotonic(), 0.0, None, None, None
        while (code := process.poll()) is None:
            now = time.monotonic()
            self._beat(now, rests=rests_since is not None)
            if self._stop.paused.is_set() != (rests_since is not None) and asked_at is None:
                rested += 0.0 if rests_since is None else now - rests_since
                rests_since = now if rests_since is None else None
                _signal_group(process.pid, signal.SIGCONT if rests_since is None else signal.SIGSTOP)
            worked = (now if rests_since is None else rests_since) - begun - rested
            if asked_at is None and self._place.seconds is not None and worked > self._place.seconds:
                reason = f"took longer than command.seconds = {self._place.seconds:g}"
            if asked_at is None and (self._stop.asked() or reason is not None):
                asked_at = now
                _signal_group(process.pid, signal.SIGTERM)
                _signal_group(process.pid, signal.SIGCONT)  # one that rests hears nothing
            if asked_at is not None and now - asked_at > self._place.grace_seconds:
                _signal_group(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
        # Who stops a job of a cluster tells all of its processes at once: the program may have ended before we looked.
        asked = asked_at is not None or self._stop.asked()
        return _Ended(code, asked=asked and reason is None, reason=reason, rested=rested)

    def _beat(self, now: float, *, rests: bool) -> None:
        """Say that the program lives, until it has once said so itself: then its silence counts, unless it rests."""
        if now < self._next_beat or (self._beats_itself and not rests):
            return
        if not self._beats_itself and self._beaten is not None and self._mark() not in (self._beaten, None):
            self._beats_itself = True
            return
        self._run_dir.beat(0)
        self._beaten, self._next_beat = self._mark(), now + BEAT_SECONDS

    def _mark(self) -> tuple[int, int] | None:
        try:
            status = self._run_dir.heartbeat_path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino


def placeholder_values(run: CommandRun, assignment: Assignment, execution: ProgramExecution) -> Mapping[str, object]:
    """What the placeholders of the command stand for."""
    run_dir = RunDir(assignment.job_dir)
    own = run.shape.arguments if isinstance(run.shape, LadderModel) else run.shape.as_dict()
    return {
        **own,
        "run_id": run.run_id,
        "n_params": run.shape.n_params_total,
        "n_tokens": run.n_tokens,
        "seed": run.seed,
        "flops_per_token": run.shape.flops_per_token,
        "planned_flops": run.n_tokens * run.shape.flops_per_token,
        "attempt": assignment.attempt,
        "n_devices": execution.world_size,
        "result_path": run_dir.program_result_path(assignment.attempt),
        "checkpoint_dir": run_dir.program_dir(run.run_id),
        "run_dir": run_dir.path,
        "events_path": run_dir.events_path,
        "heartbeat_path": run_dir.heartbeat_path,
    }


def _variables(values: Mapping[str, object], assignment: Assignment, execution: ProgramExecution) -> dict[str, str]:
    """The same as ISOFLOP_... variables, the devices, and as many threads as there are cores for it."""
    threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(execution.world_size)}
    return {
        **{f"ISOFLOP_{name.upper()}": filled(f"{{{name}}}", values) for name in values},
        "ISOFLOP_DEVICE": execution.device_kind,
        "CUDA_VISIBLE_DEVICES": assignment.visible_device,
        **(threads if execution.device_kind == "cpu" else {}),
    }


def find_program(name: str, folder: Path, path: str | None) -> str:
    """Where the program is: on PATH, or relative to `folder` where its name has a slash.

    Raises:
        IsoflopError: there is none that can be run.
    """
    found = str(folder / name) if "/" in name else shutil.which(name, path=path)
    if found is None or not os.access(found, os.X_OK) or Path(found).is_dir():
        where = f"{str(folder / name)!r} is not there, or not executable" if "/" in name else "it is not on PATH"
        raise IsoflopError(
            f"Cannot start the program {name!r} of [command]: {where}.",
            hint="command.argv begins with a program on PATH or a path relative to command.cwd. Nothing is lost.",
        )
    return found


def _not_started(name: str, error: OSError, folder: Path) -> IsoflopError:
    return IsoflopError(
        f"Cannot start the program {name!r} of [command] in {str(folder)!r}: {why_inaccessible(error, folder)}.",
        hint="Check command.argv and command.cwd; a script needs a first line such as #!/bin/sh. Nothing is lost.",
    )


def _refuse_full_disk(run_dir: RunDir, attempt: int) -> None:
    """Nothing, where there is room: a program that failed for want of it has said nothing about the run.

    Raises:
        OSError: there is none.
    """
    probe = temporary_name(run_dir.attempt_dir(attempt) / "room")
    try:
        probe.write_bytes(bytes(ROOM_BYTES))
    finally:
        probe.unlink(missing_ok=True)


def _without_result(code: int) -> str:
    if code == 0:
        return "the program exited with 0 and left no result; its log tells more"
    return f"the program exited with code {code}; its log tells why"


def _result(
    run: CommandRun, assignment: Assignment, execution: ProgramExecution, said: ProgramResult | str, seconds: float
) -> RunResult:
    """The result that the program reports, or that of a failed run for the reason given."""
    common = {
        "run_id": run.run_id,
        "attempt": assignment.attempt,
        "seconds": seconds,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "execution": execution.model_dump(mode="json"),
        "provenance": _provenance(assignment, execution),
    }
    if isinstance(said, str):
        return RunResult(
            **common, status=Status.FAILED, reason=said, n_steps=0, n_tokens=0, achieved_flops=0.0, spent_flops=0.0
        )
    rate = said.n_tokens / seconds if seconds > 0 and said.n_tokens else None
    return RunResult(
        **common,
        **said.model_dump(include={"reason", "n_tokens", "achieved_flops", "val_loss", "val_loss_se", "bits_per_byte"}),
        status=Status(said.status),
        n_steps=said.n_steps,
        n_val_tokens=said.n_val_tokens,
        spent_flops=said.achieved_flops,
        tokens_per_second=rate,
        curve=said.curve,
    )


def _provenance(assignment: Assignment, execution: ProgramExecution) -> Provenance:
    name = cpu_name() if execution.device_kind == "cpu" else assignment.device_name
    return Provenance(
        host=socket.gethostname(),
        device=devices_name(name, execution.world_size),
        isoflop_version=__version__,
        python_version=platform.python_version(),
        git_commit=assignment.git_commit,
        git_dirty=assignment.git_dirty,
        engine=assignment.engine or None,
        engine_job=assignment.engine_job or None,
    )


def _die_with_worker() -> None:
    """In the program, before it begins: the kernel kills it when its worker dies, and it hears SIGTERM."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which the worker ignores
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _adopt_orphans() -> None:
    """Become the parent of what the program leaves behind, so that it can be found."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _end_all(group: int) -> None:
    """End every process that the program has started and left: of its group, or without a parent but this one."""
    _signal_group(group, signal.SIGTERM)
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.terminate()
    _, alive = psutil.wait_procs(children, timeout=CHILDREN_SECONDS)
    _signal_group(group, signal.SIGKILL)
    for child in alive:
        with contextlib.suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(alive, timeout=CHILDREN_SECONDS)


def _end_leftovers(run_dir: RunDir) -> None:
    """End what an earlier attempt's worker, killed, could not: two programs must not write one checkpoint."""
    if run_dir.last_attempt > 1:
        kill_with_variable(RUN_DIR_VARIABLE, {str(run_dir.path)})
    for attempt in range(1, run_dir.last_attempt + 1):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads(run_dir.program_process_path(attempt).read_bytes())
            here = known.get("host") in (None, socket.gethostname())
            if here and is_running(int(known["pid"]), float(known["started"])):
                _signal_group(int(known["pid"]), signal.SIGKILL)


def _start_of(pid: int) -> float:
    try:
        return process_start(pid)
    except (psutil.NoSuchProcess, OSError):
        return -1.0  # it has ended already


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _die_alike(number: int) -> None:
    """End this worker by the signal that ended the program: the engine takes both alike."""
    sys.stdout.flush()
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
