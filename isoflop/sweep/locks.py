"""The locks of several sweeps at once, for what touches more than one."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from isoflop.store import sweep_lock
from isoflop.sweep.planning import lock_path


@contextlib.contextmanager
def sweep_locks(db: Path, sweeps: Iterable[str]) -> Iterator[None]:
    """A block in which this process alone holds all these sweeps of the database.

    Raises:
        IsoflopError: another process holds one of them; none is kept.
    """
    with contextlib.ExitStack() as locks:
        for sweep in sorted(set(sweeps)):
            locks.enter_context(sweep_lock(lock_path(db, sweep), sweep))
        yield
