"""The result of a run whose workers die without leaving one."""

import platform
import socket
import time
from datetime import UTC, datetime

from isoflop import __version__
from isoflop.engine.execution import GitState
from isoflop.engine.local.attempt import Attempt
from isoflop.result import Provenance, RunResult, Status
from isoflop.run_spec import RunSpec


def failed_result(run: RunSpec, attempt: Attempt, reason: str, git: GitState) -> RunResult:
    """A `failed` result that says why and where the log is; it counts what the last attempt said it had done."""
    latest = attempt.latest if attempt.latest is not None and attempt.latest.run_id == run.run_id else None
    n_tokens = latest.n_tokens if latest else 0
    flops = float(n_tokens * run.shape.flops_per_token)
    begun = attempt.run_dir.read_job()
    return RunResult(
        run_id=run.run_id,
        status=Status.FAILED,
        reason=f"{reason}; log: {attempt.run_dir.log_path(attempt.number)}",
        attempt=attempt.number,
        simulated=run.trainer == "simulated",
        n_steps=latest.step if latest else 0,
        n_tokens=n_tokens,
        achieved_flops=flops,
        spent_flops=flops,
        seconds=max(0.0, time.monotonic() - attempt.begun),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        execution=begun.execution.model_dump(mode="json") if begun is not None else {},
        provenance=Provenance(
            host=socket.gethostname(),
            device=attempt.device,
            isoflop_version=__version__,
            python_version=platform.python_version(),
            git_commit=git.commit,
            git_dirty=git.dirty,
        ),
    )
