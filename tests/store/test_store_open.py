"""What opens, what is refused, and what readers see."""

import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from isoflop.errors import IsoflopError
from isoflop.plan.types import Role
from isoflop.result import RunResult, Status
from isoflop.run_spec import RunSpec
from isoflop.store import Store, open_store
from isoflop.store.migrations import ORDERED, migrations
from tests.store.store_examples import make_plan, make_result, make_spec

NOBODY = 65534
REPOSITORY = Path(__file__).parents[2]


def refusal(path: Path, *, write: bool) -> IsoflopError:
    with pytest.raises(IsoflopError) as caught:
        open_store(path, write=write)
    assert str(path) in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    return caught.value


def snippet(*lines: str) -> list[str]:
    preamble = ["import os, sys, time", "from pathlib import Path", "from isoflop.store import open_store"]
    return [sys.executable, "-c", "\n".join([*preamble, *lines])]


either_mode = pytest.mark.parametrize("write", [True, False], ids=["to write", "to read"])


def test_a_new_store_has_strict_tables_foreign_keys_and_a_write_ahead_log(planned: Store, path: Path) -> None:
    db = Database(path)
    ours = [table for table in db.tables if table.name != migrations.migrations_table]
    assert {table.name for table in ours} == {
        "sweeps", "runs", "cells", "results", "attempts", "curves", "metrics", "exclusions", "predictions",
        "measurements",
        "steering_rounds",
    }  # fmt: skip
    assert all(table.strict for table in ours)
    assert db.journal_mode == "wal"
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        planned.record_attempt(
            "no such run",
            1,
            host="hal",
            device=None,
            started_at="t",
            ended_at=None,
            outcome=None,
            reason=None,
            log_path=None,
        )
    db.close()


def test_every_migration_leaves_its_record(store: Store, path: Path) -> None:
    db = Database(path)
    assert [applied.name for applied in migrations.applied(db)] == [step.__name__ for step in ORDERED]
    assert [step.__name__[:5] for step in ORDERED] == [f"m{n:04d}" for n in range(1, len(ORDERED) + 1)]
    db.close()


def test_opening_again_keeps_what_is_there(planned: Store, path: Path, run: RunSpec) -> None:
    with open_store(path, write=True) as again:
        assert again.pending("demo") == (run.run_id,)


@pytest.mark.parametrize(("table", "column", "words"), [("results", "status", Status), ("cells", "role", Role)])
def test_the_tables_know_every_word_of_the_code(store: Store, path: Path, table: str, column: str, words: type) -> None:
    db = Database(path)
    listed = re.search(rf"{column} in \((.*?)\)", db[table].schema)
    assert listed is not None
    assert re.findall(r"'(\w+)'", listed[1]) == [word.value for word in words]
    db.close()


def test_every_field_of_a_result_has_a_column(store: Store, path: Path) -> None:
    db = Database(path)
    columns = set(db["results"].columns_dict)
    provenance = RunResult.model_fields["provenance"].annotation
    fields = set(RunResult.model_fields) | set(provenance.model_fields)
    assert columns == fields - {"provenance", "curve", "metrics"} | {"recorded_at"}
    db.close()


def test_a_missing_file_is_refused_to_a_reader(path: Path) -> None:
    assert "no database" in refusal(path, write=False).message
    assert not path.exists()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "nowhere" / "isoflop.db", write=True)


@either_mode
def test_a_folder_is_refused(tmp_path: Path, write: bool) -> None:
    refusal(tmp_path, write=write)


@either_mode
def test_a_text_file_is_refused_and_left_alone(path: Path, write: bool) -> None:
    text = "budget,loss\n" * 1000
    path.write_text(text)
    assert "not a SQLite database" in refusal(path, write=write).message
    assert path.read_text() == text


@either_mode
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.9999], ids=["a third", "most", "all but a few bytes"])
def test_a_truncated_database_is_refused(path: Path, run: RunSpec, kept: float, write: bool) -> None:
    with open_store(path, write=True) as store:
        store.save_plan(make_spec(), make_plan(run))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "cut short" in refusal(path, write=write).message


@either_mode
def test_another_programs_database_is_refused_and_left_alone(path: Path, write: bool) -> None:
    other = Database(path)
    other["planets"].insert({"name": "Mars"})
    other.close()
    before = path.read_bytes()
    assert "another program" in refusal(path, write=write).message
    assert path.read_bytes() == before


@either_mode
def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path, write: bool) -> None:
    open_store(path, write=True).close()
    newer = Database(path)
    row = {"migration_set": "isoflop", "name": "m9999_from_the_future", "applied_at": "2040-01-01"}
    newer[migrations.migrations_table].insert(row)
    newer.close()
    before = path.read_bytes()
    error = refusal(path, write=write)
    assert "m9999_from_the_future" in error.message
    assert "Upgrade" in error.hint
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_store_to_a_writer_and_refused_to_a_reader(path: Path) -> None:
    path.touch()
    assert ORDERED[0].__name__ in refusal(path, write=False).message
    with open_store(path, write=True) as store:
        assert store.sweep_names() == []


def test_a_path_with_signs_of_a_uri_is_just_a_path(tmp_path: Path, run: RunSpec) -> None:
    path = tmp_path / "100% ?mode=rw#é.db"
    with open_store(path, write=True) as store:
        store.save_plan(make_spec(), make_plan(run))
    with open_store(path, write=False) as store:
        assert store.sweep_names() == ["demo"]


def test_a_reader_cannot_write(planned: Store, path: Path, run: RunSpec) -> None:
    with open_store(path, write=False) as reader, pytest.raises(IsoflopError, match="cannot be written"):
        reader.save_plan(make_spec(), make_plan(run))


def test_a_reader_sees_the_last_commit_while_another_process_holds_a_transaction(path: Path, run: RunSpec) -> None:
    with open_store(path, write=True) as store:
        store.save_plan(make_spec(), make_plan(run))
    writing = snippet(
        "import sqlite3",
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)",
        "db.execute('begin immediate')",
        "db.execute('delete from cells')",
        "print('writing', flush=True)",
        "sys.stdin.read()",
        "db.execute('commit')",
    )
    with subprocess.Popen([*writing, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        with open_store(path, write=False) as reader:
            assert reader.pending("demo") == (run.run_id,)
            writer.communicate()
            assert reader.pending("demo") == ()


def test_a_reader_reads_what_a_killed_writer_committed(path: Path, run: RunSpec) -> None:
    killed = snippet(
        "sys.path.insert(0, sys.argv[2])",
        "from tests.store.store_examples import make_plan, make_run, make_spec",
        "store = open_store(Path(sys.argv[1]), write=True)",
        "store.save_plan(make_spec(), make_plan(make_run()))",
        "os.kill(os.getpid(), 9)",
    )
    assert subprocess.run([*killed, path, REPOSITORY], check=False).returncode == -9
    with open_store(path, write=False) as reader:
        assert reader.pending("demo") == (run.run_id,)


def as_nobody(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Root ignores permissions, so it becomes someone else once everything is imported (as_uri imports late)."""
    become = "os.getuid() == 0 and os.setuid(int(sys.argv[2]))"
    return subprocess.run(
        [
            *snippet("import isoflop.store.store", "Path.cwd().as_uri()", become, "path = Path(sys.argv[1])", *lines),
            folder / "x.db",
            str(NOBODY),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("folder_mode", [0o777, 0o555], ids=["writable folder", "read-only folder"])
def test_a_read_only_file_can_be_read_and_not_written(run: RunSpec, folder_mode: int) -> None:
    # Not in tmp_path, whose parents only its owner may enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_store(folder / "x.db", write=True) as store:
            store.save_plan(make_spec(), make_plan(run))
        (folder / "x.db").chmod(0o444)
        folder.chmod(folder_mode)
        reading = as_nobody(folder, "print(open_store(path, write=False).pending('demo'))")
        writing = as_nobody(folder, "open_store(path, write=True)")
        folder.chmod(0o755)
    assert reading.stdout == f"{(run.run_id,)}\n", reading.stderr
    assert writing.returncode != 0
    assert "cannot be written" in writing.stderr


def test_an_unreadable_file_is_refused_with_a_sentence(run: RunSpec) -> None:
    with tempfile.TemporaryDirectory() as name:
        open_store(Path(name) / "x.db", write=True).close()
        Path(name).chmod(0o000)
        reading = as_nobody(Path(name), "open_store(path, write=False)")
        Path(name).chmod(0o755)
    assert "IsoflopError: The database" in reading.stderr


@pytest.mark.slow
def test_processes_that_create_the_same_store_at_once_all_succeed(path: Path) -> None:
    opening = snippet("sys.stdin.read()", "open_store(Path(sys.argv[1]), write=True).close()")
    started = [subprocess.Popen([*opening, path], stdin=subprocess.PIPE) for _ in range(4)]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait() for process in started] == [0] * 4
    with open_store(path, write=False) as store:
        assert store.sweep_names() == []


def test_turning_on_the_write_ahead_log_waits_for_its_turn(path: Path) -> None:
    open_store(path, write=True).close()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("pragma journal_mode = delete")
    other.execute("begin immediate")
    release = threading.Timer(0.3, other.close)
    release.start()
    with open_store(path, write=True) as store:
        assert store.sweep_names() == []
    release.join()


def test_a_database_that_stays_locked_is_an_error_with_a_hint(
    path: Path, run: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isoflop.store.connect.BUSY_TIMEOUT_SECONDS", 0.05)
    with open_store(path, write=True) as impatient:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(IsoflopError, match="locked"):
            impatient.save_plan(make_spec(), make_plan(run))
        other.close()


def test_the_store_needs_no_torch() -> None:
    # numpy is not in the list: sqlite-utils imports it wherever it is installed.
    check = "assert not {'torch', 'scipy', 'matplotlib'} & set(sys.modules)"
    subprocess.run(snippet(check), check=True)


def test_a_copy_of_the_file_alone_has_what_was_recorded_so_far(
    store: Store, path: Path, run: RunSpec, tmp_path: Path
) -> None:
    """As `cp isoflop.db` makes it while a sweep runs: without the log beside it."""

    def copied(name: str) -> Store:
        return open_store(Path(shutil.copy(path, tmp_path / name)), write=False)

    with copied("made.db") as made:
        assert made.sweep_names() == []
    store.save_plan(make_spec(), make_plan(run))
    with copied("planned.db") as planned:
        assert planned.pending("demo") == (run.run_id,)
    store.record(make_result(run))
    with copied("recorded.db") as recorded:
        assert recorded.statuses() == {run.run_id: Status.COMPLETED}
        assert recorded.cells("demo") == store.cells("demo")


def test_beside_a_reader_that_stays_a_writer_goes_on(planned: Store, path: Path, run: RunSpec) -> None:
    """What the reader still looks at cannot move into the file; it does with the next change."""
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("begin")
        reader.execute("select * from runs").fetchall()
        assert planned.record(make_result(run))
    planned.exclude(run.run_id, reason="why not")
    with open_store(Path(shutil.copy(path, path.with_name("copy.db"))), write=False) as copy:
        assert copy.exclusions() == {run.run_id: "why not"}
