"""RunDir: the files of a job's directory, read and written whole."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from isoflop.errors import IsoflopError
from isoflop.files import create_atomically, write_atomically
from isoflop.result import RunResult
from isoflop.rundir.claim import Claim
from isoflop.rundir.events import Event, append_event, last_events, read_events
from isoflop.rundir.job_file import JobFile
from isoflop.rundir.layout import JobPaths, checkpoints_in

RESULT_SCHEMA_VERSION = 1
# What flock(2) says on storage that has no locks across machines, or none at all.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class RunDir(JobPaths):
    """Paths and files of one job's directory."""

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Whether this process alone may write here, for the time of the block; the system frees it at death."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.lock_path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                yield True  # such storage keeps nobody out: attempts are told apart by their numbers
            else:
                yield self._is_current(file.fileno())

    def _is_current(self, descriptor: int) -> bool:
        """Whether the open lock is the one that others would try: a fence takes it away."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.lock_path.stat())
        except FileNotFoundError:
            return False

    def write_job(self, content: JobFile) -> None:
        """Create the directory and its job.json.

        A first one need not survive a power cut of the next half minute: without it the job begins anew.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        durable = self.job_path.exists()
        write_atomically(self.job_path, content.model_dump_json(indent=1).encode(), durable=durable)

    def read_job(self) -> JobFile | None:
        """job.json; None where there is none of this version."""
        return _read(self.job_path, JobFile)

    def write_claim(self, claim: Claim) -> None:
        """Say which process works here; after a power cut none does."""
        write_atomically(self.claim_path, claim.model_dump_json().encode(), durable=False)

    def withdraw_claim(self) -> None:
        """Say that this process, which has the lock and lives on, works here no more."""
        self.claim_path.unlink()

    def read_claim(self) -> Claim | None:
        """Who works, or last worked, here; None if nobody did."""
        return _read(self.claim_path, Claim)

    def write_result(self, result: RunResult) -> None:
        """Record the outcome of a run; nothing is written after it.

        That of a later attempt stays: whoever is late, and was given up, does not take its place.
        """
        path, data = self.result_path(result.run_id), result.model_dump_json(indent=1).encode()
        if not create_atomically(path, data):
            found = self._written_result(result.run_id)
            if found is None or found.attempt <= result.attempt:
                write_atomically(path, data)

    def read_result(self, run_id: str) -> RunResult | None:
        """The outcome of a run; None while there is none that counts, or none of this run and version."""
        result = self._written_result(run_id)
        return None if result is not None and self.is_fenced(result.attempt) else result

    def late_result(self, run_id: str) -> RunResult | None:
        """What an attempt came to that had been given up: it does not count."""
        result = self._written_result(run_id)
        return result if result is not None and self.is_fenced(result.attempt) else None

    def _written_result(self, run_id: str) -> RunResult | None:
        result = _read(self.result_path(run_id), RunResult)
        return result if result is not None and result.run_id == run_id else None

    def set_unreadable_result_aside(self, run_id: str) -> None:
        """Move a file that lies in the place of a result and is none that counts into the latest attempt's folder.

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
        late = self.late_result(run_id) is not None
        path.replace(folder / f"{'late' if late else 'unreadable'}-{path.name}")

    def discard_checkpoints(self) -> None:
        """Delete the states to resume from; weights of completed runs stay."""
        for state in checkpoints_in(self.checkpoint_dir):
            state.unlink()
        for program in self.checkpoint_dir.glob("*/"):
            if not program.is_symlink():
                shutil.rmtree(program)

    def forget_program(self, run_id: str) -> None:
        """Delete what a program of the user's own would go on from."""
        program = self.program_dir(run_id)
        if program.is_dir() and not program.is_symlink():
            shutil.rmtree(program)

    def set_result_aside(self, run_id: str) -> None:
        """Move an outcome into its attempt's folder, so that the run can be tried again."""
        result = self.read_result(run_id)
        if result is not None:
            self.attempt_dir(result.attempt).mkdir(exist_ok=True)
            self.result_path(run_id).replace(RunDir(self.attempt_dir(result.attempt)).result_path(run_id))

    def fence(self, attempt: int, why: str) -> None:
        """Have nothing count that the attempt writes from now on: nobody can tell whether its worker lives.

        Nor is it waited for: the lock that it may hold is taken out of the way, for the next attempt to make another.
        """
        self.attempt_dir(attempt).mkdir(exist_ok=True)
        write_atomically(self.fence_path(attempt), why.encode())
        self.lock_path.unlink(missing_ok=True)

    def is_fenced(self, attempt: int) -> bool:
        """Whether nothing of the attempt counts any more.

        The folder is read, for NFS may remember that a name was not there; and asks about a folder that is opened.
        """
        fence = self.fence_path(attempt)
        try:
            return any(path.name == fence.name for path in fence.parent.iterdir())
        except FileNotFoundError:
            return False

    def beat(self, step: int) -> None:
        """Say that the trainer lives and how far it is."""
        write_atomically(self.heartbeat_path, f"{step}\n".encode(), durable=False)

    def append_event(self, event: Event) -> None:
        """Add one line of progress."""
        append_event(self.events_path, event)

    @property
    def events_size(self) -> int:
        """Bytes of progress written so far: where a reader of what comes next begins."""
        return self.events_path.stat().st_size if self.events_path.exists() else 0

    def read_events(self, offset: int) -> tuple[list[Event], int]:
        """Whole events written since byte `offset`, and the offset to go on from."""
        return read_events(self.events_path, offset)

    def last_events(self) -> Iterator[Event]:
        """The events near the end, newest first."""
        return last_events(self.events_path)


def _schema_version(path: Path) -> int:
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else None
    except (ValueError, RecursionError):
        return 0
    version = content.get("schema_version") if isinstance(content, dict) else None
    return version if isinstance(version, int) else 0


def _read(path: Path, model: type[_M]) -> _M | None:
    """What the file says; None where it says nothing of the kind, is a folder, a pipe or a device, or is not there."""
    try:
        return model.model_validate_json(path.read_bytes()) if path.is_file() else None
    except (FileNotFoundError, ValidationError):
        return None
