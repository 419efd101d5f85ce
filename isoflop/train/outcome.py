"""A run's outcome as the RunResult that leaves the worker, with where it came from."""

import platform
import socket
from datetime import UTC, datetime
from importlib import metadata

from isoflop import __version__
from isoflop.hardware import cpu_name, devices_name
from isoflop.result import CurvePoint, Provenance, RunResult, Status
from isoflop.run_spec import RunSpec
from isoflop.rundir import Assignment, Execution
from isoflop.train.progress import Trained


def make_result(run: RunSpec, assignment: Assignment, execution: Execution, trained: Trained) -> RunResult:
    """The result of an attempt that ended; FLOPs are the trainer's own token counter times the shape's FLOPs per token.

    The ending of an interrupted attempt is not a status: it has no result.
    """
    at, heldout, status = trained.progress, trained.heldout, Status(trained.ending.value)
    assert status is not Status.COMPLETED or at.n_tokens == run.n_tokens, f"{at.n_tokens} of {run.n_tokens} tokens"
    flops = float(at.n_tokens * run.shape.flops_per_token)
    rate = at.n_tokens / training_seconds if (training_seconds := at.seconds - at.eval_seconds) > 0 else None
    peak = trained.peak_flops_per_second
    return RunResult(
        run_id=run.run_id,
        status=status,
        reason=trained.reason,
        attempt=assignment.attempt,
        simulated=run.trainer == "simulated",
        n_steps=at.step,
        n_tokens=at.n_tokens,
        achieved_flops=flops,
        spent_flops=0.0 if run.trainer == "simulated" else flops,
        val_loss=heldout.nats_per_token if heldout else None,
        val_loss_se=heldout.standard_error if heldout else None,
        bits_per_byte=heldout.bits_per_byte if heldout else None,
        n_val_tokens=heldout.n_tokens if heldout else None,
        seconds=at.seconds,
        tokens_per_second=rate,
        peak_flops_per_second=peak,
        model_flops_utilisation=rate * run.shape.flops_per_token / peak if rate and peak else None,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        execution=execution.model_dump(mode="json"),
        provenance=_provenance(assignment, execution, simulated=run.trainer == "simulated"),
        curve=tuple(CurvePoint(step=step, n_tokens=n_tokens, loss=loss) for step, n_tokens, loss in at.curve),
        metrics=trained.metrics,
    )


def _provenance(assignment: Assignment, execution: Execution, *, simulated: bool) -> Provenance:
    return Provenance(
        host=socket.gethostname(),
        device="none (simulated)" if simulated else devices_name(one_device_name(execution), execution.world_size),
        isoflop_version=__version__,
        python_version=platform.python_version(),
        torch_version=None if simulated else metadata.version("torch"),
        git_commit=assignment.git_commit,
        git_dirty=assignment.git_dirty,
        engine=assignment.engine or None,
        engine_job=assignment.engine_job or None,
    )


def one_device_name(execution: Execution) -> str:
    """What each process of the run trains on, as the system names it."""
    if execution.device_kind == "cpu":
        return cpu_name()
    import torch

    return torch.cuda.get_device_name(0)
