"""What goes on in the run directories of runs without a result."""

import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from isoflop.rundir import Claim, RunDir
from isoflop.rundir.events import ProgressEvent, StartedEvent


class Activity(StrEnum):
    """What a pending run does. `ended`: its result lies in its directory and is not yet in the database."""

    RUNNING = "running"
    STOPPED = "stopped"
    ENDED = "ended"

    @property
    def words(self) -> str:
        """The value as people write it."""
        return self.value


@dataclass(frozen=True)
class Work:
    """A run that somebody began.

    Attributes:
        host, pid, attempt: of the worker, as it claimed the run.
        alive: whether that process lives; None on another host, where it cannot be asked.
        reported: the attempt's latest progress (of a stopped run: of any attempt); None before the first.
        heartbeat_seconds: since the attempt's last heartbeat; None before the first.
        device_kind: what it is computed on, None where job.json does not say.
        resumable: whether there is a checkpoint to go on from.
        log_path: what the attempt printed.
        engine, engine_job: what started the worker, and its own name for where it runs; None on one machine.
    """

    run_id: str
    activity: Activity
    host: str
    pid: int
    attempt: int
    alive: bool | None
    reported: ProgressEvent | None
    heartbeat_seconds: float | None
    device_kind: str | None
    resumable: bool
    log_path: Path
    engine: str | None = None
    engine_job: str | None = None


def share_done(n_tokens: int | None, work: Work | None) -> float:
    """Share of a run without a result that need not be done again, by tokens."""
    if work is None or work.reported is None or not n_tokens:
        return 0.0
    kept = work.activity is Activity.RUNNING or work.resumable
    return min(1.0, work.reported.n_tokens / n_tokens) if kept else 0.0


def read_work(run_dir: RunDir, run_id: str, *, host: str, silent_seconds: float) -> Work | None:
    """What goes on in `run_dir`, as seen from `host`; None where nobody has begun.

    A worker on another host counts as running until its heartbeat is `silent_seconds` old.
    """
    claim = run_dir.read_claim()
    if claim is None:
        return None
    alive = claim.is_alive if claim.host == host else None
    age = _heartbeat_seconds(run_dir, claim)
    running = alive or (alive is None and age is not None and age < silent_seconds)
    job = run_dir.read_job()
    return Work(
        run_id=run_id,
        activity=_activity(run_dir, run_id, running=running),
        host=claim.host,
        pid=claim.pid,
        attempt=claim.attempt,
        alive=alive,
        reported=latest_report(run_dir, run_id, this_attempt=running),
        heartbeat_seconds=age,
        device_kind=job.execution.device_kind if job else None,
        resumable=run_dir.keeps_state(run_id),
        log_path=run_dir.log_path(claim.attempt),
        engine=claim.engine,
        engine_job=claim.engine_job,
    )


def _activity(run_dir: RunDir, run_id: str, *, running: bool) -> Activity:
    if run_dir.result_path(run_id).exists():
        return Activity.ENDED
    return Activity.RUNNING if running else Activity.STOPPED


def _heartbeat_seconds(run_dir: RunDir, claim: Claim) -> float | None:
    try:
        beaten = run_dir.heartbeat_path.stat().st_mtime
    except FileNotFoundError:
        return None
    # A claim tells whole seconds. What is older is the heartbeat of an earlier attempt.
    if beaten < datetime.fromisoformat(claim.started_at).timestamp():
        return None
    return max(0.0, time.time() - beaten)


def latest_report(run_dir: RunDir, run_id: str, *, this_attempt: bool) -> ProgressEvent | None:
    """The last progress event of the run near the end of the file; of the last attempt alone if `this_attempt`."""
    for event in run_dir.last_events():
        if this_attempt and isinstance(event, StartedEvent):
            return None
        if isinstance(event, ProgressEvent) and event.run_id == run_id:
            return event
    return None
