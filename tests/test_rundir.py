"""The run directory: whole files or none, events that survive a torn line, claims that tell the living."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from isoflop.files import remove_temporaries, write_atomically
from isoflop.result import Provenance, RunResult, Status
from isoflop.rundir import ExitCode, RunDir, own_claim

PROVENANCE = Provenance(host="h", device="d", isoflop_version="0", python_version="3")


def result(run_id: str, **changes: object) -> RunResult:
    content = {
        "run_id": run_id,
        "status": Status.COMPLETED,
        "attempt": 1,
        "n_steps": 1,
        "n_tokens": 1,
        "achieved_flops": 1.0,
        "spent_flops": 1.0,
        "val_loss": 2.0,
        "seconds": 1.0,
        "finished_at": "2026-01-01T00:00:00+00:00",
        "provenance": PROVENANCE,
    }
    return RunResult.model_validate({**content, **changes})


def test_a_result_comes_back_whole_and_only_for_its_run(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.write_result(result("abc"))
    assert run_dir.read_result("abc") == result("abc")
    assert run_dir.read_result("other") is None
    (tmp_path / "result-other.json").write_bytes((tmp_path / "result-abc.json").read_bytes())
    assert run_dir.read_result("other") is None


def test_a_result_that_comes_late_does_not_take_the_place_of_a_later_attempt_s(tmp_path: Path) -> None:
    """Whatever the late worker can see of a fence: storage may show it one late."""
    run_dir = RunDir(tmp_path)
    run_dir.write_result(result("abc", attempt=2))
    run_dir.write_result(result("abc", attempt=1))
    assert run_dir.read_result("abc") == result("abc", attempt=2)
    run_dir.write_result(result("abc", attempt=3))
    assert run_dir.read_result("abc") == result("abc", attempt=3)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "damage",
    [lambda t: t[: len(t) // 2], lambda t: t.replace('"schema_version": 1', '"unknown_key": 1'), lambda t: ""],
    ids=["half", "unknown key", "empty"],
)
def test_a_damaged_result_counts_as_none(tmp_path: Path, damage: object) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.write_result(result("abc"))
    path = run_dir.result_path("abc")
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    assert run_dir.read_result("abc") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"val_loss": None},
        {"status": Status.DIVERGED},
        {"status": Status.FAILED, "reason": "x"},
        {"val_loss": float("nan")},
        {"val_loss": float("inf")},
    ],
    ids=["no loss", "diverged with loss", "failed with loss", "nan", "inf"],
)
def test_a_loss_exists_exactly_when_a_run_completed(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"val_loss|finite"):
        result("abc", **changes)


def test_a_result_set_aside_is_kept_in_its_attempt(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    failed = result("abc", status=Status.FAILED, reason="crashed", val_loss=None, attempt=2)
    run_dir.write_result(failed)
    run_dir.set_result_aside("abc")
    assert run_dir.read_result("abc") is None
    assert RunDir(run_dir.attempt_dir(2)).read_result("abc") == failed


def test_attempts_are_counted_by_their_folders(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    assert run_dir.last_attempt == 0
    for number in (1, 2, 10):
        run_dir.attempt_dir(number).mkdir()
    assert run_dir.last_attempt == 10


def test_a_fence_lets_others_in_though_the_lost_process_holds_the_lock(tmp_path: Path) -> None:
    lost, run_dir = RunDir(tmp_path), RunDir(tmp_path)
    with lost.lock() as alone:
        assert alone
        with run_dir.lock() as two:
            assert not two
        run_dir.fence(1, "was lost with a node")
        with run_dir.lock() as next_one, RunDir(tmp_path).lock() as third:
            assert (next_one, third) == (True, False)


def test_a_lock_that_was_fenced_while_it_was_opened_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, flock = RunDir(tmp_path), fcntl.flock

    def after_a_fence(file: IO[bytes], operation: int) -> None:
        monkeypatch.undo()
        run_dir.fence(1, "was lost with a node")
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", after_a_fence)
    with run_dir.lock() as alone:
        assert not alone
    with run_dir.lock() as alone:
        assert alone


def test_a_claim_lives_as_long_as_its_process(tmp_path: Path) -> None:
    program = "from isoflop.rundir.claim import own_claim\nprint(own_claim(1).model_dump_json(), flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    claim = type(own_claim(1)).model_validate_json(process.stdout.readline())
    assert claim.is_alive
    assert not claim.model_copy(update={"process_start": claim.process_start - 100}).is_alive  # a reused pid
    assert not claim.model_copy(update={"host": "elsewhere"}).is_alive
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not claim.is_alive  # a zombie does not live
    process.communicate()
    assert not claim.is_alive


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".result-x.json.123.tmp", "result-x.json", ".keep"):
        (tmp_path / name).write_text("x")
    remove_temporaries(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"result-x.json", ".keep"}


def test_exit_codes_are_those_that_workers_of_every_version_end_with() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0, "OBSTACLE": 74, "CHECKPOINTED": 75, "BUSY": 76, "OUT_OF_MEMORY": 77, "BAD_JOB": 78, "ORPHANED": 79,
        "STEP_UNAVAILABLE": 80, "RANK_LOST": 81, "DEVICE_FAILED": 82,
        "UNASKED": 83, "FENCED": 84,
    }  # fmt: skip
