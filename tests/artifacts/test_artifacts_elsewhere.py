"""A folder of artifacts that several databases train into: none frees what another keeps."""

from pathlib import Path

import pytest

from isoflop.artifacts.elsewhere import DATABASES, read_elsewhere, sign_in
from isoflop.artifacts.inventory import Kind
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
    wanted = read_elsewhere(artifacts, tmp_path / "frees")
    assert wanted.asked_for == dict.fromkeys(IDS, tmp_path / "keeps")
    assert wanted.weights == frozenset(IDS)
    assert wanted.corpora == {CELLS[0].run.corpus_fingerprint}
    assert read_elsewhere(artifacts, tmp_path / "keeps").weights == frozenset()


def test_a_sweep_frees_nothing_that_another_database_keeps(artifacts: Path, tmp_path: Path) -> None:
    assert free_as_a_run_does(artifacts, tmp_path / "frees") == set(IDS)


def test_a_database_that_is_gone_wants_nothing(artifacts: Path, tmp_path: Path) -> None:
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
    with pytest.raises(IsoflopError, match="trains into") as caught:
        inventory_of(artifacts, tmp_path / "frees")
    assert str(artifacts / DATABASES) in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"path": 7}', b"\xff"])
def test_a_note_that_names_no_database_is_passed_over(artifacts: Path, tmp_path: Path, content: bytes) -> None:
    (artifacts / DATABASES / "0123456789abcdef.json").write_bytes(content)
    assert read_elsewhere(artifacts, tmp_path / "frees").weights == frozenset(IDS)


def test_the_same_database_under_another_name_is_no_other(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "keeps").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "frees")
    assert read_elsewhere(artifacts, tmp_path / "link").asked_for == {}
