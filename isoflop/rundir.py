"""The run directory: how a coordinator and a trainer talk, whatever the engine.

    <artifacts>/<job_id>/
        job.json              the job's RunSpecs and its `execution`
        claim.json            who works on it: host, pid, start time, attempt
        .lock                 held (flock) by whoever writes here; freed by the system at death
        heartbeat             the step last reached; its age says whether the trainer lives
        events.jsonl          progress, append-only
        checkpoint/           state to resume from
        result-<run_id>.json  the outcome of one run
        attempt-K/log.txt     what attempt K printed

Everything but the append-only events is written to a temporary name and renamed into place.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isoflop.claim import Claim
from isoflop.errors import IsoflopError
from isoflop.files import write_atomically
from isoflop.result import RunResult
from isoflop.run_spec import Job, RunSpec

RESULT_SCHEMA_VERSION = 1
# Ends the name of a completed run's weights, in checkpoint/.
WEIGHTS_SUFFIX = ".weights.safetensors"

_M = TypeVar("_M", bound=BaseModel)
DeviceKind = Literal["cpu", "cuda"]


class Execution(BaseModel):
    """Everything that can change a bit of a result, fixed before the first step and reused by later attempts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_kind: DeviceKind
    dtype: Literal["float32", "bfloat16"] = Field(description="of matrix products; weights stay float32")
    n_threads: int = Field(ge=1, description="CPU threads of the trainer")
    attention: Literal["default", "math"] = Field("default", description="kernel of the attention product")
    compile: bool = Field(False, description="torch.compile the model")
    micro_batch_sequences: int = Field(ge=1, description="sequences per forward pass; a batch may be several")
    eval_batch_tokens: int = Field(8192, ge=1, description="tokens per forward pass of the held-out loss")

    def smaller(self) -> "Execution | None":
        """The same with half the tokens per forward pass; None where it is one sequence already."""
        if self.micro_batch_sequences == 1:
            return None
        halves = {name: max(1, getattr(self, name) // 2) for name in ("micro_batch_sequences", "eval_batch_tokens")}
        return self.model_copy(update=halves)


class JobFile(BaseModel):
    """Content of job.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    runs: tuple[RunSpec, ...] = Field(min_length=1)
    execution: Execution

    @property
    def job(self) -> Job:
        """The runs as an engine sees them."""
        return Job(self.runs)


@dataclass(frozen=True)
class Assignment:
    """What an engine tells a worker.

    Attributes:
        job_dir: the run directory.
        attempt: number of this attempt, from 1.
        corpora: folder of tokenised corpora.
        peaks: folder of the devices' measured rates.
        coordinator_pid: process that the worker must not outlive.
        visible_device: value of CUDA_VISIBLE_DEVICES; "" hides every GPU.
        git_commit, git_dirty: state of the sweep's source tree, None outside a repository.
    """

    job_dir: Path
    attempt: int
    corpora: Path
    peaks: Path
    coordinator_pid: int
    visible_device: str
    git_commit: str | None
    git_dirty: bool | None


@dataclass(frozen=True)
class RunDir:
    """Paths and files of one job's directory."""

    path: Path

    @property
    def claim_path(self) -> Path:
        """Where the worker says who it is."""
        return self.path / "claim.json"

    @property
    def heartbeat_path(self) -> Path:
        """Touched by a living trainer."""
        return self.path / "heartbeat"

    @property
    def events_path(self) -> Path:
        """Progress, one JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def checkpoint_dir(self) -> Path:
        """What a later attempt resumes from."""
        return self.path / "checkpoint"

    def result_path(self, run_id: str) -> Path:
        """The outcome of a run of this job."""
        return self.path / f"result-{run_id}.json"

    def attempt_dir(self, attempt: int) -> Path:
        """Files of one attempt."""
        return self.path / f"attempt-{attempt}"

    def log_path(self, attempt: int) -> Path:
        """What the attempt printed."""
        return self.attempt_dir(attempt) / "log.txt"

    @property
    def last_attempt(self) -> int:
        """Number of the latest attempt that was started, 0 if none."""
        numbers = [int(p.name.removeprefix("attempt-")) for p in self.path.glob("attempt-[0-9]*") if p.is_dir()]
        return max(numbers, default=0)

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether this process alone may write here, for the time of the block; the system frees it at death."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def write_job(self, content: JobFile) -> None:
        """Create the directory and its job.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "job.json", content.model_dump_json(indent=1).encode())

    def read_job(self) -> JobFile | None:
        """job.json; None where there is none of this version."""
        return _read(self.path / "job.json", JobFile)

    def write_claim(self, claim: Claim) -> None:
        """Say which process works here."""
        write_atomically(self.claim_path, claim.model_dump_json().encode())

    def read_claim(self) -> Claim | None:
        """Who works, or last worked, here; None if nobody did."""
        return _read(self.claim_path, Claim)

    def write_result(self, result: RunResult) -> None:
        """Record the outcome of a run; nothing is written after it."""
        write_atomically(self.result_path(result.run_id), result.model_dump_json(indent=1).encode())

    def read_result(self, run_id: str) -> RunResult | None:
        """The outcome of a run; None while there is none, or none of this run and version."""
        result = _read(self.result_path(run_id), RunResult)
        return result if result is not None and result.run_id == run_id else None

    def set_unreadable_result_aside(self, run_id: str) -> None:
        """Move a file that lies in the place of a result and is none into the latest attempt's folder.

        Raises:
            IsoflopError: it is the result of a newer version.
        """
        path = self.result_path(run_id)
        if not path.exists() or self.read_result(run_id) is not None:
            return
        if _schema_version(path) > RESULT_SCHEMA_VERSION:
            raise IsoflopError(
                f"{str(path)!r} was written by a newer isoflop.",
                hint="Upgrade isoflop, or use another folder with --artifacts.",
            )
        folder = self.attempt_dir(max(1, self.last_attempt))
        folder.mkdir(exist_ok=True)
        path.replace(folder / f"unreadable-{path.name}")

    def discard_checkpoints(self) -> None:
        """Delete the states to resume from; weights of completed runs stay."""
        for state in self.checkpoint_dir.glob("*.safetensors"):
            if not state.name.endswith(WEIGHTS_SUFFIX):
                state.unlink()

    def set_result_aside(self, run_id: str) -> None:
        """Move an outcome into its attempt's folder, so that the run can be tried again."""
        result = self.read_result(run_id)
        if result is not None:
            self.attempt_dir(result.attempt).mkdir(exist_ok=True)
            self.result_path(run_id).replace(self.attempt_dir(result.attempt) / f"result-{run_id}.json")

    def beat(self, step: int) -> None:
        """Say that the trainer lives and how far it is."""
        write_atomically(self.heartbeat_path, f"{step}\n".encode(), durable=False)

    def append_event(self, event: dict[str, Any]) -> None:
        """Add one line of progress; half a line left by a killed worker is closed first."""
        with self.events_path.open("ab+") as file:
            if file.tell() and not _ends_whole(file):
                file.write(b"\n")
            file.write(json.dumps(event, allow_nan=False).encode() + b"\n")

    @property
    def events_size(self) -> int:
        """Bytes of progress written so far: where a reader of what comes next begins."""
        return self.events_path.stat().st_size if self.events_path.exists() else 0

    def read_events(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Whole events written since byte `offset`, and the offset to go on from."""
        if not self.events_path.exists():
            return [], offset
        with self.events_path.open("rb") as file:
            file.seek(offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        return [event for line in whole.splitlines() if (event := _parse_event(line))], offset + len(whole)


def _schema_version(path: Path) -> int:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return 0
    version = content.get("schema_version") if isinstance(content, dict) else None
    return version if isinstance(version, int) else 0


def _ends_whole(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _parse_event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None  # half a line of a killed worker
    return event if isinstance(event, dict) else None


def _read(path: Path, model: type[_M]) -> _M | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
