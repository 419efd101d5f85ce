"""The locks of sweeps: where each lies, and several at once for what touches more than one."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from isoflop.errors import IsoflopError
from isoflop.store import refuse_no_file, sweep_lock


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


def lock_path(db: Path, sweep: str) -> Path:
    """The lock file of a sweep, beside its database.

    Raises:
        IsoflopError: `db` is a folder, or in one that is not there.
    """
    refuse_no_file(db)
    if not db.parent.is_dir():
        raise IsoflopError(
            f"There is no folder {str(db.parent)!r} for the database.", hint="Make it, or name another with --db."
        )
    return db.with_name(f"{db.name}.{sweep}.lock")
