"""Memory that runs out, workers that hang, steps that take too long: each ends within bounds and is recorded."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isoflop.step_library import usable_instructions
from tests.engine.conftest import SECONDS_OF_WORK, SWEEP, Sandbox, alive, in_time, kill, make_sandbox

# One run whose batch of 67 thousand tokens needs about a gigabyte for one forward and backward pass.
LARGE_BATCH = (
    SWEEP.replace("[6e8, 1.2e9]", "[2e10]")
    .replace("sizes = 3", "sizes = 1")
    .replace("context_length = 32", "context_length = 64")
    .replace("base_batch_tokens = 256", "base_batch_tokens = 65536\nbatch_exponent = 0")
    .replace("min_steps = 20", "min_steps = 1\nwarmup_fraction = 0\ncooldown_fraction = 0")
)
# One sequence alone, so one micro-batch, takes tens of seconds.
LONG_STEP = (
    LARGE_BATCH.replace("context_length = 64", "context_length = 16384")
    .replace("[2e10]", "[2e15]")
    .replace("center_n_params = 12e3", "center_n_params = 1e6")
)
# Runs of several seconds each, so that there is something to stop; a worker is given up on after two.
SLOW = (
    SWEEP.replace("[6e8, 1.2e9]", f"[{SECONDS_OF_WORK}]")
    .replace("sizes = 3", "sizes = 2")
    .replace("base_batch_tokens = 256", "base_batch_tokens = 64")
    + "[run]\nstall_seconds = 5\n"
)


def address_space_of_torch() -> int:
    """Bytes of address space that a process with torch takes."""
    code = "import torch; print(open('/proc/self/status').read().partition('VmPeak:')[2].split()[0])"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) * 1024


def losses_by_shape(sandbox: Sandbox) -> list[tuple[object, ...]]:
    return sandbox.rows("select val_loss, execution from results join runs using (run_id) order by shape")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc to size the limit")
def test_a_run_without_enough_memory_is_tried_with_smaller_micro_batches(tmp_path: Path) -> None:
    # The step in C++ needs a third of what torch's does.
    limit = address_space_of_torch() + (200 if usable_instructions() else 600) * 2**20
    for name in ("roomy", "tight"):
        (tmp_path / name).mkdir()
    roomy, tight = (make_sandbox(tmp_path / name, LARGE_BATCH) for name in ("roomy", "tight"))
    roomy.run("run", "tiny.toml", "--workers", "1")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-m", "isoflop", "run", "tiny.toml", "--workers", "1"]
    done = subprocess.run(command, cwd=tight.folder, capture_output=True, text=True, preexec_fn=limited, check=False)
    assert done.returncode == 0, done.stderr
    assert "ran out of memory" in done.stderr
    [(loss, execution)] = losses_by_shape(tight)
    [(reference, roomy_execution)] = losses_by_shape(roomy)
    whole, part = (json.loads(str(text))["micro_batch_sequences"] for text in (roomy_execution, execution))
    assert part < whole
    assert loss == pytest.approx(reference, rel=1e-5)
    outcomes = tight.rows("select outcome, reason from attempts order by attempt")
    assert [outcome for outcome, _ in outcomes][-2:] == ["out_of_memory", "done"]
    assert f"next with {part}" in str(outcomes[-2][1])


def test_a_run_that_never_fits_fails_with_that_reason(tmp_path: Path) -> None:
    """A single sequence is the whole batch, so there is nothing left to halve."""
    sandbox = make_sandbox(tmp_path, LONG_STEP.replace("base_batch_tokens = 65536", "base_batch_tokens = 16384"))
    limit = address_space_of_torch() + 300 * 2**20

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-m", "isoflop", "run", "tiny.toml", "--workers", "1", "--json"]
    done = subprocess.run(command, cwd=sandbox.folder, capture_output=True, text=True, preexec_fn=limited, check=False)
    assert done.returncode == 3, done.stderr
    [failed] = json.loads(done.stdout)["incomplete"]
    assert "ran out of memory with 1 sequence" in failed["reason"]
    assert sandbox.rows("select val_loss from results") == [(None,)]


def test_a_worker_that_gives_no_sign_of_life_is_killed_and_its_run_goes_on(tmp_path: Path) -> None:
    sandbox = make_sandbox(tmp_path, SLOW)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1")
    sandbox.wait_for(sandbox.workers)
    [victim] = sandbox.workers()
    os.kill(victim, signal.SIGSTOP)
    sandbox.wait_for(lambda: not alive(victim), seconds=30)
    _, err = coordinator.communicate(timeout=120)
    assert coordinator.returncode == 0, err
    assert "took no step for" in err
    assert sandbox.rows("select count(*), sum(status = 'completed') from results") == [(2, 2)]
    [(reason,)] = sandbox.rows("select reason from attempts where outcome = 'died'")
    assert "took no step for" in str(reason)


@pytest.mark.slow(25)
def test_a_run_that_always_hangs_leaves_its_stack_in_the_log_and_fails(tmp_path: Path) -> None:
    """A checkpoint that is a pipe nobody writes to: opening it blocks for ever."""
    sandbox = make_sandbox(tmp_path, SLOW)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1")
    sandbox.wait_for(
        lambda: any('"progress"' in f.read_text() for f in tmp_path.glob("isoflop-artifacts/*/events.jsonl"))
    )
    assert kill(coordinator, signal.SIGTERM) == 143
    [saved] = tmp_path.glob("isoflop-artifacts/*/checkpoint/*.safetensors")
    saved.unlink()
    os.mkfifo(saved)
    out, _ = sandbox.run("run", "tiny.toml", "--workers", "1", "--json", code=3)
    document = json.loads(out)
    assert document["runs"] == {"completed": 1, "diverged": 0, "failed": 1, "pending": 0}
    [failed] = document["incomplete"]
    assert "took no step" in failed["reason"] and "3 times" in failed["reason"]
    assert "load_checkpoint" in Path(failed["log_path"]).read_text()

    saved.unlink()
    out, _ = sandbox.run("run", "tiny.toml", "--workers", "1", "--json", "--retry")
    assert json.loads(out)["runs"]["completed"] == 2


def test_sigterm_ends_within_ten_seconds_though_a_step_takes_longer(tmp_path: Path) -> None:
    """One micro-batch here takes far longer than anyone who sends SIGTERM waits."""
    sandbox = make_sandbox(tmp_path, LONG_STEP)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1")
    sandbox.wait_for(sandbox.workers)
    workers = sandbox.workers()
    time.sleep(3)
    begun = time.monotonic()
    assert kill(coordinator, signal.SIGTERM) == 143
    assert in_time(begun, 10)
    assert not any(map(alive, workers))


def test_no_worker_outlives_its_coordinator_by_five_seconds_though_a_step_takes_longer(tmp_path: Path) -> None:
    sandbox = make_sandbox(tmp_path, LONG_STEP)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1")
    sandbox.wait_for(sandbox.workers)
    workers = sandbox.workers()
    time.sleep(3)
    assert kill(coordinator, signal.SIGKILL) == -signal.SIGKILL
    sandbox.wait_for(lambda: not any(map(alive, workers)), seconds=5)


def test_an_exploding_loss_is_diverged_with_step_and_reason_though_it_stays_finite(tmp_path: Path) -> None:
    wild = SWEEP.replace("[6e8, 1.2e9]", "[6e8]").replace("[recipe]", "[recipe]\nlearning_rate = 30\ngrad_clip = 1e9")
    sandbox = make_sandbox(tmp_path, wild)
    out, _ = sandbox.run("run", "tiny.toml", "--json", code=3)
    document = json.loads(out)
    assert document["runs"]["diverged"] == 3
    reasons = [run["reason"] for run in document["incomplete"]]
    assert all(reason.startswith("step ") and "exploded" in reason for reason in reasons), reasons
    assert sandbox.rows("select count(val_loss) from results") == [(0,)]
