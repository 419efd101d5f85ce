"""Who works on a job directory, and whether that process still lives."""

import os
import socket
from datetime import UTC, datetime

import psutil
from pydantic import BaseModel, ConfigDict, Field

from isoflop.processes import is_running, process_start


class Claim(BaseModel):
    """Content of claim.json: the process that works, or last worked, on the job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    pid: int
    process_start: float = Field(description="start time of the process, see `process_start`")
    started_at: str = Field(description="UTC, ISO 8601")
    attempt: int = Field(ge=1)
    parent_pid: int | None = Field(None, description="process that started it")
    engine: str | None = Field(None, description="what started it, where that was not this machine's isoflop")
    engine_job: str | None = Field(None, description="the engine's own name for the job that it runs in")

    @property
    def is_alive(self) -> bool:
        """True while the process, known by host, pid and start time, runs on this host."""
        return self.host == socket.gethostname() and is_running(self.pid, self.process_start)

    @property
    def is_orphan(self) -> bool:
        """True while the process lives and the one that started it does not."""
        try:
            return self.is_alive and self.parent_pid not in (None, psutil.Process(self.pid).ppid())
        except psutil.NoSuchProcess:
            return False

    @property
    def is_stopped(self) -> bool:
        """True while the process lives and was suspended, so that it does not go on by itself."""
        try:
            return self.is_alive and psutil.Process(self.pid).status() in (
                psutil.STATUS_STOPPED,
                psutil.STATUS_TRACING_STOP,
            )
        except psutil.NoSuchProcess:
            return False


def own_claim(attempt: int, engine: str | None = None, engine_job: str | None = None) -> Claim:
    """The claim of this process."""
    return Claim(
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        attempt=attempt,
        parent_pid=os.getppid(),
        engine=engine,
        engine_job=engine_job,
    )
