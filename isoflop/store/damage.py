"""Whether a database is whole: its tables as isoflop makes them, its rows as they were written.

SQLite notices a page that does not belong; of a row that it can read it knows no more than the checks of its table. So
both are asked, and what is said twice is compared: by a row, by the rows of a plan and of a curve, by runs of one text.
A number that nothing repeats, and that changed into another possible one, goes unnoticed.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from statistics import median_low

from pydantic import ValidationError
from sqlite_utils import Database

from isoflop.errors import IsoflopError
from isoflop.run_spec import AnyRun, parse_run
from isoflop.store.migrations import migrations
from isoflop.store.queries import (
    ALTERED_RUN,
    CUT_CURVES,
    GRID_BUDGETS,
    RATIOS_OF_TEXT,
    SWEEPS_WITHOUT_CELLS,
    TEXTS_WITH_TWO_RATIOS,
)

REBUILD = (
    "Restore a copy, or move the database away and give `isoflop run SWEEP` again: it reads the results in the run "
    "directories and trains none of them twice. Exclusions must be made again."
)
# Half a million points of 10,000 runs take a quarter of a second to look through; they are when they are read.
CURVES = "curves"

_QUOTE = "'"
# What int() tells programmers where a number has too many digits.
_ADVICE = "set_int_max_str_digits"
_Columns = frozenset[tuple[str, str, int, int]]


def damaged(path: Path, detail: str) -> IsoflopError:
    """The error that the database at `path` holds what isoflop did not write."""
    return IsoflopError(f"The database {str(path)!r} is damaged: {detail}.", hint=REBUILD)


def refuse_damage(db: Database, path: Path) -> None:
    """Nothing, where every table is there as the migrations make it, and all but the curves can be read whole.

    Raises:
        IsoflopError: the first thing that is not so.
    """
    found = {row[1]: (row[2], row[5]) for row in db.execute("pragma table_list").fetchall()}
    for table, columns in _tables().items():
        kind, strict = found.get(table, (None, 0))
        if kind is None:
            raise damaged(path, f"its table {table} is missing")
        if kind != "table" or not strict:
            raise damaged(path, f"its table {table} was replaced")
        if lost := sorted(columns - _columns(db, table)):
            raise damaged(path, f"its table {table} lacks the column {lost[0][0]} as isoflop makes it")
    for table in _tables():
        if table != CURVES:
            refuse_unreadable(db, path, table)
    for (run_id,) in db.execute(ALTERED_RUN).fetchall():
        raise damaged(path, f"the columns of run {run_id} contradict its specification")
    _refuse_foreign_budgets(db, path)
    for (sweep,) in db.execute(SWEEPS_WITHOUT_CELLS).fetchall():
        raise damaged(path, f"cells of sweep {sweep!r} are missing")
    _refuse_altered_losses(db, path)


def _refuse_foreign_budgets(db: Database, path: Path) -> None:
    """Nothing, where every cell of a grid belongs to a budget that its sweep names: a fit groups by it."""
    specs = dict(db.execute("select name, spec_json from sweeps").fetchall())
    for sweep, budget in db.execute(GRID_BUDGETS).fetchall():
        with as_written(path, f"the specification of sweep {sweep!r}"):
            known = json.loads(specs[sweep])["budgets"]
        if budget not in known:
            raise damaged(path, f"a cell of sweep {sweep!r} has the budget {budget!r}, which the sweep does not name")


def _refuse_altered_losses(db: Database, path: Path) -> None:
    """Nothing, where the losses of a text are to each other in nats as they are in bits per byte."""
    for (text,) in db.execute(TEXTS_WITH_TWO_RATIOS).fetchall():
        ratios = dict(db.execute(RATIOS_OF_TEXT, [text]).fetchall())
        usual = median_low(ratios.values())
        run_id = max(ratios, key=lambda run_id: abs(ratios[run_id] - usual))
        raise damaged(path, f"the loss of run {run_id} was altered: the same row contradicts it")


def refuse_cut_curves(db: Database, path: Path) -> None:
    """Nothing, where the curve of every run that was trained to its end is whole.

    Raises:
        IsoflopError: the first that lacks a point.
    """
    refuse_unreadable(db, path, CURVES)
    for (run_id,) in db.execute(CUT_CURVES).fetchall():
        raise damaged(path, f"points of the training curve of run {run_id} are missing or altered")


def refuse_unreadable(db: Database, path: Path, table: str) -> None:
    """Nothing, where every row of `table` keeps to its types and checks, is in its indexes and refers to what is there.

    Raises:
        IsoflopError: the first row that does not.
    """
    (answer,) = db.execute(f"pragma integrity_check({table})").fetchone()
    if answer != "ok":
        raise damaged(path, " ".join(str(answer).split()))
    for (rule,) in db.execute(_broken_rule(table)).fetchall():
        raise damaged(path, f"a row of {table} does not keep to {rule}")
    orphan = _orphan(db, path, table)
    if orphan is not None:
        raise damaged(path, f"a row of {table} refers to one of {orphan[2]} that is missing")


def _orphan(db: Database, path: Path, table: str) -> tuple[object, ...] | None:
    """A row of `table` that refers to a missing one, as SQLite tells it; None where there is none.

    Raises:
        IsoflopError: what `table` refers to has lost the index that its keys need.
    """
    try:
        found: tuple[object, ...] | None = db.execute(f"pragma foreign_key_check({table})").fetchone()
    except sqlite3.OperationalError as error:
        if "foreign key mismatch" not in str(error):
            raise
        raise damaged(path, str(error)) from error
    return found


@contextmanager
def as_written(path: Path, what: str) -> Iterator[None]:
    """A block that turns rows into types: what cannot be turned was not written by isoflop.

    Raises:
        IsoflopError: it met a value of `what` that is none, such as JSON that was cut.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, RecursionError) as error:  # pydantic's and JSON's are ValueErrors
        raise damaged(path, f"{what} cannot be read ({_first_line(error)})") from error


def checked_run(run_id: str, spec_json: str, path: Path) -> AnyRun:
    """The run that `spec_json` describes, whose id is `run_id`.

    Raises:
        IsoflopError: it describes none, or another.
    """
    with as_written(path, f"run {run_id}"):
        run = parse_run(spec_json)
    if run.run_id != run_id:
        raise damaged(path, f"run {run_id} is described as another, {run.run_id}")
    return run


def refuse_altered_sweep(name: str, spec_json: str, spec_hash: str, path: Path) -> None:
    """Nothing, where the sweep's specification is the one whose hash was stored with it.

    Raises:
        IsoflopError: it is another.
    """
    canonical = json.dumps(json.loads(spec_json), sort_keys=True)
    if hashlib.sha256(canonical.encode()).hexdigest()[: len(spec_hash)] != spec_hash:
        raise damaged(path, f"the specification of sweep {name!r} was altered")


@cache
def _tables() -> dict[str, _Columns]:
    """The columns of every table, as the migrations make them."""
    with Database(memory=True) as db:
        migrations.apply(db)
        tables = [name for name in db.table_names() if name != migrations.migrations_table]
        return {table: _columns(db, table) for table in tables}


@cache
def _broken_rule(table: str) -> str:
    """SQL for the first rule of `table` that a row breaks: one of its checks, which SQLite forgets where it only reads.

    As with a check, a rule that is neither true nor false is kept.
    """
    with Database(memory=True) as db:
        migrations.apply(db)
        rules = _checks(db.table(table).schema)
    cases = [f"when not ({rule}) then '{rule.replace(_QUOTE, _QUOTE * 2)}'" for rule in rules] or ["when false then ''"]
    broken = f"select case {' '.join(cases)} end as rule from {table}"  # noqa: S608  all of it is our own
    return f"select rule from ({broken}) where rule is not null limit 1"  # noqa: S608


def _checks(schema: str) -> list[str]:
    """The expressions of all checks; none of ours has a parenthesis in a text."""
    found = []
    for start in re.finditer(r"check \(", schema):
        depth, end = 1, start.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(schema[end], 0)
            end += 1
        found.append(schema[start.end() : end - 1])
    return found


def _columns(db: Database, table: str) -> _Columns:
    rows = db.execute(f"pragma table_info({table})").fetchall()
    return frozenset((name, kind.lower(), notnull, key) for _, name, kind, notnull, _, key in rows)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False)[0]
        return ": ".join([".".join(map(str, problem["loc"])), problem["msg"]]).removeprefix(": ")
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if _ADVICE in str(error):
        return "a whole number has more digits than Python reads"
    return (str(error) or type(error).__name__).partition("\n")[0].rstrip(".")
