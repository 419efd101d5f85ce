"""What the engine tells of a sweep as it goes. `at`: seconds on this machine's clock that never jumps (monotonic)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isoflop.result import RunResult


@dataclass(frozen=True)
class AttemptStarted:
    """A worker has claimed a job and begins to train; process start lies behind it."""

    job_id: str
    attempt: int
    worker: int
    device: str
    at: float


@dataclass(frozen=True)
class Progressed:
    """A worker has come this far. `loss` is the training loss of one step, nats per token."""

    run_id: str
    worker: int
    step: int
    n_tokens: int
    loss: float
    tokens_per_second: float


@dataclass(frozen=True)
class RunFinished:
    """A run has a result. `worker` is None for a result found on disk from an earlier attempt."""

    result: RunResult
    worker: int | None
    at: float


@dataclass(frozen=True)
class LateResult:
    """A result of an attempt that had been given up: it does not count."""

    run_id: str
    attempt: int


# Why an attempt is interrupted that its coordinator stopped.
ASKED_TO_STOP = "asked to stop"
Outcome = Literal["done", "interrupted", "died", "out_of_memory", "not_recorded", "given_up"]
"""What became of an attempt, see `AttemptEnded`."""


@dataclass(frozen=True)
class AttemptEnded:
    """A worker process has ended, with results or without.

    Attributes:
        outcome: `done`, `interrupted` (checkpointed on request), `died` (no result, will be tried again),
            `out_of_memory` (will be tried again with smaller micro-batches), `not_recorded` (will be tried again
            with the plain step: no CUDA graph, or no step in C++, was to be had) or `given_up`.
        started_at, ended_at: seconds since the epoch.
        reason: one sentence where the outcome is not `done`.
        engine, engine_job: what started the worker, and its own name for where it ran.
    """

    job_id: str
    run_ids: tuple[str, ...]
    attempt: int
    worker: int
    host: str
    device: str
    started_at: float
    ended_at: float
    at: float
    outcome: Outcome
    reason: str | None
    log_path: Path
    engine: str = "local"
    engine_job: str = ""


@dataclass(frozen=True)
class Holder:
    """A process that works on runs this sweep waits for.

    Attributes:
        orphan: whether the process that started it has died; it ends within seconds, or is ended.
        stopped: whether it was suspended (SIGSTOP, a debugger), so that it does not go on by itself.
    """

    pid: int
    run_ids: tuple[str, ...]
    orphan: bool
    stopped: bool


@dataclass(frozen=True)
class Waiting:
    """Nothing can start: other processes, of another sweep or of one that was killed, work on what is left.

    Attributes:
        holders: those of them that are known.
    """

    run_ids: tuple[str, ...]
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True)
class DeviceHeld:
    """Another sweep trains on a device.

    Attributes:
        device: its name, for people.
        pid: of the process that runs that sweep; 0 where it is not known.
        waits: whether this sweep starts nothing there meanwhile.
    """

    device: str
    pid: int
    waits: bool


@dataclass(frozen=True)
class DeviceTakenOut:
    """Different runs in a row crashed on a device: nothing is started there any more.

    Attributes:
        device: its name and what CUDA calls it, for people.
        reason: what became of the last worker there, in the words of its attempt.
        n_left: workers that may still be started elsewhere.
    """

    device: str
    reason: str
    n_left: int


@dataclass(frozen=True)
class EngineSaid:
    """Something about where workers run that a person should know: a node that was left out, and why."""

    sentence: str


Notice = (
    AttemptStarted
    | Progressed
    | RunFinished
    | AttemptEnded
    | LateResult
    | Waiting
    | DeviceHeld
    | DeviceTakenOut
    | EngineSaid
)
