"""Who holds a sweep, as its lock file says; read without taking the lock."""

import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import AwareDatetime, BaseModel, ValidationError

# Start times of processes follow from the time of the boot, which is known to about a second.
CLOCK_SECONDS = 2.0


class _Content(BaseModel):
    host: str
    pid: int
    started_at: AwareDatetime
    command: str


@dataclass(frozen=True)
class Holder:
    """A process that took the sweep's lock and has not given it back.

    Attributes:
        started_at: when it did, UTC.
        command: its command line.
        alive: whether it lives, and so holds the lock; None on another host, where it cannot be asked.
    """

    host: str
    pid: int
    started_at: datetime
    command: str
    alive: bool | None


def read_holder(lock: Path) -> Holder | None:
    """Who wrote the lock file; None where it was given back, never taken, or taken this moment."""
    try:
        content = _Content.model_validate_json(lock.read_bytes())
    except (OSError, ValidationError):
        return None
    return Holder(content.host, content.pid, content.started_at, content.command, _alive(content))


def _alive(content: _Content) -> bool | None:
    """Whether the process lives; one that began after the lock was taken only has its number."""
    if content.host != socket.gethostname():
        return None
    try:
        process = psutil.Process(content.pid)
        began_before = process.create_time() <= content.started_at.timestamp() + CLOCK_SECONDS
        return began_before and bool(process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
