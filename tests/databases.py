"""Databases read and written past the store, as another program would."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that commits where the block succeeds and is closed in any case.

    A connection's own `with` only commits: Python 3.13 warns of one that is left open.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def make_older(path: Path) -> None:
    """Take from a database the tables that came after the first release of it, as an older isoflop leaves it."""
    with opened(path) as db:
        for table, migration in (
            ("predictions", "m0003_predictions"),
            ("metrics", "m0004_metrics"),
            ("steering_rounds", "m0006_steering_rounds"),
            ("measurements", "m0007_measurements"),
        ):
            db.execute(f"drop table {table}")
            db.execute("delete from _sqlite_migrations where name = ?", [migration])
