"""What no sweep needs is found and freed, and nothing else is ever touched."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isoflop.artifacts.free import free
from isoflop.artifacts.inventory import Inventory, Kind, disk_usage
from isoflop.plan.types import Cell
from isoflop.rundir import RunDir, own_claim
from isoflop.spec import RunPolicy, SweepSpec
from tests.artifacts.artifact_examples import N_WEIGHT_BYTES, has_weights, inventory_of, leave_run, leave_runs
from tests.report_examples import make_cell, make_result, save_sweep

CELLS = [make_cell(1e12, width) for width in (16, 32, 48, 64)]
ASKED, FORMER = CELLS[:2], CELLS[2:]
IN_USE, UNUSED = "c0ffee0123456789", "0123456789abcdef"


def of_corpus(cell: Cell, fingerprint: str = IN_USE) -> Cell:
    run = cell.run.model_copy(update={"corpus_fingerprint": fingerprint})
    return type(cell)(cell.role, cell.budget_flops, run, cell.epochs)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A sweep that asks for ASKED now and asked for FORMER before; all have completed."""
    spec = SweepSpec(name="demo", budgets=(1e12,), run=RunPolicy(keep="best-per-budget"))
    save_sweep(tmp_path / "db", CELLS, map(make_result, CELLS), spec=spec)
    save_sweep(tmp_path / "db", ASKED, [], spec=spec)
    return tmp_path / "db"


@pytest.fixture
def artifacts(tmp_path: Path, db: Path) -> Path:
    leave_runs(tmp_path / "a", CELLS)
    return tmp_path / "a"


def found(inventory: Inventory) -> set[tuple[Kind, str]]:
    return {(item.kind, item.path.name) for item in inventory.items}


def former(artifacts: Path, index: int = 0) -> RunDir:
    return RunDir(artifacts / FORMER[index].run.run_id)


def reasons(inventory: Inventory) -> dict[str, str]:
    return {entry.path.name: entry.reason for entry in inventory.left_alone}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_runs_nobody_asks_for_and_weights_nobody_keeps_are_found_and_freed(artifacts: Path, db: Path) -> None:
    (best,) = {min(ASKED, key=lambda cell: make_result(cell).val_loss).run.run_id}
    (worse,) = {cell.run.run_id for cell in ASKED} - {best}
    before = snapshot(artifacts)
    inventory = inventory_of(artifacts, db)
    assert snapshot(artifacts) == before, "looking changes nothing"
    gone = {(Kind.RUN, cell.run.run_id) for cell in FORMER} | {(Kind.WEIGHTS, f"{worse}.weights.safetensors")}
    assert found(inventory) == gone
    assert inventory.left_alone == ()
    assert free(inventory) == inventory
    assert sorted(path.name for path in artifacts.iterdir()) == sorted([best, worse])
    assert has_weights(artifacts, CELLS) == {best}
    assert RunDir(artifacts / worse).read_result(worse) is not None
    assert found(inventory_of(artifacts, db)) == set()


def test_what_an_interrupted_training_for_weights_left_goes_unless_somebody_works_on_it(
    artifacts: Path, db: Path
) -> None:
    left, busy, unknown = ASKED[0].run.run_id, ASKED[1].run.run_id, "0123456789ab"
    for run_id in (left, busy, unknown):
        (artifacts / "again" / run_id / "checkpoint").mkdir(parents=True)
    RunDir(artifacts / "again" / busy).write_claim(own_claim(1))
    half_removed = artifacts / "again" / f".{left}.1.tmp"
    half_removed.mkdir()
    inventory = inventory_of(artifacts, db)
    in_again = {(item.kind, item.path) for item in inventory.items if item.path.parent.name == "again"}
    assert in_again == {(Kind.CHECKPOINT, artifacts / "again" / left), (Kind.TEMPORARY, half_removed)}
    assert reasons(inventory) == {busy: "a process works on it", unknown: "unknown to this database"}
    free(inventory)
    assert sorted(path.name for path in (artifacts / "again").iterdir()) == sorted([busy, unknown])


def test_checkpoints_of_ended_runs_go_and_those_of_pending_ones_stay(artifacts: Path, db: Path) -> None:
    pending = make_cell(1e12, 96)
    save_sweep(db, [*ASKED, pending], [], spec=SweepSpec(name="demo", budgets=(1e12,), run=RunPolicy(keep="all")))
    leave_run(artifacts, pending)
    for cell in (ASKED[0], pending):
        (artifacts / cell.run.run_id / "checkpoint" / f"{cell.run.run_id}.safetensors").write_bytes(b"state")
    assert {entry for entry in found(inventory_of(artifacts, db)) if entry[0] is not Kind.RUN} == {
        (Kind.CHECKPOINT, f"{ASKED[0].run.run_id}.safetensors")
    }


def test_leftovers_of_killed_processes_go(artifacts: Path, db: Path) -> None:
    run_dir = RunDir(artifacts / ASKED[0].run.run_id)
    (run_dir.path / ".job.json.4242.tmp").write_text("half")
    (run_dir.checkpoint_dir / ".x.safetensors.4242.tmp").write_text("half")
    (run_dir.path / ".hidden").write_text("mine")
    (artifacts / f".{'0' * 12}.4242.tmp").mkdir()
    (artifacts / "corpora" / f"building-{'0' * 32}").mkdir(parents=True)
    (artifacts / "corpora" / f".{UNUSED}.4242.tmp").mkdir()
    names = {name for kind, name in found(inventory_of(artifacts, db)) if kind is Kind.TEMPORARY}
    assert names == {
        ".job.json.4242.tmp", ".x.safetensors.4242.tmp", f".{'0' * 12}.4242.tmp", f"building-{'0' * 32}",
        f".{UNUSED}.4242.tmp",
    }  # fmt: skip
    free(inventory_of(artifacts, db))
    assert found(inventory_of(artifacts, db)) == set()
    assert (run_dir.path / ".hidden").exists()


def unknown_result(artifacts: Path) -> None:
    former(artifacts).path.joinpath("result-0123456789ab.json").write_text("{}")


def unrecorded_result(artifacts: Path) -> None:
    other = make_result(FORMER[0], finished_at="2027-01-01T00:00:00+00:00")
    former(artifacts).write_result(other)


def unreadable_result(artifacts: Path) -> None:
    former(artifacts).result_path(FORMER[0].run.run_id).write_text('{"schema_version": 2}')


def foreign_file(artifacts: Path) -> None:
    (former(artifacts).path / "notes.txt").write_text("mine")


def living_claim(artifacts: Path) -> None:
    former(artifacts).write_claim(own_claim(1))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (unknown_result, "unknown to this database"),
        (unrecorded_result, "a result that the database does not have"),
        (unreadable_result, "a result that the database does not have"),
        (foreign_file, "'notes.txt'"),
        (living_claim, "a process works on it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_run_directory_that_may_be_somebody_elses_is_left_alone(
    artifacts: Path, db: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(artifacts)
    before = snapshot(former(artifacts).path)
    inventory = free(inventory_of(artifacts, db))
    assert reason in reasons(inventory)[former(artifacts).path.name]
    assert snapshot(former(artifacts).path) == before
    assert not former(artifacts, 1).path.exists()


def test_a_result_whose_row_is_missing_is_left_alone(tmp_path: Path) -> None:
    """Recorded nowhere: the coordinator died between the worker's result and its row."""
    db, artifacts = tmp_path / "db", tmp_path / "a"
    save_sweep(db, CELLS, [])
    save_sweep(db, ASKED, [])
    leave_runs(artifacts, FORMER)
    assert free(inventory_of(artifacts, db)).items == ()
    assert all(former(artifacts, index).read_result(FORMER[index].run.run_id) for index in (0, 1))


def test_another_databases_runs_and_their_corpora_are_left_alone(artifacts: Path, db: Path) -> None:
    stranger = of_corpus(make_cell(1e13, 16))
    path = leave_run(artifacts, stranger)
    for fingerprint in (IN_USE, UNUSED):
        (artifacts / "corpora" / fingerprint).mkdir(parents=True)
    inventory = free(inventory_of(artifacts, db))
    assert reasons(inventory) == {path.name: "unknown to this database"}
    assert has_weights(artifacts, [stranger])
    assert [path.name for path in (artifacts / "corpora").iterdir()] == [IN_USE]


def test_the_corpus_of_a_run_that_is_asked_for_stays(tmp_path: Path) -> None:
    db, artifacts = tmp_path / "db", tmp_path / "a"
    save_sweep(db, [of_corpus(CELLS[0]), of_corpus(CELLS[1], UNUSED)], [])
    save_sweep(db, [of_corpus(CELLS[0])], [])
    for name in (IN_USE, UNUSED, "index", "mine"):
        (artifacts / "corpora" / name).mkdir(parents=True)
    assert found(free(inventory_of(artifacts, db))) == {(Kind.CORPUS, UNUSED)}
    assert sorted(path.name for path in (artifacts / "corpora").iterdir()) == [IN_USE, "index", "mine"]


def test_other_names_and_links_are_never_touched(artifacts: Path, db: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    leave_runs(elsewhere, FORMER)
    (elsewhere / UNUSED).mkdir()
    former(artifacts).path.rename(artifacts / "aside")
    former(artifacts).path.symlink_to(elsewhere / former(artifacts).path.name)
    (artifacts / "corpora").symlink_to(elsewhere)
    for name in ("0123456789AB", "0123456789abc", "peaks", "my-data"):
        (artifacts / name).mkdir()
    worse = RunDir(artifacts / max(ASKED, key=lambda cell: make_result(cell).val_loss).run.run_id)
    worse.checkpoint_dir.rename(elsewhere / "checkpoint")
    worse.checkpoint_dir.symlink_to(elsewhere / "checkpoint")
    before = snapshot(elsewhere)
    assert found(free(inventory_of(artifacts, db))) == {(Kind.RUN, FORMER[1].run.run_id)}
    assert snapshot(elsewhere) == before
    assert {"0123456789AB", "0123456789abc", "peaks", "my-data", "aside"} <= {p.name for p in artifacts.iterdir()}


def test_what_is_taken_up_after_the_look_is_not_freed(artifacts: Path, db: Path) -> None:
    inventory = inventory_of(artifacts, db)
    with former(artifacts).lock():
        freed = free(inventory)
    assert reasons(freed) == {former(artifacts).path.name: "a process works on it"}
    assert former(artifacts).read_result(FORMER[0].run.run_id) is not None
    assert len(freed.items) == len(inventory.items) - 1


def test_sizes_are_those_that_du_counts(artifacts: Path) -> None:
    for path in (artifacts, former(artifacts).path):
        done = subprocess.run(["du", "-s", "-B1", path], capture_output=True, text=True, check=True)
        assert disk_usage(path) == int(done.stdout.split()[0])
    assert disk_usage(former(artifacts).checkpoint_dir) >= N_WEIGHT_BYTES


FREE = """
import sys
from pathlib import Path
from isoflop.artifacts.free import free
from tests.artifacts.artifact_examples import inventory_of
inventory = inventory_of(Path(sys.argv[1]), Path(sys.argv[2]))
print("ready", flush=True)
free(inventory)
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.004, 0.012, 0.03])
def test_a_removal_killed_at_any_instant_leaves_a_directory_whole_or_not_at_all(
    artifacts: Path, db: Path, delay: float
) -> None:
    attempt = former(artifacts).attempt_dir(1)
    attempt.mkdir()
    for number in range(3000):
        (attempt / f"{number}.txt").touch()
    whole = snapshot(former(artifacts).path)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", FREE, str(artifacts), str(db)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "ready\n"
        time.sleep(delay)
        with contextlib.suppress(ProcessLookupError):
            p.send_signal(signal.SIGKILL)
    if former(artifacts).path.exists():
        assert snapshot(former(artifacts).path) == whole
    free(inventory_of(artifacts, db))
    assert {path.name for path in artifacts.iterdir()} == {cell.run.run_id for cell in ASKED}
