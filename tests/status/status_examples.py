"""Sweeps as their workers leave them, and their status as data and as text."""

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from isoflop.plan.types import Cell
from isoflop.rundir import Claim, Execution, JobFile, RunDir
from isoflop.rundir.events import ProgressEvent, StartedEvent
from isoflop.spec import SweepSpec
from isoflop.status.sweep_status import SweepStatus, read_status
from isoflop.store import open_store
from isoflop.view.status_view import print_status

CPU = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=4)
FILE = Path("demo.toml")


def status_of(folder: Path, spec: SweepSpec | None = None) -> SweepStatus:
    """The status of the sweep `demo`, planned as `spec` or as it was saved."""
    if spec is None:
        with open_store(folder / "x.db", write=False) as store:
            spec = store.sweep_spec("demo")
    return read_status(spec, FILE, db=folder / "x.db", lock=folder / "x.lock", artifacts=folder / "artifacts")


def states(status: SweepStatus) -> dict[str, str]:
    return {cell.run_id or "": state.value for cell, state in status.cells}


def dead_claim() -> Claim:
    """The claim of a process that has ended."""
    code = "from isoflop.rundir.claim import own_claim; print(own_claim(1).model_dump_json())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Claim.model_validate_json(done.stdout)


def begin(folder: Path, cell: Cell, claim: Claim, *, step: int | None = None, checkpoint: bool = False) -> RunDir:
    """A run directory as a worker leaves it that has come to `step`."""
    run_dir = RunDir(folder / "artifacts" / cell.run.run_id)
    run_dir.write_job(JobFile(runs=(cell.run,), execution=CPU))
    run_dir.write_claim(claim)
    run_dir.append_event(StartedEvent(time=0.0, monotonic=None, attempt=claim.attempt))
    if step is not None:
        run_dir.beat(step)
        run_dir.append_event(progress(cell, step))
    if checkpoint:
        run_dir.checkpoint_dir.mkdir()
        (run_dir.checkpoint_dir / f"{cell.run.run_id}.safetensors").touch()
    return run_dir


def progress(cell: Cell, step: int, *, loss: float = 3.25) -> ProgressEvent:
    return ProgressEvent(
        time=0.0,
        run_id=cell.run.run_id,
        step=step,
        n_tokens=step * cell.run.batch_tokens,
        loss=loss,
        tokens_per_second=1000.0,
    )


def shown(status: SweepStatus, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_status(status, console, arguments=[str(FILE)])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return text
