"""One SQLite file that remembers every sweep. Rows only."""

from isoflop.store.lock import sweep_lock
from isoflop.store.rows import KnownRun, SweepCell, Timing
from isoflop.store.standing import Standing, off_plan_sentence, standing
from isoflop.store.store import Store, open_store
from isoflop.store.untouched import read_untouched

__all__ = [
    "KnownRun",
    "Standing",
    "Store",
    "SweepCell",
    "Timing",
    "off_plan_sentence",
    "open_store",
    "read_untouched",
    "standing",
    "sweep_lock",
]
