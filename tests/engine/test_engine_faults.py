"""Kills, interruptions, locks: real processes, real signals, and the same bits afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.conftest import SECONDS_OF_WORK, SWEEP, Sandbox, alive, in_time, kill
from tests.faults.processes import fork_server, freeze, thaw

# Four runs, the larger two of seconds each, so that there is something to kill.
SLOW = (
    SWEEP.replace("[6e8, 1.2e9]", f"[6e8, {SECONDS_OF_WORK}]")
    .replace("sizes = 3", "sizes = 2")
    .replace("base_batch_tokens = 256", "base_batch_tokens = 64")
)
# Six runs that take a moment in all: for what the coordinator does whatever is trained.
SIMULATED = SWEEP.replace("[grid]", 'trainer = "simulated"\n[grid]', 1)


def progressed(sandbox: Sandbox, pid: int) -> bool:
    """The worker has taken steps."""
    for claim in sandbox.folder.glob("isoflop-artifacts/*/claim.json"):
        if json.loads(claim.read_text())["pid"] == pid:
            events = claim.parent / "events.jsonl"  # written after the claim
            return events.exists() and '"progress"' in events.read_text()
    return False


def trained_workers(sandbox: Sandbox) -> list[int]:
    return [pid for pid in sandbox.workers() if progressed(sandbox, pid)]


def awaits(pid: int, number: signal.Signals) -> bool:
    """The signal was sent to the stopped process, which has not taken it yet."""
    pending = Path(f"/proc/{pid}/status").read_text().partition("ShdPnd:")[2].split()[0]
    return bool(int(pending, 16) >> (number - 1) & 1)


def test_every_planned_run_completes_once_and_is_recorded_in_full(undisturbed: Sandbox) -> None:
    assert len(undisturbed.losses()) == 6
    [(n_completed,)] = undisturbed.rows("select count(*) from results where status = 'completed' and attempt = 1")
    assert n_completed == 6
    mismatch = undisturbed.rows(
        "select max(abs(achieved_flops / planned_flops - 1)), max(abs(results.n_tokens - runs.n_tokens)) "
        "from results join runs using (run_id)"
    )
    assert mismatch == [(0.0, 0)]
    [(n_points,)] = undisturbed.rows("select count(distinct run_id) from curves")
    assert n_points == 6
    attempts = undisturbed.rows("select outcome, reason from attempts")
    assert attempts == [("done", None)] * 6
    assert not list(undisturbed.folder.rglob("*.tmp"))


def test_the_same_command_again_trains_nothing(undisturbed: Sandbox) -> None:
    before = undisturbed.losses()
    out, _ = undisturbed.run("run", "tiny.toml", "--json")
    document = json.loads(out)
    assert document["runs"] == {"completed": 6, "diverged": 0, "failed": 0, "pending": 0}
    assert document["flops_spent"] == 0
    assert document["busy_share"] is None
    assert undisturbed.losses() == before


def test_losses_do_not_depend_on_how_many_workers_run(undisturbed: Sandbox, sandbox: Sandbox) -> None:
    sandbox.run("run", "tiny.toml", "--workers", "1")
    assert sandbox.losses() == undisturbed.losses()


def test_kill_9_of_a_worker_and_then_of_the_coordinator_costs_nothing(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(SLOW)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "2")
    sandbox.wait_for(lambda: trained_workers(sandbox))
    victim = trained_workers(sandbox)[0]
    os.kill(victim, signal.SIGKILL)
    sandbox.wait_for(lambda: not alive(victim))
    sandbox.wait_for(lambda: sandbox.rows("select count(*) from attempts where outcome = 'died'") == [(1,)])
    sandbox.wait_for(lambda: [pid for pid in trained_workers(sandbox) if pid != victim])
    orphans = sandbox.workers()
    assert kill(coordinator, signal.SIGKILL) == -signal.SIGKILL
    sandbox.wait_for(lambda: not any(map(alive, orphans)), seconds=5)
    assert len(sandbox.losses()) < 4

    sandbox.run("run", "tiny.toml", "--workers", "2")
    [(died,)] = sandbox.rows("select count(*) from attempts where outcome = 'died'")
    assert died == 1
    clean = sandbox.folder / "clean"
    sandbox.run("run", "tiny.toml", "--workers", "2", "--db", f"{clean}.db", "--artifacts", str(clean))
    assert len(sandbox.losses()) == 4
    assert sandbox.losses() == sandbox.losses("clean.db")


def test_a_worker_that_outlives_its_server_is_waited_for_and_then_goes_on(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(SLOW)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1", "--json")
    sandbox.wait_for(lambda: trained_workers(sandbox))
    [worker] = trained_workers(sandbox)
    server = fork_server(coordinator.pid)
    assert server is not None and freeze(worker)
    os.kill(server, signal.SIGKILL)
    sandbox.wait_for(lambda: not alive(server))
    time.sleep(1.0)  # several looks of the engine, which hears nothing of the worker any more
    assert sandbox.rows("select count(*) from attempts where outcome <> 'done'") == [(0,)]
    thaw(worker)
    out, _ = coordinator.communicate(timeout=240)
    assert coordinator.returncode == 0
    lost = sandbox.rows("select attempt, outcome, reason from attempts where outcome <> 'done'")
    assert lost == [(1, "died", "the worker ended with the process it was forked from without a result")]
    [(planned,)] = sandbox.rows("select sum(planned_flops) from runs")
    assert json.loads(out)["flops_spent"] == planned


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "term", "terminal closed"],
)
def test_one_signal_checkpoints_and_the_same_command_goes_on(
    sandbox: Sandbox, number: signal.Signals, code: int
) -> None:
    (sandbox.folder / "tiny.toml").write_text(SLOW)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "2", "--json")
    sandbox.wait_for(lambda: len(trained_workers(sandbox)) == 2)
    workers = sandbox.workers()
    begun = time.monotonic()
    coordinator.send_signal(number)
    if number == signal.SIGHUP:  # the shell sends it, then the system
        coordinator.send_signal(number)
    out, err = coordinator.communicate(timeout=60)
    assert coordinator.returncode == code
    assert "Stopping" in err
    first = json.loads(out)["flops_spent"]
    [(finished,)] = sandbox.rows("select total(spent_flops) from results")
    assert first > finished  # what the checkpoints keep was trained too
    assert in_time(begun, 10)
    assert not any(map(alive, workers))
    assert len(list(sandbox.folder.glob("isoflop-artifacts/*/checkpoint/*.safetensors"))) >= 2
    out, _ = sandbox.run("run", "tiny.toml", "--json")
    assert json.loads(out)["runs"]["completed"] == 4
    assert sandbox.rows("select sum(spent_flops) from results") == [(first + json.loads(out)["flops_spent"],)]
    resumed = sandbox.rows("select count(*) from results where attempt > 1")
    assert resumed == [(2,)]


def test_a_sweep_under_nohup_outlives_its_terminal(sandbox: Sandbox) -> None:
    command = ["nohup", sys.executable, "-m", "isoflop", "run", "tiny.toml", "--workers", "2"]
    coordinator = subprocess.Popen(
        command, cwd=sandbox.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    sandbox.wait_for(lambda: trained_workers(sandbox))
    coordinator.send_signal(signal.SIGHUP)
    out, err = coordinator.communicate(timeout=240)
    assert coordinator.returncode == 0 and "Stopping" not in err
    assert "6 completed" in out


def test_a_second_signal_kills_at_once(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(SLOW)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1")
    sandbox.wait_for(lambda: trained_workers(sandbox))
    worker = trained_workers(sandbox)[0]
    # So that it cannot answer the first: before it has stopped it would still take that signal.
    assert freeze(worker)
    coordinator.send_signal(signal.SIGINT)
    sandbox.wait_for(lambda: awaits(worker, signal.SIGTERM))
    assert coordinator.poll() is None
    assert kill(coordinator, signal.SIGINT) == 130
    sandbox.wait_for(lambda: not alive(worker), seconds=5)


# Python imports a module of this name at every start. Each worker that opens the victim's claim ends there and then.
DIE_AT_CLAIM = """
import os, sys

def end(event, arguments):
    if event == "open" and f"{os.environ['VICTIM']}/.claim.json" in str(arguments[0]):
        os._exit(9)

os.register_at_fork(after_in_child=lambda: sys.addaudithook(end))
"""


def test_a_run_that_kills_every_worker_fails_with_the_reason_and_can_be_retried(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sandbox.folder / "tiny.toml").write_text(SIMULATED)
    sandbox.run("plan", "tiny.toml")
    [(victim,)] = sandbox.rows("select run_id from cells order by budget_flops, run_id limit 1")
    (sandbox.folder / "site").mkdir()
    (sandbox.folder / "site" / "sitecustomize.py").write_text(DIE_AT_CLAIM)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(sandbox.folder / "site"))
        patch.setenv("VICTIM", str(victim))
        out, _ = sandbox.run("run", "tiny.toml", "--json", code=3)
    assert sandbox.rows(f"select outcome from attempts where run_id = '{victim}' order by attempt") == [
        ("died",), ("died",), ("given_up",),
    ]  # fmt: skip
    document = json.loads(out)
    assert document["runs"]["failed"] == 1 and document["runs"]["completed"] == 5
    [failed] = document["incomplete"]
    assert failed["run_id"] == victim
    assert "without a result" in failed["reason"] and "log.txt" in failed["log_path"]
    assert sandbox.rows(f"select val_loss from results where run_id = '{victim}'") == [(None,)]
    sandbox.run("run", "tiny.toml", code=3)  # not repeated unasked
    out, _ = sandbox.run("run", "tiny.toml", "--retry", "--json")
    assert json.loads(out)["runs"]["completed"] == 6


def test_a_sweep_in_use_is_refused_and_its_holder_named(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(SLOW)
    holder = sandbox.start("run", "tiny.toml", "--workers", "1")
    try:
        sandbox.wait_for(sandbox.workers)
        for command in ("run", "plan"):
            _, err = sandbox.run(command, "tiny.toml", code=1)
            assert str(holder.pid) in err and "Hint:" in err and "Traceback" not in err
    finally:
        kill(holder, signal.SIGTERM)


def test_progress_in_a_pipe_is_plain_lines_on_stderr(sandbox: Sandbox) -> None:
    (sandbox.folder / "tiny.toml").write_text(SIMULATED)
    out, err = sandbox.run("run", "tiny.toml", "--json")
    json.loads(out)
    lines = [line for line in err.splitlines() if line.startswith("[")]
    assert len(lines) == 6
    assert "\x1b" not in err


def test_a_stopped_fork_server_is_replaced(sandbox: Sandbox) -> None:
    """It could not tell that its worker has ended."""
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1", "--json")
    sandbox.wait_for(sandbox.workers)
    server = fork_server(coordinator.pid)
    assert server is not None and freeze(server)
    out, _ = coordinator.communicate(timeout=120)
    assert coordinator.returncode == 0 and not alive(server)
    assert json.loads(out)["runs"]["completed"] == 6
    assert sandbox.rows("select distinct outcome from attempts") == [("done",)]


ASK_A_STOPPED_SERVER = """
import os, signal, sys, threading, time
from multiprocessing import forkserver
from isoflop.engine.local.fork_server import ForkServer

if __name__ == "__main__":
    server = ForkServer(print)
    first = server.start("first", preload=[])
    while first.is_alive():
        time.sleep(0.05)
    pid = forkserver._forkserver._forkserver_pid
    os.kill(pid, signal.SIGSTOP)
    server.abort()  # asked for nothing: left alone
    threading.Timer(1.0, server.abort).start()
    assert server.start("second", preload=[]) is None
    while (third := server.start("third", preload=[])) is None:
        time.sleep(0.2)  # the server that was killed is still ending
    while third.is_alive():
        time.sleep(0.05)
    sys.exit(third.exit_code)
"""


def test_a_start_that_a_stopped_server_does_not_answer_can_be_aborted(tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(ASK_A_STOPPED_SERVER)
    command = [sys.executable, "ask.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "first\nthird\n"), done.stderr
