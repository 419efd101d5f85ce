"""Folders of artifacts with runs in them, as workers leave them."""

from collections.abc import Sequence
from pathlib import Path

from isoflop.artifacts.inventory import Inventory, take_inventory
from isoflop.artifacts.other_databases import needs_of, read_other_databases
from isoflop.plan.types import Cell
from isoflop.result import RunResult
from isoflop.rundir import Execution, JobFile, RunDir
from isoflop.store import open_store
from tests.report_examples import make_result

EXECUTION = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=1)
N_WEIGHT_BYTES = 5000


def leave_run(artifacts: Path, cell: Cell, result: RunResult | None = None) -> Path:
    """The directory of a completed run (or of one that ended as `result` says) with its weights."""
    run_dir = RunDir(artifacts / cell.run.run_id)
    run_dir.write_job(JobFile(runs=(cell.run,), execution=EXECUTION))
    run_dir.checkpoint_dir.mkdir(parents=True)
    with run_dir.lock():
        run_dir.write_result(result or make_result(cell))
    run_dir.weights_path(cell.run.run_id).write_bytes(b"w" * N_WEIGHT_BYTES)
    return run_dir.path


def leave_runs(artifacts: Path, cells: Sequence[Cell]) -> None:
    for cell in cells:
        leave_run(artifacts, cell)


def has_weights(artifacts: Path, cells: Sequence[Cell]) -> set[str]:
    """Ids of the runs whose weights lie there."""
    ids = (cell.run.run_id for cell in cells)
    return {run_id for run_id in ids if RunDir(artifacts / run_id).weights_path(run_id).exists()}


def inventory_of(artifacts: Path, db: Path) -> Inventory:
    with open_store(db, write=False) as store:
        return take_inventory(artifacts, *needs_of(store), read_other_databases(artifacts, db))
