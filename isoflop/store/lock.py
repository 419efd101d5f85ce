"""One writer per sweep: an advisory lock that the operating system drops when its holder dies."""

import contextlib
import fcntl
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, field_serializer, field_validator

from isoflop.errors import IsoflopError
from isoflop.processes import is_running, process_start

# A look at the lock (`is_held`) holds it for microseconds; who finds it taken tries again for this long.
PROBE_SECONDS = 0.1


class LockContent(BaseModel):
    """Who holds, or last held, a lock and did not give it back."""

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int
    process_start: float
    started_at: AwareDatetime
    command: str

    @property
    def is_alive(self) -> bool | None:
        """Whether that process lives; None on another host, where it cannot be asked."""
        return is_running(self.pid, self.process_start) if self.host == socket.gethostname() else None

    @property
    def words(self) -> str:
        """`process 598 since 2026-11-26 15:29:37 UTC (isoflop run x.toml)`, with the host where it is another."""
        place = f" on {self.host}" if self.is_alive is None else ""
        return f"process {self.pid}{place} since {self.started_at:%Y-%m-%d %H:%M:%S} UTC ({self.typed})"

    @property
    def typed(self) -> str:
        """The command without the path of the program, as a person types it."""
        try:
            program, *arguments = shlex.split(self.command)
        except ValueError:  # not the words of a shell, or none
            return self.command
        name = Path(program).name
        return shlex.join(["isoflop" if name == "__main__.py" else name, *arguments])

    @field_validator("started_at")
    @classmethod
    def _that_utc_can_say(cls, at: datetime) -> datetime:
        try:
            return at.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(str(error)) from error

    @field_serializer("started_at")
    def _in_utc(self, at: datetime) -> str:
        return at.isoformat(timespec="milliseconds")


def read_lock(path: Path) -> LockContent | None:
    """What the lock file says; None where it was given back, never taken, taken this moment or is no lock of ours."""
    try:
        return LockContent.model_validate_json(path.read_bytes()) if path.is_file() else None
    except (OSError, ValidationError):
        return None


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file at `path`, whatever it says; False also where that cannot be told.

    Asks for a shared lock and gives it back at once; a `sweep_lock` that meets it waits for that.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextmanager
def sweep_lock(path: Path, sweep: str) -> Iterator[None]:
    """A block in which this process alone holds the lock file at `path`, which then says who that is.

    The lock is flock(2) on the open file: death by any signal releases it, and what is left of the file is harmless.
    Programs started inside the block do not hold it; a bare fork without exec does, until it ends or the block does.
    Not covered: file systems without flock, or whose flock is per machine (some network mounts).

    Raises:
        IsoflopError: another process, or another block of this one, holds it; or the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _no_lock(path, sweep, error) from error
    try:
        _acquire(descriptor, path, sweep)
        with contextlib.suppress(OSError):  # who holds it is a courtesy; the lock itself needs no room
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _this_process().model_dump_json().encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            # Closing alone would leave the lock with a forked child that still has the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, sweep: str) -> None:
    deadline = time.monotonic() + PROBE_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise _held(path, sweep) from None
            time.sleep(PROBE_SECONDS / 10)
        except OSError as error:
            raise _no_lock(path, sweep, error) from error


def _this_process() -> LockContent:
    return LockContent(
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        started_at=datetime.now(UTC),
        command=shlex.join(sys.argv).encode(errors="backslashreplace").decode(),
    )


def _held(path: Path, sweep: str) -> IsoflopError:
    holder = read_lock(path)
    if holder is None or holder.is_alive is False:
        # The holder has not yet written who it is, had no room to, or is another program.
        return IsoflopError(f"Sweep {sweep!r} is held by another process.", hint="Try again in a moment.")
    where = f" on {holder.host}" if holder.is_alive is None else ""
    return IsoflopError(
        f"Sweep {sweep!r} is held by {holder.words}.",
        hint=f"Wait for that process, or end it (`kill {holder.pid}`{where}): finished runs are kept.",
    )


def _no_lock(path: Path, sweep: str, error: OSError) -> IsoflopError:
    return IsoflopError(
        f"Cannot lock sweep {sweep!r} with {str(path)!r}: {error.strerror}.",
        hint="Keep the lock on a local disk that you may write to.",
    )
