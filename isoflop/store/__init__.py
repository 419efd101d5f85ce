"""One SQLite file that remembers every sweep: rows, and what each is to a fit and to a new plan."""

from isoflop.store.cell import (
    BrokenResult,
    CellResult,
    CompletedResult,
    EmptyCell,
    RunCell,
    Standing,
    SweepCell,
    run_cells,
)
from isoflop.store.changes import PlanChanges, changes_since
from isoflop.store.connect import refuse_no_file
from isoflop.store.known_runs import KnownRun, PlannedRun, Timing
from isoflop.store.lock import LockContent, is_held, read_lock, sweep_lock
from isoflop.store.prediction import ConfirmPlace, Prediction, hash_of_rows
from isoflop.store.snapshot import read_snapshot
from isoflop.store.steering_round import SteeringRound, Verdict
from isoflop.store.store import Store, open_store

__all__ = [
    "BrokenResult",
    "CellResult",
    "CompletedResult",
    "ConfirmPlace",
    "EmptyCell",
    "KnownRun",
    "LockContent",
    "PlanChanges",
    "PlannedRun",
    "Prediction",
    "RunCell",
    "Standing",
    "SteeringRound",
    "Store",
    "SweepCell",
    "Timing",
    "Verdict",
    "changes_since",
    "hash_of_rows",
    "is_held",
    "open_store",
    "read_lock",
    "read_snapshot",
    "refuse_no_file",
    "run_cells",
    "sweep_lock",
]
