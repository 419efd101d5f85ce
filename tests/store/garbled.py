"""Ways in which a database comes to harm, each drawn from a seeded generator."""

import random
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

TABLES = ("sweeps", "runs", "cells", "results", "attempts", "curves", "exclusions")
PAGE = 4096

# As SQL; no column of ours may hold all of them, and most hold none.
VALUES = (
    "''", "'x'", "x'00ff'", "cast(x'ff80' as text)", "null", "-1", "0", "1.5", "9e999", "9223372036854775807", "'{'",
    "'[]'", "'{\"a\": 1}'", "'running'", "printf('%.*c', 100000, '[')",
)  # fmt: skip

Harm = Callable[[Path, random.Random], str]


def _any_row(random_: random.Random, table: str, connection: sqlite3.Connection, column: str = "rowid") -> str:
    (count,) = connection.execute(f"select count({column}) from {table}").fetchone()
    of = f"{table} where {column} is not null"
    return f"rowid in (select rowid from {of} limit 1 offset {random_.randrange(count)})"


@contextmanager
def _loose(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma legacy_alter_table = on")
        yield connection


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"pragma table_info({table})")]


def _rebuilt(connection: sqlite3.Connection, table: str, columns: str = "*") -> None:
    """The table with these columns alone and without any rule."""
    connection.execute(f"alter table {table} rename to former")
    connection.execute(f"create table {table} as select {columns} from former")
    connection.execute("drop table former")


def a_dropped_table(path: Path, random_: random.Random) -> str:
    table = random_.choice(TABLES)
    with _loose(path) as connection:
        connection.execute(f"drop table {table}")
    return table


def a_dropped_column(path: Path, random_: random.Random) -> str:
    table = random_.choice(TABLES)
    with _loose(path) as connection:
        names = _columns(connection, table)
        names.remove(gone := random_.choice(names))
        _rebuilt(connection, table, ", ".join(names))
    return f"{table}.{gone}"


def a_view_for_a_table(path: Path, random_: random.Random) -> str:
    table, of = random_.choice(TABLES), random_.choice(["former", "nowhere"])
    with _loose(path) as connection:
        connection.execute(f"alter table {table} rename to former")
        connection.execute(f"create view {table} as select * from {of}")
    return f"{table} of {of}"


def a_value_without_rules(path: Path, random_: random.Random) -> str:
    table, value = random_.choice(TABLES), random_.choice(VALUES)
    with _loose(path) as connection:
        _rebuilt(connection, table)
        column = random_.choice(_columns(connection, table))
        connection.execute(f"update {table} set {column} = {value}")
    return f"{table}.{column} = {value}"


def a_text_past_the_rules(path: Path, random_: random.Random) -> str:
    """JSON and words that no check of a table looks at, or of which this version knows no more."""
    table, column = random_.choice(
        [("runs", "spec_json"), ("runs", "shape"), ("sweeps", "spec_json"), ("cells", "role"), ("results", "status")]
    )
    value = random_.choice([*VALUES[:2], VALUES[3], *VALUES[10:], f"substr({column}, 2)", f"{column} || 'x'"])
    with _loose(path) as connection:
        connection.execute("pragma ignore_check_constraints = on")
        row = _any_row(random_, table, connection, column)
        connection.execute(f"update {table} set {column} = {value} where {row}")
    return f"{table}.{column} = {value}"


def a_budget_that_the_sweep_does_not_name(path: Path, random_: random.Random) -> str:
    """One bit of a planned run's budget, which a fit groups by, is another."""
    with _loose(path) as connection:
        planned = connection.execute("select id, budget_flops from cells where role is not null order by id")
        cell, budget = random_.choice(planned.fetchall())
        (bits,) = struct.unpack("<q", struct.pack("<d", budget))
        (other,) = struct.unpack("<d", struct.pack("<q", bits ^ (1 << random_.randrange(50))))
        connection.execute("update cells set budget_flops = ? where id = ?", [other, cell])
    return f"cell {cell}: {budget!r} -> {other!r}"


def a_run_unlike_its_specification(path: Path, random_: random.Random) -> str:
    change = random_.choice(
        ["n_steps = n_steps + 1", "seed = seed + 1", "n_tokens = n_tokens * 2", "planned_flops = planned_flops * 1.01",
         "learning_rate = 2 * learning_rate", "shape = replace(shape, '16', '32')", "corpus_fingerprint = 'x'",
         "spec_json = replace(spec_json, '\"beta1\":0.9', '\"beta1\":0.8')"]
    )  # fmt: skip
    with _loose(path) as connection:
        connection.execute(f"update runs set {change} where rowid = 1")
    return change


def rows_that_nothing_refers_to(path: Path, random_: random.Random) -> str:
    table = random_.choice(["runs", "sweeps"])
    with _loose(path) as connection:
        connection.execute(f"delete from {table} where {_any_row(random_, table, connection)}")
    return table


def a_cut_file(path: Path, random_: random.Random) -> str:
    content = path.read_bytes()
    at = random_.randrange(1, len(content) // PAGE) * PAGE + random_.choice([0, 0, 1000])
    path.write_bytes(content[:at])
    return f"at {at} of {len(content)}"


def a_lost_page(path: Path, random_: random.Random) -> str:
    content = bytearray(path.read_bytes())
    at = random_.randrange(len(content) // PAGE) * PAGE
    content[at : at + PAGE] = random_.choice([bytes(PAGE), random_.randbytes(PAGE)])
    path.write_bytes(content)
    return f"at {at}"


def flipped_bits(path: Path, random_: random.Random) -> str:
    content = bytearray(path.read_bytes())
    number = random_.choice([1, 4, 30, 300])
    for _ in range(number):
        content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
    path.write_bytes(content)
    return str(number)
