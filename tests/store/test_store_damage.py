"""A database that came to harm is refused in a sentence, or says what it said before."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isoflop.cli import app
from isoflop.errors import IsoflopError
from isoflop.plan.types import DroppedCell
from isoflop.store import Store, open_store, read_snapshot
from tests.faults.said import is_sentence
from tests.store import garbled
from tests.store.garbled import Harm
from tests.store.store_examples import SHAPE, make_plan, make_result, make_run, make_spec

RUNS = [make_run(width=16 * (1 + index % 3), seed=index) for index in range(12)]

# All that another program, a person or a disk can do to a table, and that must not pass for an answer.
NOTICED = (
    garbled.a_dropped_table,
    garbled.a_dropped_column,
    garbled.a_view_for_a_table,
    garbled.a_value_without_rules,
    garbled.a_text_past_the_rules,
    garbled.a_run_unlike_its_specification,
    garbled.a_budget_that_the_sweep_does_not_name,
    garbled.rows_that_nothing_refers_to,
)
# These may also meet what nobody reads: a page that is free, the end of one.
OF_THE_DISK = (garbled.a_cut_file, garbled.a_lost_page)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with every table filled."""
    path = tmp_path_factory.mktemp("whole") / "isoflop.db"
    with open_store(path, write=True) as store:
        dropped = DroppedCell(budget_flops=1e11, shape=SHAPE, limit="steps", reason="it is too small")
        store.save_plan(make_spec(), make_plan(*RUNS, dropped=(dropped,)))
        for run in RUNS[:10]:
            store.record(make_result(run))
            times = {"started_at": "2026-01-01T00:00:00+00:00", "ended_at": None, "outcome": None, "reason": None}
            store.record_attempt(run.run_id, 1, host="hal", device="cpu", log_path="log.txt", **times)
        store.exclude(RUNS[3].run_id, RUNS[4].run_id, reason="a cable was loose")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = delete")
    return path


def copied(whole: Path, tmp_path: Path, name: object = "isoflop") -> Path:
    return Path(shutil.copy(whole, tmp_path / f"{name}.db"))


def everything(store: Store) -> object:
    """All that a command can read."""
    runs = [store.run_spec(run_id) for run_id in sorted(store.known_runs())]
    read = [store.sweep_spec("demo"), store.cells("demo"), store.pending("demo"), store.curves("demo"), runs]
    return [*read, store.known_runs(), store.statuses(), store.exclusions(), store.throughput(), store.sweep_names()]


@pytest.mark.parametrize("harm", [*NOTICED, *OF_THE_DISK], ids=lambda harm: harm.__name__)
def test_a_damaged_database_is_refused_or_says_what_it_said(whole: Path, tmp_path: Path, harm: Harm) -> None:
    before = read_snapshot(whole, everything)
    for seed in range(30):
        path = copied(whole, tmp_path, seed)
        what = harm(path, random.Random(seed))
        try:
            assert read_snapshot(path, everything) == before and harm not in NOTICED, what
        except IsoflopError as error:
            assert str(path) in error.message, what
            assert "Traceback" not in error.message and "\n" not in error.message, what


def test_no_flipped_bit_is_a_bug(whole: Path, tmp_path: Path) -> None:
    """One that changes a number into another possible one goes unnoticed."""
    refused = 0
    for seed in range(150):
        path = copied(whole, tmp_path, seed)
        garbled.flipped_bits(path, random.Random(seed))
        try:
            read_snapshot(path, everything)
        except IsoflopError:
            refused += 1
    assert refused > 75


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "isoflop.db"),
        ("report", "isoflop.db", "--out", "page"),
        ("clean", "--artifacts", "."),
        ("exclude", RUNS[0].run_id, "--reason", "why not"),
        ("include", RUNS[0].run_id),
        ("plan", "demo.toml"),
        ("run", "demo.toml"),
        ("status", "demo.toml"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_says_how_a_damaged_database_is_made_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.toml").write_text('name = "demo"\nbudgets = [1e11]\ntrainer = "simulated"\n')
    for harm in NOTICED[:-1]:
        path = copied(whole, tmp_path)
        what = harm(path, random.Random(1))
        before = path.read_bytes()
        said = CliRunner().invoke(app, list(arguments))
        assert said.exit_code == 1 and is_sentence(said.stderr), (what, said.stderr, said.exception)
        assert "is damaged" in said.stderr and "`isoflop run SWEEP`" in said.stderr, what
        assert path.read_bytes() == before, what


def test_a_trigger_of_somebody_else_that_refuses_a_change_is_named(whole: Path, tmp_path: Path) -> None:
    path = copied(whole, tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "create trigger t before insert on exclusions begin select raise(abort, 'not on Fridays'); end"
        )
    with open_store(path, write=True) as store, pytest.raises(IsoflopError, match=r"trigger .*not on Fridays"):
        store.exclude(RUNS[0].run_id, reason="why not")


def test_columns_and_tables_that_a_person_added_do_not_matter(whole: Path, tmp_path: Path) -> None:
    path = copied(whole, tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("alter table results add column note text")
        connection.execute("create table notes (run_id text, note text)")
        connection.execute("create index by_loss on results(val_loss)")
    with open_store(path, write=True) as store:
        assert everything(store) == read_snapshot(whole, everything)
