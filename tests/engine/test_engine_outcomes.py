"""Runs that do not end well are told apart, recorded with their reason, and never become numbers."""

import json
import os
import signal
from pathlib import Path

import pytest

from isoflop.train.worker import is_device_error
from tests.engine.conftest import SWEEP, Sandbox

ONE_BUDGET = SWEEP.replace("[6e8, 1.2e9]", "[6e8]")
WILD = ONE_BUDGET.replace("[recipe]", "[recipe]\nlearning_rate = 1e38\ngrad_clip = 1e38")


def having_progressed(sandbox: Sandbox) -> list[Path]:
    """The logs of events that tell of a step."""
    files = sandbox.folder.glob("isoflop-artifacts/*/events.jsonl")
    return [file for file in files if '"progress"' in file.read_text()]


def test_a_diverged_run_is_a_status_with_a_reason_and_no_loss(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(WILD)
    out, err = sandbox.run("run", "tiny.toml", "--json", code=3)
    document = json.loads(out)
    assert document["runs"] == {"completed": 0, "diverged": 3, "failed": 0, "pending": 0}
    assert all(run["status"] == "diverged" and "step" in run["reason"] for run in document["incomplete"])
    rows = sandbox.rows("select status, val_loss, n_steps from results")
    assert all(status == "diverged" and loss is None and steps >= 0 for status, loss, steps in rows)
    assert err.count("diverged") >= 3
    _, said = sandbox.run("fit", "tiny.toml", code=1)
    assert "3 diverged" in said
    sandbox.run("run", "tiny.toml", code=3)
    assert sandbox.rows("select count(*) from attempts") == [(3,)]  # nothing was repeated unasked


def test_a_worker_that_raises_is_failed_with_its_log_and_the_others_complete(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(ONE_BUDGET)
    sandbox.run("plan", "tiny.toml")
    [(victim,)] = sandbox.rows("select run_id from cells order by id limit 1")
    run_dir = sandbox.folder / "isoflop-artifacts" / str(victim)
    run_dir.mkdir()
    (run_dir / "checkpoint").write_text("a file where a folder should be")
    out, _ = sandbox.run("run", "tiny.toml", "--json", code=3)
    document = json.loads(out)
    assert document["runs"] == {"completed": 2, "diverged": 0, "failed": 1, "pending": 0}
    [failed] = document["incomplete"]
    assert failed["run_id"] == victim
    log = (sandbox.folder / failed["log_path"]).read_text()
    assert "Traceback" in log and failed["reason"].split(":")[0] in log

    out, _ = sandbox.run("fit", "tiny.toml", "--json")
    assert "runs_failed" in {finding["code"] for finding in json.loads(out)["findings"]}

    (run_dir / "checkpoint").unlink()
    out, _ = sandbox.run("run", "tiny.toml", "--retry", "--json")
    assert json.loads(out)["runs"]["completed"] == 3
    outcomes = sandbox.rows(f"select outcome from attempts where run_id = '{victim}' order by attempt")
    assert len(outcomes) == 2


def test_results_whose_record_was_lost_are_taken_from_disk(undisturbed: Sandbox, done: Sandbox) -> None:
    for file in done.folder.glob("isoflop.db*"):
        file.unlink()
    out, _ = done.run("run", "tiny.toml", "--json")
    document = json.loads(out)
    assert document["runs"]["completed"] == 6 and document["flops_spent"] == 0
    assert done.losses() == undisturbed.losses()


def test_two_sweeps_that_ask_for_the_same_runs_train_them_once(done: Sandbox) -> None:
    (done.folder / "twin.toml").write_text(SWEEP.replace('"tiny"', '"twin"'))
    out, _ = done.run("run", "twin.toml", "--json")
    document = json.loads(out)
    assert document["runs"]["completed"] == 6 and document["flops_spent"] == 0
    assert done.rows("select count(*) from attempts") == [(6,)]


def test_two_coordinators_that_share_runs_train_each_once(sandbox: Sandbox) -> None:
    text = (sandbox.folder / "tiny.toml").read_text().replace("sizes = 3", "sizes = 12")
    simulated = text.replace("[grid]", 'trainer = "simulated"\n[grid]', 1)
    for name in ("one", "two"):
        (sandbox.folder / f"{name}.toml").write_text(simulated.replace('"tiny"', f'"{name}"'))
    both = [sandbox.start("run", f"{name}.toml", "--workers", "2", "--json") for name in ("one", "two")]
    spent = 0.0
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        counts = json.loads(out)["runs"]
        assert counts["completed"] == sum(counts.values()) > 10
        spent += json.loads(out)["flops_spent"]
    assert sandbox.rows("select sum(spent_flops) from results") == [(spent,)]
    assert sandbox.rows("select count(*) from attempts where outcome in ('died', 'given_up')") == [(0,)]


def test_a_lost_corpus_stops_the_sweep_and_leaves_its_runs_pending(sandbox: Sandbox) -> None:
    sandbox.run("plan", "tiny.toml")
    [manifest] = sandbox.folder.glob("isoflop-artifacts/corpora/*/manifest.json")
    process = sandbox.start("run", "tiny.toml", "--workers", "1")
    sandbox.wait_for(sandbox.workers)
    manifest.rename(manifest.with_suffix(".gone"))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.strip().splitlines()[-2].startswith("Error: ") and err.strip().splitlines()[-1].startswith("Hint: ")
    assert "Traceback" not in err
    assert sandbox.rows("select count(*) from results where status <> 'completed'") == [(0,)]
    out, _ = sandbox.run("run", "tiny.toml", "--json")
    assert json.loads(out)["runs"]["completed"] == 6


def test_a_signal_to_the_whole_group_still_ends_after_a_checkpoint(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(SWEEP.replace("[6e8, 1.2e9]", "[6e10]"))
    process = sandbox.start("run", "tiny.toml", "--workers", "2")
    sandbox.wait_for(lambda: len(having_progressed(sandbox)) == 2)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert sandbox.rows("select distinct outcome, reason from attempts") == [("interrupted", "asked to stop")]
    assert len(list(sandbox.folder.glob("isoflop-artifacts/*/checkpoint/*.safetensors"))) == 2


def test_a_run_of_two_cells_is_retried_once(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(
        WILD.replace("[6e8]", "[6e8, 6.0000001e8]").replace("sizes = 3", "sizes = 1")
    )
    sandbox.run("run", "tiny.toml", code=3)
    out, _ = sandbox.run("run", "tiny.toml", "--retry", "--json", code=3)
    assert json.loads(out)["runs"]["diverged"] == 1
    assert sandbox.rows("select outcome from attempts order by attempt")[0] == ("diverged",)


@pytest.mark.parametrize(
    ("error", "of_the_device"),
    [
        (RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA error: said by somebody else"), False),
    ],
)
def test_what_cuda_says_of_the_gpu_is_told_from_errors_of_the_run(error: Exception, of_the_device: bool) -> None:
    assert is_device_error(error) is of_the_device
