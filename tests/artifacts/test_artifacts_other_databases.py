"""A folder of artifacts that several databases train into: none frees what another keeps."""

import os
import re
from pathlib import Path

import pytest

from isoflop.artifacts.inventory import Kind
from isoflop.artifacts.other_databases import DATABASES, read_other_databases, sign_in
from isoflop.artifacts.weights import WeightKeeper
from isoflop.errors import IsoflopError
from isoflop.spec import Keep, RunPolicy, SweepSpec
from isoflop.store import open_store
from tests.artifacts.artifact_examples import has_weights, inventory_of, leave_runs
from tests.report_examples import make_cell, make_result, save_sweep

CELLS = [make_cell(1e12, width) for width in (16, 32, 48)]
IDS = [cell.run.run_id for cell in CELLS]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """A folder with three completed runs that two databases have recorded: one keeps all weights, one none."""
    folder = tmp_path / "artifacts"
    leave_runs(folder, CELLS)
    for name, keep in (("keeps", "all"), ("frees", "none")):
        save(tmp_path / name, keep)
        sign_in(folder, tmp_path / name)
    return folder


def save(db: Path, keep: Keep) -> None:
    spec = SweepSpec(name="demo", budgets=(1e12,), run=RunPolicy(keep=keep))
    save_sweep(db, CELLS, [make_result(cell) for cell in CELLS], spec=spec)


def free_as_a_run_does(artifacts: Path, db: Path) -> set[str]:
    """Ids of the runs whose weights are left after a sweep of `db`."""
    with open_store(db, write=True) as store:
        keeper = WeightKeeper(store, "demo", "none", artifacts)
        for cell in CELLS:
            keeper.take(make_result(cell))
            keeper.free()
        keeper.free_all()
    return has_weights(artifacts, CELLS)


def test_each_database_knows_what_the_other_wants(artifacts: Path, tmp_path: Path) -> None:
    wanted = read_other_databases(artifacts, tmp_path / "frees")
    assert wanted.asked_for == dict.fromkeys(IDS, tmp_path / "keeps")
    assert wanted.weights == frozenset(IDS)
    assert wanted.corpora == {CELLS[0].run.corpus_fingerprint}
    assert read_other_databases(artifacts, tmp_path / "keeps").weights == frozenset()


def test_a_sweep_frees_nothing_that_another_database_keeps(artifacts: Path, tmp_path: Path) -> None:
    assert free_as_a_run_does(artifacts, tmp_path / "frees") == set(IDS)


def test_a_database_that_was_deleted_wants_nothing(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "keeps").unlink()
    assert free_as_a_run_does(artifacts, tmp_path / "frees") == set()


def test_clean_leaves_what_another_database_keeps(artifacts: Path, tmp_path: Path) -> None:
    assert inventory_of(artifacts, tmp_path / "frees").items == ()
    (tmp_path / "keeps").unlink()
    assert {item.kind for item in inventory_of(artifacts, tmp_path / "frees").items} == {Kind.WEIGHTS}


def test_clean_leaves_the_runs_that_another_database_asks_for(artifacts: Path, tmp_path: Path) -> None:
    spec = SweepSpec(name="demo", budgets=(1e12,), run=RunPolicy(keep="none"))
    save_sweep(tmp_path / "frees", CELLS[:1], [], spec=spec)
    inventory = inventory_of(artifacts, tmp_path / "frees")
    assert inventory.items == ()
    assert {entry.path.name for entry in inventory.left_alone} == set(IDS[1:])
    assert all(str(tmp_path / "keeps") in entry.reason for entry in inventory.left_alone)
    (tmp_path / "keeps").unlink()
    runs = [item.path.name for item in inventory_of(artifacts, tmp_path / "frees").items if item.kind is Kind.RUN]
    assert sorted(runs) == sorted(IDS[1:])


def test_where_another_database_cannot_be_read_nothing_is_freed(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "keeps").write_bytes(b"no database" * 100)
    assert free_as_a_run_does(artifacts, tmp_path / "frees") == set(IDS)
    with pytest.raises(IsoflopError, match="cannot be read for what it keeps") as caught:
        inventory_of(artifacts, tmp_path / "frees")
    assert str(artifacts / DATABASES) in caught.value.hint


def test_a_database_on_a_disk_that_is_not_mounted_keeps_everything(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    save(tmp_path / "disk" / "far", "all")
    sign_in(artifacts, tmp_path / "disk" / "far")
    (tmp_path / "keeps").unlink()
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    assert free_as_a_run_does(artifacts, tmp_path / "frees") == set(IDS)


def test_a_database_that_signs_in_while_another_trains_is_asked(artifacts: Path, tmp_path: Path) -> None:
    [note] = [note for note in (artifacts / DATABASES).iterdir() if str(tmp_path / "keeps") in note.read_text()]
    note.unlink()
    with open_store(tmp_path / "frees", write=True) as store:
        keeper = WeightKeeper(store, "demo", "none", artifacts)
        for cell in CELLS:
            keeper.take(make_result(cell))
            keeper.free()
            sign_in(artifacts, tmp_path / "keeps")
        keeper.free_all()
    assert has_weights(artifacts, CELLS) == set(IDS[1:])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b'{"path": 7}', b'{"path": ""}', b"\xff", b"[" * 100_000, b" " * 10**6, None,
     b'{"path": "' + b"a" * 5000 + b'"}', b'{"path": "a\\u0000"}', b"[" * 3000, b"1" * 4301,
     b'{"path": "/none/isoflop.db"}'],
    ids=["empty", "half", "list", "number", "wrong", "nowhere", "bytes", "deep", "long", "pipe", "endless", "null",
         "not so deep", "digits", "unmounted"],
)  # fmt: skip
def test_a_damaged_note_keeps_everything_and_is_named(artifacts: Path, tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "keeps").unlink()
    note = artifacts / DATABASES / "0123456789abcdef.json"
    if content is None:
        os.mkfifo(note)
    else:
        note.write_bytes(content)
    assert free_as_a_run_does(artifacts, tmp_path / "frees") == set(IDS)
    with pytest.raises(IsoflopError, match=r"cannot be read for what it keeps: .*[^.]\.$") as caught:
        inventory_of(artifacts, tmp_path / "frees")
    assert str(note) in caught.value.hint
    assert not re.search("Errno|recursion|Expecting|codec|max_str_digits", caught.value.message)


def test_a_pipe_in_place_of_a_database_is_not_waited_for(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "keeps").unlink()
    os.mkfifo(tmp_path / "keeps")
    assert free_as_a_run_does(artifacts, tmp_path / "frees") == set(IDS)


def test_signing_in_again_mends_a_damaged_note(artifacts: Path, tmp_path: Path) -> None:
    for note in (artifacts / DATABASES).iterdir():
        note.write_bytes(b"")
    sign_in(artifacts, tmp_path / "keeps")
    sign_in(artifacts, tmp_path / "frees")
    assert read_other_databases(artifacts, tmp_path / "frees").weights == frozenset(IDS)


def test_what_is_no_note_is_passed_over(artifacts: Path, tmp_path: Path) -> None:
    (artifacts / DATABASES / "mine.json").write_bytes(b"{")
    assert read_other_databases(artifacts, tmp_path / "frees").weights == frozenset(IDS)


def test_the_same_database_under_another_name_is_no_other(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "keeps").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "frees")
    assert read_other_databases(artifacts, tmp_path / "link").asked_for == {}
