"""No room, or no permission to write: one sentence, finished results safe, and the same command goes on."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import SWEEP, Sandbox
from tests.faults.mounts import Mounts
from tests.faults.said import is_sentence
from tests.program.program_examples import write_sweep

REPORT_FILES = {"index.html", "report.md", "report.json", "frontier.csv", "figure.svg", "figure.png"}


def test_artifacts_without_room_stop_the_sweep_and_room_lets_it_go_on(
    sandbox: Sandbox, mounts: Mounts, undisturbed: Sandbox
) -> None:
    mounts.small("isoflop-artifacts", 8000)
    mounts.run("plan", "tiny.toml")
    mounts.fill("isoflop-artifacts", leave=150)
    _, err = mounts.run("run", "tiny.toml", "--workers", "1", code=1)
    assert is_sentence(err) and "No space left" in err and "Make room" in err
    before = sandbox.losses()
    assert 0 < len(before) < 6
    assert sandbox.rows("select count(*) from results where status <> 'completed'") == [(0,)]

    mounts.make_room("isoflop-artifacts")
    mounts.run("run", "tiny.toml", "--workers", "2")
    assert sandbox.losses() == undisturbed.losses()
    assert before.items() <= sandbox.losses().items()
    assert not list(mounts.seen("isoflop-artifacts").rglob("*.tmp"))


def test_a_program_that_fills_the_disk_stops_the_sweep_and_its_run_stays_pending(
    sandbox: Sandbox, mounts: Mounts
) -> None:
    body = """
    if did == "greedy" and not os.path.exists("room"):
        with open(os.environ["ISOFLOP_CHECKPOINT_DIR"] + "/state", "wb") as file:
            while True: file.write(bytes(1 << 16)); file.flush()
    report()
    """
    write_sweep(sandbox.folder, ["greedy", "one", "two", "three"], body)
    mounts.small("isoflop-artifacts", 2000)
    _, err = mounts.run("run", "sweep.toml", "--device", "cpu", "--workers", "1", code=1)
    assert is_sentence(err) and "No space left" in err and "Make room" in err
    assert sandbox.rows("select count(*) from results where status <> 'completed'") == [(0,)]
    (sandbox.folder / "room").touch()
    for state in mounts.seen("isoflop-artifacts").glob("*/checkpoint/*/state"):
        state.unlink()
    mounts.run("run", "sweep.toml", "--device", "cpu", "--workers", "1")
    assert sandbox.rows("select count(*) from results where status = 'completed'") == [(4,)]


def test_artifacts_without_room_for_the_corpus_are_one_sentence(sandbox: Sandbox, mounts: Mounts) -> None:
    mounts.small("isoflop-artifacts", 100)
    _, err = mounts.run("run", "tiny.toml", code=1)
    assert is_sentence(err) and "No space left" in err
    assert not list(mounts.seen("isoflop-artifacts").glob("corpora/building-*"))


def test_a_database_without_room_loses_no_finished_run(drawn: Sandbox, mounts: Mounts) -> None:
    sweep = drawn.folder / "tiny.toml"  # of so many runs that the log between two checkpoints matters little
    sweep.write_text(sweep.read_text().replace("[grid]", "[grid]\nseeds = 6"))
    mounts.small("store", 4000)
    mounts.run("plan", "tiny.toml", "--db", "store/x.db")
    mounts.fill("store", leave=100)
    _, err = mounts.run("run", "tiny.toml", "--db", "store/x.db", code=1)
    assert is_sentence(err) and "x.db" in err and "disk is full" in err
    kept = {path: path.read_bytes() for path in drawn.folder.glob("isoflop-artifacts/*/result-*.json")}
    assert 0 < len(kept) < 126

    mounts.make_room("store")
    mounts.run("run", "tiny.toml", "--db", "store/x.db")
    for file in mounts.seen("store").glob("x.db*"):
        shutil.copy(file, drawn.folder)
    drawn.run("run", "tiny.toml", "--db", "untroubled.db", "--artifacts", "elsewhere")
    assert drawn.losses("x.db") == drawn.losses("untroubled.db")
    assert len(drawn.losses("x.db")) == 126
    assert {path: path.read_bytes() for path in kept} == kept  # taken as they are, not made again


def test_a_database_that_cannot_even_begin_is_one_sentence(drawn: Sandbox, mounts: Mounts) -> None:
    mounts.small("store", 16)
    for command in ("plan", "run"):
        _, err = mounts.run(command, "tiny.toml", "--db", "store/x.db", code=1)
        assert is_sentence(err) and "x.db" in err


@pytest.mark.usefixtures("all_drawn")
def test_a_report_without_room_is_one_sentence_and_leaves_no_half_file(mounts: Mounts) -> None:
    mounts.small("out", 60)
    _, err = mounts.run("report", "tiny.toml", "--out", "out", code=1)
    assert is_sentence(err) and "'out'" in err and "No space left" in err
    assert {path.name for path in mounts.seen("out").iterdir()} < REPORT_FILES

    mounts.small("out", 20_000)
    mounts.run("report", "tiny.toml", "--out", "out")
    assert {path.name for path in mounts.seen("out").iterdir()} == REPORT_FILES


@pytest.mark.parametrize("folder", ["isoflop-artifacts", "store", "out"])
def test_a_read_only_folder_is_one_sentence_and_changes_nothing(drawn: Sandbox, mounts: Mounts, folder: str) -> None:
    for name in ("isoflop-artifacts", "store", "out"):
        (drawn.folder / name).mkdir()
    mounts.run("plan", "tiny.toml", "--db", "store/x.db")
    if folder == "out":
        mounts.run("run", "tiny.toml", "--db", "store/x.db")
    command = ["report", "--out", "out"] if folder == "out" else ["run"]
    command = [command[0], "tiny.toml", "--db", "store/x.db", *command[1:]]
    mounts.read_only(folder)
    _, err = mounts.run(*command, code=1)
    assert is_sentence(err) and "ead-only" in err and folder in err
    mounts.writable(folder)
    mounts.run(*command)


def test_a_read_only_database_can_be_fitted(drawn: Sandbox, mounts: Mounts) -> None:
    (drawn.folder / "store").mkdir()
    mounts.run("run", "tiny.toml", "--db", "store/x.db")
    mounts.read_only("store")
    out, _ = mounts.run("fit", "tiny.toml", "--db", "store/x.db", "--json")
    assert json.loads(out)["frontier"]["n_profiles"] == 3


def limited(folder: Path, largest_file: int, *arguments: str) -> str:
    """stderr of the command, which may write no file beyond so many bytes, as under `ulimit -f`."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    done = subprocess.run(
        [sys.executable, "-m", "isoflop", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 1, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stderr


def test_a_limit_on_file_sizes_that_the_database_meets_is_one_sentence(drawn: Sandbox, undrawn: Sandbox) -> None:
    for command in ("plan", "run"):
        assert is_sentence(limited(drawn.folder, 30_000, command, "tiny.toml"))
    drawn.run("run", "tiny.toml")
    assert drawn.losses() == undrawn.losses()


def test_a_limit_on_file_sizes_that_a_worker_meets_leaves_its_run_pending(sandbox: Sandbox) -> None:
    """Weights of about half a million parameters are the only file of that size."""
    large = SWEEP.replace("[6e8, 1.2e9]", "[4e9]").replace("12e3", "5e5").replace("sizes = 3", "sizes = 1")
    (sandbox.folder / "tiny.toml").write_text(large)
    err = limited(sandbox.folder, 1_000_000, "run", "tiny.toml", "--workers", "1")
    assert is_sentence(err) and "File too large" in err
    assert sandbox.rows("select count(*) from results") == [(0,)]
    sandbox.run("run", "tiny.toml", "--workers", "1")
    assert len(sandbox.losses()) == 1
