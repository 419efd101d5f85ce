"""Who works on a job directory, and whether that process still lives."""

import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, Field

# Start times of one process read at two moments agree this well, seconds.
START_TIME_TOLERANCE = 1.0


class Claim(BaseModel):
    """Content of claim.json: the process that works, or last worked, on the job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    pid: int
    process_start: float = Field(description="start time of the process, see `process_start`")
    started_at: str = Field(description="UTC, ISO 8601")
    attempt: int = Field(ge=1)
    parent_pid: int | None = Field(None, description="process that started it")

    @property
    def is_alive(self) -> bool:
        """True while the process, known by host, pid and start time, runs on this host."""
        if self.host != socket.gethostname():
            return False
        try:
            same = abs(process_start(self.pid) - self.process_start) < START_TIME_TOLERANCE
            return same and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, OSError):
            return False

    @property
    def is_orphan(self) -> bool:
        """True while the process lives and the one that started it does not."""
        try:
            return self.is_alive and self.parent_pid not in (None, psutil.Process(self.pid).ppid())
        except psutil.NoSuchProcess:
            return False


def own_claim(attempt: int) -> Claim:
    """The claim of this process."""
    return Claim(
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        attempt=attempt,
        parent_pid=os.getppid(),
    )


def process_start(pid: int) -> float:
    """When the process started: on Linux seconds after boot, which no change of the clock moves, else of the epoch.

    Raises:
        OSError, psutil.NoSuchProcess: there is no such process.
    """
    if sys.platform != "linux":
        return float(psutil.Process(pid).create_time())
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")  # starttime: proc_pid_stat(5), field 22
