"""`isoflop run --again`: weights that were not kept are had by training once more."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from isoflop.rundir import RunDir
from tests.commands import isoflop, isoflop_here

pytestmark = pytest.mark.slow  # sweeps are trained


def kept(folder: Path) -> set[str]:
    return {path.name.split(".")[0] for path in (folder / "isoflop-artifacts").rglob("*.weights.safetensors")}


def gone(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "isoflop.db")) as db:
        runs = [run_id for (run_id,) in db.execute("select run_id from results order by achieved_flops, run_id")]
    return [run_id for run_id in runs if run_id not in kept(folder)]


def recorded(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "isoflop.db")) as db:
        return db.execute("select * from results order by run_id").fetchall()


def test_the_weights_are_back_the_loss_has_the_same_bits_and_nothing_frees_them(own: Path) -> None:
    first, second = gone(own)[:2]
    before, best = recorded(own), kept(own)
    done = isoflop_here("run", "tiny.toml", "--again", first, "--again", second[:6], "--json", folder=own)
    repeats = json.loads(done.stdout)["repeats"]
    assert [repeat["run_id"] for repeat in repeats] == [first, second]
    assert [repeat["difference"] for repeat in repeats] == [0.0, 0.0]
    assert recorded(own) == before
    assert kept(own) == best | {first, second}
    assert not (own / "isoflop-artifacts" / "again").exists()
    isoflop("clean", "--yes", folder=own)
    isoflop("run", "tiny.toml", folder=own)
    assert kept(own) == best | {first, second}
    isoflop("export", "tiny.toml", "--run", first, "--out", "model", folder=own)
    said = isoflop("run", "tiny.toml", "--again", first, folder=own).stdout
    assert "its weights are there already" in said
    (own / "isoflop-artifacts" / first / "keep").unlink()
    isoflop("clean", "--yes", folder=own)
    assert kept(own) == best | {second}


def test_a_training_that_is_killed_goes_on_and_has_the_same_bits(own: Path) -> None:
    run_id = gone(own)[-1]
    scratch = RunDir(own / "isoflop-artifacts" / "again" / run_id)
    command = [sys.executable, "-m", "isoflop", "run", "tiny.toml", "--again", run_id]
    with subprocess.Popen(command, cwd=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not scratch.events_path.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    if scratch.path.exists():  # else it was faster than the signal
        assert run_id not in kept(own)
    done = isoflop("run", "tiny.toml", "--again", run_id, folder=own)
    assert run_id in kept(own)
    assert any(said in done.stdout for said in ("equal to the recorded one in every bit", "there already"))
    assert not scratch.path.exists()


def test_damaged_weights_are_trained_again_as_the_message_about_them_says(own: Path) -> None:
    (run_id,) = sorted(kept(own))[:1]
    weights = RunDir(own / "isoflop-artifacts" / run_id).weights_path(run_id)
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    for command in (["export", "--out", "model"], ["sample"]):
        done = isoflop(command[0], "tiny.toml", "--run", run_id, *command[1:], folder=own, code=1)
        assert f"`isoflop run tiny.toml --again {run_id}`" in done.stderr
    (repeat,) = json.loads(isoflop("run", "tiny.toml", "--again", run_id, "--json", folder=own).stdout)["repeats"]
    assert repeat["difference"] == 0.0 and repeat["weights"] is not None
    isoflop("export", "tiny.toml", "--run", run_id, "--out", "model", folder=own)


def test_what_another_training_left_beside_it_stays(own: Path) -> None:
    """Another sweep's at work, and one that was interrupted and goes on from its checkpoint."""
    run_id, other = gone(own)[:2]
    scratch = RunDir(own / "isoflop-artifacts" / "again" / other)
    scratch.checkpoint_dir.mkdir(parents=True)
    scratch.checkpoint_path(other).write_bytes(b"state")
    isoflop("run", "tiny.toml", "--again", run_id, folder=own)
    assert scratch.checkpoint_path(other).read_bytes() == b"state"
    assert [path.name for path in scratch.path.parent.iterdir()] == [other]
    isoflop("clean", "--yes", folder=own)
    assert not scratch.path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--again", "0000"], "has no run"),
        (["--again", "ab"], "not a run id"),
        (["--again", "RUN", "--retry"], "nothing else"),
        (["--again", "RUN", "--confirm", "1e10"], "nothing else"),
    ],
)
def test_what_cannot_be_trained_again_is_one_sentence(swept: Path, arguments: list[str], message: str) -> None:
    named = [gone(swept)[0] if argument == "RUN" else argument for argument in arguments]
    assert message in isoflop("run", "tiny.toml", *named, folder=swept, code=1).stderr


def test_a_text_that_has_changed_since_is_named(own: Path) -> None:
    (own / "text" / "0.txt").write_text("other text\n")
    for manifest in (own / "isoflop-artifacts" / "corpora").rglob("manifest.json"):
        manifest.unlink()
    done = isoflop("run", "tiny.toml", "--again", gone(own)[0], folder=own, code=1)
    assert "the text gives" in done.stderr and "Restore the text" in done.stderr
