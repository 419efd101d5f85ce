"""One SQLite file that remembers every sweep. Rows only."""

from isoflop.store.lock import sweep_lock
from isoflop.store.rows import SweepCell, Timing
from isoflop.store.store import Store, open_store

__all__ = ["Store", "SweepCell", "Timing", "open_store", "sweep_lock"]
