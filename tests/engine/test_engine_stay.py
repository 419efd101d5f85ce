"""A process that takes one job after the other: as on a GPU, here on a core, where each job else has one of its own."""

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop.corpus import Corpus, open_corpus
from isoflop.engine.dispatch import Dispatcher
from isoflop.engine.execution import GitState
from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.notices import AttemptEnded, AttemptStarted, Notice
from isoflop.engine.protocol import Slot
from isoflop.result import Status
from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import DeviceKind, RunDir
from isoflop.spec import CorpusSpec, TokenizerSpec
from tests.run_examples import RUN
from tests.train.conftest import make_run, run_it
from tests.waits import has_ended, until

SLOT = Slot("cpu", "core", "", 1e15, bfloat16=False)
STAYING: frozenset[DeviceKind] = frozenset({"cpu"})
SIMULATED = [RUN.model_copy(update={"trainer": "simulated", "seed": seed}) for seed in range(6)]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(scope="module")
def corpus(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Twenty texts, no two alike."""
    folder = tmp_path_factory.mktemp("text")
    for number in range(20):
        lines = (f"alpha {number * line} beta {number + line}" for line in range(40))
        (folder / f"{number}.txt").write_text("\n".join(lines))
    spec = CorpusSpec(source="files", paths=(str(folder),), heldout_fraction=0.2)
    return open_corpus(spec, TokenizerSpec(), root=corpora, base=folder)


class Sweep:
    """Jobs through an engine whose processes stay, or do not; `pids` of each process's jobs."""

    def __init__(
        self, artifacts: Path, *, corpora: Path, staying: frozenset[DeviceKind], slots: Sequence[Slot] = (SLOT,)
    ) -> None:
        self.artifacts = artifacts
        self.engine = LocalEngine(slots, staying=staying)
        self.dispatcher = Dispatcher(self.engine, artifacts=artifacts, corpora=corpora, git=GitState(None, None))
        self.pids: dict[int, list[str]] = defaultdict(list)
        self.ended: list[AttemptEnded] = []

    def go(self, runs: Sequence[RunSpec], react: Callable[[Notice, int], object] = lambda notice, pid: None) -> None:
        for notice in self.dispatcher.run([Job((run,)) for run in runs]):
            if isinstance(notice, AttemptStarted):
                pid = int(self.dispatcher._attempts[notice.worker].worker.split(":")[1])
                self.pids[pid].append(notice.job_id)
                react(notice, pid)
            elif isinstance(notice, AttemptEnded):
                self.ended.append(notice)
                react(notice, 0)

    def losses(self, runs: Sequence[RunSpec]) -> list[str]:
        results = [RunDir(self.artifacts / run.run_id).read_result(run.run_id) for run in runs]
        return [result.val_loss.hex() for result in results if result is not None and result.val_loss is not None]


def with_tests_on_path() -> dict[str, str]:
    search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))}


def test_one_process_per_slot_does_every_job_and_none_is_left(tmp_path: Path) -> None:
    made = Sweep(tmp_path, corpora=tmp_path, staying=STAYING, slots=[SLOT] * 2)
    made.go(SIMULATED)
    assert [ended.outcome for ended in made.ended] == ["done"] * 6
    assert 1 <= len(made.pids) <= 2
    assert sorted(job for jobs in made.pids.values() for job in jobs) == sorted(run.run_id for run in SIMULATED)
    until(lambda: all(map(has_ended, made.pids)), 30)


def test_a_process_works_for_one_device_only(tmp_path: Path) -> None:
    """Which device it sees is settled when it starts."""
    slots = [replace(SLOT, visible_device=name) for name in ("a", "b")]
    made = Sweep(tmp_path, corpora=tmp_path, staying=STAYING, slots=slots)
    slots_of: dict[int, set[int]] = defaultdict(set)

    def look(notice: Notice, pid: int) -> None:
        if isinstance(notice, AttemptStarted):
            slots_of[pid].add(notice.worker)

    made.go(SIMULATED, look)
    assert sorted(slots_of.values(), key=min) == [{0}, {1}]


def test_elsewhere_every_job_has_a_process_of_its_own(tmp_path: Path) -> None:
    made = Sweep(tmp_path, corpora=tmp_path, staying=frozenset({"cuda"}))
    made.go(SIMULATED[:3])
    assert len(made.pids) == 3


def test_losses_are_those_of_runs_with_a_process_each(tmp_path: Path, corpus: Corpus, corpora: Path) -> None:
    runs = [make_run(corpus, seed=seed) for seed in range(3)]
    made = Sweep(tmp_path / "together", corpora=corpora, staying=STAYING)
    made.go(runs)
    assert len(made.pids) == 1
    losses = made.losses(runs)
    assert len(set(losses)) == 3
    for run, loss in zip(runs, losses, strict=True):
        job = RunDir(made.artifacts / run.run_id).read_job()
        assert job is not None
        apart = run_it(run, corpus, tmp_path / "apart", how=job.execution)
        assert apart.heldout is not None and apart.heldout.nats_per_token.hex() == loss


def test_a_job_that_is_done_is_claimed_by_nobody_though_its_process_lives(tmp_path: Path) -> None:
    made = Sweep(tmp_path, corpora=tmp_path, staying=STAYING)
    claims: list[object] = []

    def look(notice: Notice, pid: int) -> None:
        if isinstance(notice, AttemptEnded):
            claims.append(RunDir(tmp_path / notice.job_id).read_claim())

    made.go(SIMULATED[:3], look)
    assert claims == [None] * 3
    assert len(made.pids) == 1


def test_a_process_in_which_a_run_failed_is_not_used_again(tmp_path: Path, corpus: Corpus, corpora: Path) -> None:
    good = [make_run(corpus, seed=seed) for seed in range(2)]
    small = make_run(corpus, shape=good[0].shape.__class__(**{**good[0].shape.as_dict(), "vocab_size": 7}))
    made = Sweep(tmp_path, corpora=corpora, staying=STAYING)
    made.go([good[0], small, good[1]])
    failed = RunDir(tmp_path / small.run_id).read_result(small.run_id)
    assert failed is not None and failed.status is Status.FAILED
    logs = [RunDir(tmp_path / run.run_id).log_path(1).read_text() for run in (good[0], small, good[1])]
    assert ["IndexError" in log for log in logs] == [False, True, False]  # each prints into its own
    assert list(made.pids.values()) == [[good[0].run_id, small.run_id], [good[1].run_id]]


def test_where_a_waiting_process_was_killed_another_takes_the_next_job(tmp_path: Path) -> None:
    made = Sweep(tmp_path, corpora=tmp_path, staying=STAYING)

    def kill(notice: Notice, pid: int) -> None:
        if isinstance(notice, AttemptEnded) and len(made.ended) == 2:
            os.kill(next(iter(made.pids)), signal.SIGKILL)
            until(lambda: all(map(has_ended, made.pids)), 30)

    made.go(SIMULATED[:4], kill)
    outcomes = [ended.outcome for ended in made.ended]
    if outcomes[2] == "died":  # on a busy machine its death may be seen only when it has been given the next job
        del outcomes[2]
    assert outcomes == ["done"] * 4
    first, second = made.pids.values()
    assert len(first) in (2, 3) and len(second) == 2


def test_a_request_to_stop_ends_the_waiting_process_too(tmp_path: Path) -> None:
    made = Sweep(tmp_path, corpora=tmp_path, staying=STAYING)
    made.go(SIMULATED, lambda notice, pid: made.dispatcher.stop() if isinstance(notice, AttemptEnded) else None)
    assert len(made.ended) < len(SIMULATED)
    until(lambda: all(map(has_ended, made.pids)), 30)


STOPPED = """
import os, signal, sys
from multiprocessing import forkserver
from pathlib import Path
from tests.engine.test_engine_stay import STAYING, SIMULATED, Sweep

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    made = Sweep(folder, corpora=folder, staying=STAYING)
    made.go(SIMULATED[:2], lambda notice, pid: os.kill(forkserver._forkserver._forkserver_pid, signal.SIGSTOP))
    print(*made.pids)
"""


@pytest.mark.slow(9)
def test_a_stopped_fork_server_does_not_keep_the_coordinator_from_ending(tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(STOPPED)
    command = [sys.executable, str(tmp_path / "stopped.py"), str(tmp_path / "artifacts")]
    done = subprocess.run(command, env=with_tests_on_path(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    until(lambda: all(has_ended(int(pid)) for pid in done.stdout.split()), 30)


def test_what_a_job_cannot_write_into_its_log_goes_into_no_other_job_s(tmp_path: Path) -> None:
    first, second = SIMULATED[:2]
    RunDir(tmp_path / second.run_id).log_path(1).mkdir(parents=True)
    made = Sweep(tmp_path, corpora=tmp_path, staying=STAYING)
    made.go([first, second])
    assert RunDir(tmp_path / first.run_id).log_path(1).read_text() == ""
    assert [ended.outcome for ended in made.ended][-1] == "done"


WAIT = """
import sys, time
from pathlib import Path
from tests.engine.test_engine_stay import STAYING, SIMULATED, Sweep

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    made = Sweep(folder, corpora=folder, staying=STAYING)

    def look(notice, pid):
        if pid == 0:  # it has done its job, and waits
            print(*made.pids, flush=True)
            time.sleep(600)

    made.go(SIMULATED, look)
"""


@pytest.mark.slow(9)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells workers of their parent's death")
def test_a_waiting_process_ends_with_a_coordinator_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "wait.py").write_text(WAIT)
    command = [sys.executable, str(tmp_path / "wait.py"), str(tmp_path / "artifacts")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=with_tests_on_path()) as coordinator:
        try:
            assert coordinator.stdout is not None
            pids = json.loads(f"[{coordinator.stdout.readline()}]")
            assert pids and not has_ended(pids[0])
        finally:
            coordinator.kill()
    until(lambda: all(map(has_ended, pids)), 30)
