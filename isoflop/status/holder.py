"""Who holds a sweep, as its lock file says; read without taking the lock."""

import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from isoflop.processes import is_running
from isoflop.store import read_lock


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
    content = read_lock(lock)
    if content is None:
        return None
    here = content.host == socket.gethostname()
    alive = is_running(content.pid, content.process_start) if here else None
    return Holder(content.host, content.pid, content.started_at, content.command, alive)
