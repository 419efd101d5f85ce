"""Reading a database without leaving a trace beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isoflop.errors import IsoflopError
from isoflop.store.connect import explained, reader, refuse_no_file
from isoflop.store.store import Store, open_store

_T = TypeVar("_T")

# Each try lasts as long as one reading; a writer that opens and closes the database in every one is none of ours.
_TRIES = 3


def read_snapshot(path: Path, read: Callable[[Store], _T]) -> _T:
    """What `read` returns of the database at `path`, which may be called more than once.

    A reader of a database in WAL mode leaves a -wal and a -shm file behind. Where no -wal file is in use, the file
    alone is complete and is read as one that does not change, which leaves nothing; had it changed meanwhile, it is
    read again. Beside a writer, or after one that was killed, it is read as `open_store` does: SQLite then keeps its
    index (-shm) up to date.

    Raises:
        IsoflopError: as `open_store(path, write=False)`, or from `read`.
    """
    refuse_no_file(path)
    for _ in range(_TRIES):
        before = _version(path)
        if before is None:
            break
        try:
            with explained(path), Store(reader(_immutable(path), path), path) as store:
                found = read(store)
        except IsoflopError:
            if _version(path) == before:
                raise
            continue
        if _version(path) == before:
            return found
    with open_store(path, write=False) as store:
        return read(store)


def _immutable(path: Path) -> str:
    return f"{path.resolve().as_uri()}?mode=ro&immutable=1"


def _version(path: Path) -> tuple[int, int, int] | None:
    """What tells one version of the file from another; None where it is missing or its -wal file is in use."""
    try:
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists() and wal.stat().st_size > 0:
            return None
        file = path.stat()
    except OSError:
        return None
    return file.st_ino, file.st_size, file.st_mtime_ns
