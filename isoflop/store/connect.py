"""Connections to the database file, and its errors in the user's words."""

import contextlib
import os
import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from isoflop.errors import IsoflopError
from isoflop.files import is_folder
from isoflop.store.damage import REBUILD, damaged, refuse_damage
from isoflop.store.migrations import ORDERED, migrations

# A writer holds the database for the milliseconds of one transaction; 30 s outlasts a slow disk.
BUSY_TIMEOUT_SECONDS = 30.0

_NOT_OURS = "Give the file that `isoflop plan` made, or another path with --db."
_PROBLEMS = {
    sqlite3.SQLITE_NOTADB: ("is not a SQLite database", _NOT_OURS),
    sqlite3.SQLITE_CORRUPT: ("is damaged or cut short", REBUILD),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check that its folder exists and that you may use it."),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Check the permissions of the file and of its folder."),
    sqlite3.SQLITE_PERM: ("cannot be opened", "Check the permissions of the file and of its folder."),
    sqlite3.SQLITE_BUSY: ("is locked by another program", "End the program that holds it open, then try again."),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Free some space; then run the same command again."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Check its disk, or move it to a local one."),
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """A block in which what the user can fix about the file at `path` is raised as such.

    Raises:
        IsoflopError: not a database, damaged, locked, not readable, not writable or no space.
    """
    try:
        yield
    except UnicodeDecodeError as error:  # of SQLite's own words, which name what it could not read
        raise damaged(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        if not _primary_code(error) and isinstance(error, sqlite3.OperationalError):
            raise damaged(path, str(error)) from error  # the Python module's own: text that is not UTF-8
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            raise _refused_by_trigger(path, str(error)) from error
        if _primary_code(error) not in _PROBLEMS:
            raise
        raise _problem(path, _primary_code(error), str(error)) from error


def connect(path: Path, *, write: bool) -> Database:
    """The open database at `path`, known to be isoflop's and of this version.

    `write=True` creates it where there is none and applies pending migrations. `write=False` never changes it, works
    while others write (WAL), and needs no write permission; of a database of an older isoflop it reads a copy in
    memory that has the tables of this version.

    Raises:
        IsoflopError: no such file, not a database, another program's, or of another version.
    """
    refuse_no_file(path)
    with explained(path):
        try:
            return _open_to_write(path) if write else _open_to_read(path)
        except OSError as error:
            raise _problem(path, sqlite3.SQLITE_CANTOPEN, str(error)) from error


def refuse_no_file(path: Path) -> None:
    """Nothing, where `path` is a regular file, or none at all; of others SQLite speaks as a disk error, or waits.

    Raises:
        IsoflopError: it is a folder, a pipe or a device.
    """
    if os.path.exists(path) and not is_folder(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        raise IsoflopError(
            f"{str(path)!r} is a pipe or a device; --db must name a regular file.", hint="Name another file with --db."
        )
    if is_folder(path):
        raise IsoflopError(f"{str(path)!r} is a folder, not a database file.", hint="Name a file with --db.")


def file_identity(path: Path) -> tuple[int, int] | None:
    """Which file the path leads to, by device and number; None where it leads to none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def checkpoint(db: Database, path: Path) -> None:
    """Move what was committed from the log (-wal) into the file, as far as no reader holds that up; waits for the disk.

    A copy of the file alone then has it.
    """
    with explained(path):
        db.execute("pragma wal_checkpoint(passive)")


@contextmanager
def transaction(db: Database, path: Path) -> Iterator[None]:
    """A block that takes the write lock at once and commits whole or not at all.

    IMMEDIATE: a transaction that reads before it writes cannot wait for its turn any other way.
    """
    with explained(path):
        db.execute("begin immediate")
        with db.conn:
            yield


def _open_to_write(path: Path) -> Database:
    with _closed_on_error(sqlite3.connect(path.resolve(), timeout=BUSY_TIMEOUT_SECONDS)) as db:
        if not os.access(path, os.W_OK):
            # SQLite itself would say so only at the first result.
            raise _problem(path, sqlite3.SQLITE_READONLY, "no permission")
        _refuse_other_schemas(db, path)
        old = migrations.pending(db)
        if not old:
            refuse_damage(db, path)  # before the first change
        _enable_wal(db)
        db.execute("pragma foreign_keys = on")
        # Spares an fsync per result: a power cut may undo the last commits, never harm the file, and each result is
        # also a file of its own.
        db.execute("pragma synchronous = normal")
        if old:
            _migrate(db, path)
    return db


def _migrate(db: Database, path: Path) -> None:
    try:
        with transaction(db, path):
            migrations.apply(db)
    except sqlite3.OperationalError as error:  # a table that is gone, or a column that is there already
        raise damaged(path, str(error)) from error
    checkpoint(db, path)
    refuse_damage(db, path)


def _enable_wal(db: Database) -> None:
    # While another process does the same, SQLite answers "locked" at once instead of waiting.
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            return db.enable_wal()
        except sqlite3.OperationalError as error:
            if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _open_to_read(path: Path) -> Database:
    if not path.exists():
        raise IsoflopError(
            f"There is no database {str(path)!r}.",
            hint="`isoflop plan SWEEP` makes one; --db says where it is.",
        )
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        return reader(uri, path)
    except sqlite3.OperationalError as error:
        # In WAL mode a reader needs a -wal and a -shm file beside the database. Where there are none and none can be
        # made, nobody is writing, and the file alone is complete.
        if _primary_code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or _has_wal(path):
            raise
    return reader(f"{uri}&immutable=1", path)


def reader(uri: str, path: Path) -> Database:
    """The open database at `uri`, of the file at `path`, known to be isoflop's and of this version."""
    with _closed_on_error(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS)) as db:
        _refuse_other_schemas(db, path)
        if not migrations.applied(db):
            raise IsoflopError(
                f"The database {str(path)!r} is empty: it lacks all tables ({migrations.pending(db)[0].name}).",
                hint=f"`isoflop plan SWEEP --db {shlex.quote(str(path))}` adds them, and so does `isoflop run`.",
            )
        if not migrations.pending(db):
            refuse_damage(db, path)
            return db
    return _migrated_copy(db, path)


def _migrated_copy(older: Database, path: Path) -> Database:
    """The database of an older isoflop, now in memory and with the tables of this version; its file stays as it is.

    Such a file is read so until the next command that writes to it.
    """
    with contextlib.closing(older), _closed_on_error(sqlite3.connect(":memory:")) as db:
        older.conn.backup(db.conn)
        try:
            migrations.apply(db)
        except sqlite3.OperationalError as error:  # as of _migrate
            raise damaged(path, str(error)) from error
        refuse_damage(db, path)
    return db


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[Database]:
    try:
        yield Database(connection, execute_plugins=False)
    except BaseException:
        connection.close()
        raise


def _refuse_other_schemas(db: Database, path: Path) -> None:
    """Reads only: another program's file stays as it is."""
    tables = set(db.table_names()) - {migrations.migrations_table}
    (page_size,) = db.execute("pragma page_size").fetchone()
    if path.stat().st_size % page_size:
        # SQLite would read the missing end of the last page as zeros.
        raise _problem(path, sqlite3.SQLITE_CORRUPT, "its last page is incomplete")
    applied = [migration.name for migration in migrations.applied(db)]
    if tables and not applied:
        raise IsoflopError(f"The database {str(path)!r} belongs to another program.", hint=_NOT_OURS)
    known = {migration.__name__ for migration in ORDERED}
    if newer := [name for name in applied if name not in known]:
        raise IsoflopError(
            f"The database {str(path)!r} was written by a newer isoflop ({newer[-1]}).",
            hint="Upgrade isoflop, or start another database with --db.",
        )


def _problem(path: Path, code: int, detail: str) -> IsoflopError:
    sentence, hint = _PROBLEMS[code]
    return IsoflopError(f"The database {str(path)!r} {sentence} ({detail}).", hint=hint)


def _refused_by_trigger(path: Path, detail: str) -> IsoflopError:
    return IsoflopError(
        f"A trigger in the database {str(path)!r}, which isoflop did not make, refuses the change ({detail}).",
        hint="Drop the trigger, or name another database with --db.",
    )


def _has_wal(path: Path) -> bool:
    wal = path.with_name(f"{path.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _primary_code(error: sqlite3.DatabaseError) -> int:
    """SQLite's result code without the details in the upper bytes; 0 for an error of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
