"""The result of a run whose workers die without leaving one."""

import platform
import socket
from datetime import UTC, datetime

from isoflop import __version__
from isoflop.engine.execution import GitState
from isoflop.result import Provenance, RunResult, Status
from isoflop.run_spec import RunSpec
from isoflop.rundir import RunDir


def failed_result(run: RunSpec, run_dir: RunDir, attempt: int, reason: str, git: GitState) -> RunResult:
    """A `failed` result that says why and where the log is; nothing of what was lost is counted."""
    return RunResult(
        run_id=run.run_id,
        status=Status.FAILED,
        reason=f"{reason}; log: {run_dir.log_path(attempt)}",
        attempt=attempt,
        simulated=run.trainer == "simulated",
        n_steps=0,
        n_tokens=0,
        achieved_flops=0.0,
        spent_flops=0.0,
        seconds=0.0,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance=Provenance(
            host=socket.gethostname(),
            device="unknown",
            isoflop_version=__version__,
            python_version=platform.python_version(),
            git_commit=git.commit,
            git_dirty=git.dirty,
        ),
    )
