"""A coordinator that is stopped (Ctrl-Z) and goes on: its workers rest meanwhile, and are not taken for hung."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from isoflop.rundir import RunDir
from isoflop.rundir.events import ProgressEvent
from isoflop.train.process import Stop
from isoflop.train.progress import Progress
from isoflop.train.reporter import Reporter
from tests.engine.conftest import SECONDS_OF_WORK, SWEEP, Sandbox, alive, make_sandbox
from tests.report_examples import make_cell

STALL_SECONDS = 5
ONE_LONG_RUN = (
    SWEEP.replace("[6e8, 1.2e9]", f"[{1.5 * SECONDS_OF_WORK}]")
    .replace("sizes = 3", "sizes = 1")
    .replace("base_batch_tokens = 256", "base_batch_tokens = 64")
    + f"[run]\nstall_seconds = {STALL_SECONDS}\n"
)


def steps_of(sandbox: Sandbox) -> int:
    """The step that the heartbeat names; 0 before there is one."""
    found = [int(path.read_text()) for path in sandbox.folder.glob("isoflop-artifacts/*/heartbeat")]
    return max(found, default=0)


def test_workers_rest_while_the_coordinator_is_stopped_and_go_on_with_it(tmp_path: Path) -> None:
    sandbox = make_sandbox(tmp_path, ONE_LONG_RUN)
    coordinator = sandbox.start("run", "tiny.toml", "--workers", "1")
    sandbox.wait_for(lambda: steps_of(sandbox) > 0, seconds=120)
    os.kill(coordinator.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    before: list[int] = []

    def rests() -> bool:
        """Ten looks, a quarter of a second apart, show the same step."""
        before.append(steps_of(sandbox))
        time.sleep(0.25)
        return len(before) > 10 and len(set(before[-10:])) == 1

    sandbox.wait_for(rests)
    [worker] = sandbox.workers()
    assert alive(worker)
    # Longer than a silent worker is waited for.
    sandbox.wait_for(lambda: time.monotonic() - stopped > STALL_SECONDS + 3)
    rested = time.monotonic() - stopped
    assert steps_of(sandbox) == before[-1]
    os.kill(coordinator.pid, signal.SIGCONT)
    out, err = coordinator.communicate(timeout=240)
    assert coordinator.returncode == 0, f"{out}\n{err}"
    assert sandbox.rows("select attempt, outcome from attempts") == [(1, "done")]
    # Training time is that of the work: the rest is not in it.
    [(seconds, elapsed)] = sandbox.rows(
        "select r.seconds, (julianday(a.ended_at) - julianday(a.started_at)) * 86400 "
        "from results r join attempts a using (run_id)"
    )
    assert isinstance(seconds, float) and isinstance(elapsed, float)
    assert seconds < elapsed - (rested - 3)


@pytest.mark.timeout(60)
def test_a_resting_run_shows_signs_of_life_and_its_speed_is_that_of_the_work(tmp_path: Path) -> None:
    paused, run_dir = threading.Event(), RunDir(tmp_path)
    reporter = Reporter(make_cell(1e12, 64).run, run_dir, Stop(paused))
    reporter.after_step(Progress(step=1, n_tokens=100), 2.0)
    paused.set()
    threading.Timer(2.0, paused.clear).start()
    began = time.monotonic()
    reporter.after_step(Progress(step=2, n_tokens=200), 2.0)
    assert time.monotonic() - began >= 1.9
    assert run_dir.heartbeat_path.read_text() == "2\n"
    worked = time.monotonic()
    while time.monotonic() - worked < 0.6:  # until the next event is due
        time.sleep(0.1)
    reporter.after_step(Progress(step=3, n_tokens=10_200), 2.0)
    last = run_dir.read_events(0)[0][-1]
    assert isinstance(last, ProgressEvent)
    # 10,100 tokens in the 0.6 s since the rest, with room for a busy machine; with the rest, in 2.6 s at least.
    assert last.tokens_per_second > 10_100 / 2.5


def test_the_first_word_of_a_resumed_run_is_its_speed_and_not_all_it_has_trained_at_once(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    reporter = Reporter(make_cell(1e12, 64).run, run_dir, Stop(threading.Event()))
    reporter.after_step(Progress(step=5000, n_tokens=1_000_000, seconds=50.0), 2.0)
    [first] = run_dir.read_events(0)[0]
    assert isinstance(first, ProgressEvent) and first.tokens_per_second == pytest.approx(20_000)


def test_a_resting_run_that_is_asked_to_stop_stops(tmp_path: Path) -> None:
    paused = threading.Event()
    paused.set()
    with Stop(paused) as stop:
        reporter = Reporter(make_cell(1e12, 64).run, RunDir(tmp_path), stop)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        reporter.after_step(Progress(step=1), 2.0)
        assert stop.asked()
