"""One SQLite file that remembers every sweep. Rows only."""

from isoflop.store.lock import sweep_lock
from isoflop.store.rows import KnownRun, SweepCell, Timing
from isoflop.store.store import Store, open_store
from isoflop.store.untouched import read_untouched

__all__ = ["KnownRun", "Store", "SweepCell", "Timing", "open_store", "read_untouched", "sweep_lock"]
