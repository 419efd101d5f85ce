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
