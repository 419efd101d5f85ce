"""Files that were cut, swapped, overwritten or deleted: noticed, never mixed in, and made again to the same bits."""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.conftest import SECONDS_OF_WORK, SWEEP, Sandbox, make_sandbox
from tests.faults.processes import freeze, has_stepped, reap, thaw
from tests.faults.said import is_sentence

# Three runs long enough to be caught in the middle.
LONG = SWEEP.replace("[6e8, 1.2e9]", f"[{SECONDS_OF_WORK}]")
ONE_BUDGET = SWEEP.replace("[6e8, 1.2e9]", "[6e8]")


def forget(sandbox: Sandbox, n_runs: int) -> list[str]:
    """Make some runs pending again, in the database and on disk."""
    runs = [str(run_id) for (run_id,) in sandbox.rows("select run_id from cells order by id desc")][:n_runs]
    with closing(sqlite3.connect(sandbox.folder / "isoflop.db")) as connection, connection:
        for run_id in runs:
            connection.execute("delete from curves where run_id = ?", [run_id])
            connection.execute("delete from results where run_id = ?", [run_id])
            connection.execute("delete from attempts where run_id = ?", [run_id])
            shutil.rmtree(run_folder(sandbox, run_id), ignore_errors=True)
    return runs


def run_folder(sandbox: Sandbox, run_id: str) -> Path:
    return sandbox.folder / "isoflop-artifacts" / run_id


def only_shard(sandbox: Sandbox, side: str) -> Path:
    [path] = sandbox.folder.glob(f"isoflop-artifacts/corpora/*/{side}-00000.bin")
    return path


def n_completed(out: str) -> int:
    return int(json.loads(out)["runs"]["completed"])


def interrupted_in_threes(sandbox: Sandbox) -> list[Path]:
    """The checkpoints of three runs, interrupted in the middle: each worker is held until all have taken steps."""
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "3")
    held: set[int] = set()

    def hold() -> bool:
        stepping = [pid for pid, run in sandbox.claimed().items() if has_stepped(sandbox, run)]
        held.update(pid for pid in stepping if pid not in held and freeze(pid))
        return len(held) == 3

    sandbox.wait_for(hold)
    coordinator.send_signal(signal.SIGTERM)
    for pid in held:
        os.kill(pid, signal.SIGTERM)
        thaw(pid)
    assert reap(coordinator) == 143
    found = sorted(sandbox.folder.glob("isoflop-artifacts/*/checkpoint/*.safetensors"))
    return [path for path in found if path.name == f"{path.parent.parent.name}.safetensors"]


@pytest.mark.slow(25)
def test_unusable_checkpoints_are_ignored_and_their_runs_begin_again(tmp_path: Path) -> None:
    """Of three interrupted runs: a checkpoint cut short, one of another run, one of noise."""
    sandbox, undisturbed = (make_sandbox(made(tmp_path / name), LONG) for name in ("damaged", "undisturbed"))
    undisturbed.run("run", "tiny.toml", "--workers", "2")
    saved = interrupted_in_threes(sandbox)
    assert len(saved) == 3
    saved[1].write_bytes(saved[0].read_bytes())
    os.truncate(saved[0], saved[0].stat().st_size // 2)
    saved[2].write_bytes(bytes(range(256)) * 100)
    out, _ = sandbox.run("run", "tiny.toml", "--workers", "2", "--json")
    assert n_completed(out) == 3
    assert sandbox.losses() == undisturbed.losses()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def cut(content: bytes, other: bytes) -> bytes:
    return content[: len(content) // 2]


def garbage(content: bytes, other: bytes) -> bytes:
    return b"\xff\x00 no JSON"


def of_another_run(content: bytes, other: bytes) -> bytes:
    return other


def of_an_unknown_shape(content: bytes, other: bytes) -> bytes:
    return json.dumps({**json.loads(content), "val_loss": -1.0, "surprise": 1}).encode()


def test_damaged_result_files_are_no_results(all_drawn: Sandbox, undrawn: Sandbox) -> None:
    """The database is lost as well: what is left on disk must speak for itself."""
    (all_drawn.folder / "isoflop.db").unlink()
    files = sorted(all_drawn.folder.glob("isoflop-artifacts/*/result-*.json"))
    damages = [cut, garbage, of_another_run, of_an_unknown_shape]
    kept = {path: path.read_bytes() for path in files[len(damages) :]}
    for path, damage in zip(files, damages, strict=False):
        path.write_bytes(damage(path.read_bytes(), files[-1].read_bytes()))
    out, _ = all_drawn.run("run", "tiny.toml", "--json")
    assert n_completed(out) == 21
    assert all_drawn.losses() == undrawn.losses()
    assert [json.loads(path.read_text())["attempt"] for path in files] == [2] * 4 + [1] * 17
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_result_of_a_newer_version_is_never_overwritten(all_drawn: Sandbox) -> None:
    (all_drawn.folder / "isoflop.db").unlink()
    newer = min(all_drawn.folder.glob("isoflop-artifacts/*/result-*.json"))
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "schema_version": 2}))
    before = newer.read_bytes()
    _, err = all_drawn.run("run", "tiny.toml", code=1)
    assert is_sentence(err) and str(newer) in err and "newer isoflop" in err
    assert newer.read_bytes() == before


def test_a_job_file_of_garbage_is_written_anew(drawn: Sandbox, undrawn: Sandbox) -> None:
    drawn.run("plan", "tiny.toml")
    for (run_id,) in drawn.rows("select run_id from cells"):
        run_folder(drawn, str(run_id)).mkdir(parents=True)
        (run_folder(drawn, str(run_id)) / "job.json").write_bytes(b"\xff{")
        (run_folder(drawn, str(run_id)) / "claim.json").write_bytes(b"[]")
        (run_folder(drawn, str(run_id)) / "events.jsonl").write_bytes(b'{"event": "resu')
    out, _ = drawn.run("run", "tiny.toml", "--json")
    assert n_completed(out) == 21
    assert drawn.losses() == undrawn.losses()


def planted(folder: Path, name: str, content: bytes) -> Path:
    path = folder / f".{name}.99999.tmp"
    path.write_bytes(content)
    return path


def test_temporary_files_of_the_dead_are_never_read_and_do_not_stay(done: Sandbox, undisturbed: Sandbox) -> None:
    """What a killed writer leaves may look whole: a result with a better loss, a checkpoint, a job."""
    [run_id] = forget(done, 1)
    donor, folder = run_folder(undisturbed, run_id), run_folder(done, run_id)
    (folder / "checkpoint").mkdir(parents=True)
    better = {**json.loads((donor / f"result-{run_id}.json").read_text()), "val_loss": 0.001}
    left = [
        planted(folder, f"result-{run_id}.json", json.dumps(better).encode()),
        planted(folder, "job.json", (donor / "job.json").read_bytes()),
        planted(folder / "checkpoint", f"{run_id}.safetensors", b"half a checkpoint"),
    ]
    corpora = done.folder / "isoflop-artifacts" / "corpora"
    left.append(planted(corpora / "index", f"{'0' * 32}.json", b'{"schema_version": 1, "fing'))
    if (peaks := done.folder / "isoflop-artifacts" / "peaks").exists():
        left.append(planted(peaks, "0123456789ab.json", b"{"))
    done.run("run", "tiny.toml")
    assert done.losses() == undisturbed.losses()
    assert not [path for path in left if path.exists()]


def delete_all(sandbox: Sandbox) -> None:
    """In one step: file by file, a worker that writes meanwhile would put some back."""
    aside = (sandbox.folder / "isoflop-artifacts").rename(sandbox.folder / "vanished")
    shutil.rmtree(aside)


def cut_and_delete(sandbox: Sandbox) -> None:
    os.truncate(only_shard(sandbox, "train"), 1000)
    only_shard(sandbox, "heldout").unlink()


def flip_bytes(sandbox: Sandbox) -> None:
    """The same size, other tokens: as after a fault of the disk."""
    path = only_shard(sandbox, "train")
    content = bytearray(path.read_bytes())
    for at in range(0, len(content), 64):
        content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [delete_all, cut_and_delete, flip_bytes], ids=lambda f: f.__name__)
def test_damaged_artifacts_are_built_again_and_give_the_same_bits(
    done: Sandbox, undisturbed: Sandbox, damage: Callable[[Sandbox], None]
) -> None:
    runs = forget(done, 1)
    damage(done)
    out, _ = done.run("run", "tiny.toml", "--json")
    assert n_completed(out) == 6
    assert {path.parent.name for path in done.folder.glob("isoflop-artifacts/*/attempt-1")} >= set(runs)
    assert done.losses() == undisturbed.losses()


def test_without_its_artifacts_a_finished_sweep_is_still_finished(done: Sandbox, undisturbed: Sandbox) -> None:
    delete_all(done)
    out, _ = done.run("run", "tiny.toml", "--json")
    assert n_completed(out) == 6 and json.loads(out)["flops_spent"] == 0
    assert done.losses() == undisturbed.losses()
    assert not list(done.folder.glob("isoflop-artifacts/*/claim.json"))


@pytest.mark.parametrize("damage", [delete_all, cut_and_delete], ids=lambda f: f.__name__)
def test_artifacts_that_vanish_under_a_running_sweep_cost_time_and_nothing_else(
    sandbox: Sandbox, undisturbed: Sandbox, damage: Callable[[Sandbox], None]
) -> None:
    (sandbox.folder / "tiny.toml").write_text(ONE_BUDGET)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "2")
    sandbox.wait_for(lambda: [run for run in sandbox.claimed().values() if has_stepped(sandbox, run)])
    damage(sandbox)
    _, err = coordinator.communicate(timeout=120)
    assert coordinator.returncode in (0, 1), err
    assert coordinator.returncode == 0 or is_sentence(err)
    assert sandbox.rows("select status, reason from results where status <> 'completed'") == []
    out, _ = sandbox.run("run", "tiny.toml", "--json")
    assert n_completed(out) == 3
    assert len(sandbox.losses()) == 3 and sandbox.losses().items() <= undisturbed.losses().items()


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_database_that_vanishes_under_a_running_sweep_is_missed_and_made_again(
    sandbox: Sandbox, undisturbed: Sandbox, how: str
) -> None:
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "2")
    sandbox.wait_for(sandbox.claimed)
    for file in sandbox.folder.glob("isoflop.db*"):
        file.unlink()
    if how == "replaced":
        sandbox.run("plan", "tiny.toml")
    _, err = coordinator.communicate(timeout=120)
    assert coordinator.returncode == 1
    assert is_sentence(err) and "deleted or replaced" in err
    trained = len(list(sandbox.folder.glob("isoflop-artifacts/*/result-*.json")))
    assert trained > 0
    out, _ = sandbox.run("run", "tiny.toml", "--json")
    assert n_completed(out) == 6 and sandbox.losses() == undisturbed.losses()
    assert sandbox.rows("select count(*) from attempts") == [(6 - trained,)]


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(drawn: Sandbox) -> None:
    drawn.run("plan", "tiny.toml")
    with closing(sqlite3.connect(drawn.folder / "isoflop.db")) as connection, connection:
        [(table,)] = connection.execute(
            "select name from sqlite_master where name like '%migrations%' and type='table'"
        )
        columns = [column[1] for column in connection.execute(f"pragma table_info({table})")]
        row = dict(zip(columns, connection.execute(f"select * from {table}").fetchone(), strict=True))
        row = {**row, "name": "m9999_from_the_future", **({"id": 9999} if "id" in row else {})}
        connection.execute(f"insert into {table} values ({','.join('?' * len(row))})", list(row.values()))
    before = (drawn.folder / "isoflop.db").read_bytes()
    for command in ("plan", "run", "fit", "report"):
        _, err = drawn.run(command, "tiny.toml", code=1)
        assert is_sentence(err) and "newer isoflop" in err and "m9999_from_the_future" in err
        assert (drawn.folder / "isoflop.db").read_bytes() == before


def test_a_corpus_that_changed_gives_new_runs_and_old_results_are_kept_apart(
    done: Sandbox, undisturbed: Sandbox
) -> None:
    """Between plan and run, too: what is trained is the text as it is when the run begins."""
    old = undisturbed.losses()
    (done.folder / "tiny.toml").write_text(ONE_BUDGET)
    for addition in ("planned with this", "and trained with this"):
        with (done.folder / "text" / "00.txt").open("a") as file:
            file.write(f"\n{addition} line added")
        if "planned" in addition:
            done.run("plan", "tiny.toml", "--replan")
    out, _ = done.run("run", "tiny.toml", "--json")
    assert n_completed(out) == 3
    losses = done.losses()
    assert len(losses) == 9 and old.items() <= losses.items()
    new = losses.keys() - old.keys()
    assert {str(run_id) for (run_id,) in done.rows("select run_id from cells where run_id is not null")} == new
    fingerprints = done.rows("select distinct corpus_fingerprint from runs join results using (run_id)")
    assert len(fingerprints) == 2
    out, _ = done.run("fit", "tiny.toml", "--json")
    assert sum(profile["n_points"] for profile in json.loads(out)["profiles"]) == 3


def test_the_plan_says_that_results_of_the_text_as_it_was_are_no_longer_asked_for(done: Sandbox) -> None:
    with (done.folder / "text" / "00.txt").open("a") as file:
        file.write("\nanother line")
    forget(done, 1)
    out, _ = done.run("plan", "tiny.toml", "--replan")
    assert "6 no longer asked for" in out and "5" in out
    _, err = done.run("fit", "tiny.toml", code=1)  # none of the new runs has a result yet
    assert is_sentence(err) and "6 pending" in err
