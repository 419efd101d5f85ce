"""Who works on a job directory, and whether that process still lives."""

import socket
from datetime import UTC, datetime

import psutil
from pydantic import BaseModel, ConfigDict, Field

# Start times of one process read at two moments agree this well, seconds.
START_TIME_TOLERANCE = 1.0


class Claim(BaseModel):
    """Content of claim.json: the process that works, or last worked, on the job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    pid: int
    process_start: float = Field(description="start time of the process in the system's own clock, seconds")
    started_at: str = Field(description="UTC, ISO 8601")
    attempt: int = Field(ge=1)

    @property
    def is_alive(self) -> bool:
        """True while the process, known by host, pid and start time, runs on this host."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.process_start) < START_TIME_TOLERANCE
            return same and bool(process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def own_claim(attempt: int) -> Claim:
    """The claim of this process."""
    return Claim(
        host=socket.gethostname(),
        pid=psutil.Process().pid,
        process_start=psutil.Process().create_time(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        attempt=attempt,
    )
