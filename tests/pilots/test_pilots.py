"""Pilots, their fleet and its engine, with processes of this machine in place of a cluster's jobs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from isoflop.engine.notices import AttemptEnded, AttemptStarted, EngineSaid, LateResult, Notice, RunFinished
from isoflop.engine.pilots import pilot_engine, submissions
from isoflop.engine.pilots.cluster import JobState, JobStatus
from isoflop.engine.pilots.mailbox import HereAnswer, Mailbox
from isoflop.errors import IsoflopError
from isoflop.rundir import RunDir
from isoflop.sweep import workplace
from isoflop.sweep.session import Session, open_session
from isoflop.sweep.workplace import EngineChoice
from tests.databases import opened
from tests.pilots.process_cluster import ProcessCluster, alive, kin, send
from tests.program.program_examples import mode_of, write_sweep
from tests.waits import has_ended, until

pytestmark = pytest.mark.slow(3)

# `quick` reports at once; `long` when the file `go` is there, or it was asked to stop and had begun before.
BODY = """
    if did == "long":
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
        with open("begun-" + run_id, "a") as file:
            file.write("x")
        while not os.path.exists("go"):
            if asked:
                sys.exit(75)
            time.sleep(0.02)
    report()
"""
OPTIONS = {"poll_seconds": "0.2", "idle_seconds": "5", "signal_seconds": "10"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessCluster]:
    made = ProcessCluster()
    monkeypatch.setattr(workplace, "_cluster", lambda *arguments: made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield made
    made.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def sweep_of(folder: Path, modes: list[str], body: str = BODY) -> Path:
    """A sweep of the sizes that these modes have; quick ones make up the least number that a ladder takes."""
    return write_sweep(folder, [*modes, *["quick"] * (4 - len(modes))], body)


def session_on(file: Path, *, jobs: int = 1, **options: str) -> contextlib.AbstractContextManager[Session]:
    """A session on pilots of one lane each."""
    here = file.parent
    choice = EngineChoice("slurm", {**OPTIONS, **options})
    return open_session(
        file, here / "isoflop.db", here / "artifacts", device="cpu", workers=jobs, retry=False, engine=choice
    )


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job has one core, as Slurm says it."""
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")


def train(session: Session, react: Callable[[Notice], object] = lambda notice: None) -> list[Notice]:
    notices: list[Notice] = []
    for notice in session.events():
        notices.append(notice)
        react(notice)
    return notices


def long_run(session: Session) -> str:
    """The run whose program waits."""
    return next(run_id for run_id, run in session.plan.runs.items() if mode_of(run) == "long")


def is_start(notice: Notice, run_id: str) -> bool:
    return isinstance(notice, AttemptStarted) and notice.job_id == run_id


def attempts_at(run_id: str, notices: list[Notice]) -> list[AttemptEnded]:
    return [one for one in ended(notices) if one.job_id == run_id]


def ended(notices: list[Notice]) -> list[AttemptEnded]:
    return [notice for notice in notices if isinstance(notice, AttemptEnded)]


def begun(file: Path) -> Counter[str]:
    """How often the program of each long run was started, by run."""
    return Counter({path.name: len(path.read_text()) for path in file.parent.glob("begun-*")})


def test_runs_are_trained_one_after_the_other_by_as_many_pilots_as_were_asked_for(
    folder: Path, cluster: ProcessCluster
) -> None:
    file = sweep_of(folder, ["quick"] * 5)
    with session_on(file, jobs=2) as session:
        notices = train(session)
    assert len(cluster.submitted) == 2
    assert Counter(one.outcome for one in ended(notices)) == {"done": 5}
    with opened(folder / "isoflop.db") as db:
        rows = db.execute("select engine, engine_job, host from attempts").fetchall()
    assert {row[0] for row in rows} == {"slurm"} and {row[1] for row in rows} <= set(cluster.submitted)
    until(lambda: not any(map(alive, cluster.submitted)))
    left = {json.loads(path.read_text().splitlines()[-1])["answer"] for path in folder.rglob("answers.jsonl")}
    assert left == {"leaving"}


def test_no_more_pilots_are_asked_for_than_there_are_runs(folder: Path, cluster: ProcessCluster) -> None:
    with session_on(sweep_of(folder, ["quick"]), jobs=9) as session:
        train(session)
    assert len(cluster.submitted) == 4


def test_a_pilot_that_is_killed_costs_an_attempt_and_no_run(folder: Path, cluster: ProcessCluster) -> None:
    file = sweep_of(folder, ["long"])
    with session_on(file) as session:
        long = long_run(session)

        def react(notice: Notice) -> None:
            if is_start(notice, long) and len(cluster.submitted) == 1:
                until(lambda: begun(file).total() == 1)
                send(next(iter(cluster.submitted)), signal.SIGKILL)
            elif is_start(notice, long):
                (folder / "go").touch()  # not before: the killed pilot's worker would still report

        notices = train(session, react)
        assert session.outcome().n_completed == 4
    first, second = attempts_at(long, notices)
    assert (first.outcome, second.outcome) == ("died", "done")
    assert first.reason is not None and "was lost with Slurm job" in first.reason
    assert RunDir(folder / "artifacts" / long).is_fenced(1)
    assert len(cluster.submitted) == 2
    assert Counter(one.result.run_id for one in notices if isinstance(one, RunFinished)).most_common(1)[0][1] == 1


def test_a_pilot_that_is_evicted_has_its_run_go_on_in_another_without_a_death(
    folder: Path, cluster: ProcessCluster
) -> None:
    file = sweep_of(folder, ["long"])
    with session_on(file) as session:
        long = long_run(session)

        def react(notice: Notice) -> None:
            if is_start(notice, long):
                until(lambda: begun(file).total() == len(cluster.submitted))
                if len(cluster.submitted) == 1:
                    send(next(iter(cluster.submitted)), signal.SIGUSR2)
                else:
                    (folder / "go").touch()

        notices = train(session, react)
    said = [(one.outcome, one.reason) for one in attempts_at(long, notices)]
    assert said == [("interrupted", "the time limit of its allocation is near"), ("done", None)]
    assert begun(file).total() == 2 and len(cluster.submitted) == 2


COORDINATOR = """
import sys
from pathlib import Path
from isoflop.sweep import workplace
from tests.pilots.process_cluster import ProcessCluster
from tests.pilots.test_pilots import session_on
workplace._cluster = lambda *arguments: ProcessCluster()
with session_on(Path(sys.argv[1])) as session:
    for notice in session.events():
        print(type(notice).__name__, flush=True)
"""


def test_a_run_goes_on_that_a_coordinator_left_which_was_killed(folder: Path, cluster: ProcessCluster) -> None:
    file = sweep_of(folder, ["long", "quick", "quick"])
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    coordinator = subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(file)], env={**os.environ, "PYTHONPATH": path}
    )
    until(lambda: begun(file).total() == 1)
    coordinator.kill()
    coordinator.wait()
    with session_on(file) as session:
        assert list(cluster.submitted), "the pilot was not found again"
        (folder / "go").touch()
        notices = train(session)
        assert session.outcome().n_completed == 4
    assert begun(file).total() == 1, "the run was started again"
    assert len(cluster.submitted) == 1 and {one.outcome for one in ended(notices)} == {"done"}


def test_what_a_lost_pilot_writes_when_it_comes_back_does_not_count(folder: Path, cluster: ProcessCluster) -> None:
    """Split brain: its node was thought dead, its run went on elsewhere, and then it wakes up."""
    file = sweep_of(folder, ["long"])
    frozen: list[psutil.Process] = []
    with session_on(file) as session:
        long = long_run(session)

        def react(notice: Notice) -> None:
            if is_start(notice, long) and not frozen:
                until(lambda: begun(file).total() == 1)
                (job,) = cluster.submitted
                frozen.extend(kin(job))
                for process in frozen:
                    process.suspend()
                cluster.said[job] = JobStatus(JobState.ENDED, "NODE_FAIL", None, "n1")
            elif is_start(notice, long):
                (folder / "go").touch()
            elif isinstance(notice, AttemptEnded) and notice.outcome == "died":
                wake(frozen)  # until then the old worker holds the run's directory (flock)

        notices = train(session, react)
    first, *_, last = attempts_at(long, notices)
    assert (first.outcome, last.outcome) == ("died", "done")
    until(lambda: all(map(has_ended, frozen)))
    kept = RunDir(folder / "artifacts" / long).read_result(long)
    assert kept is not None and kept.attempt == last.attempt > 1


def wake(frozen: list[psutil.Process]) -> None:
    for process in frozen:
        with contextlib.suppress(psutil.NoSuchProcess):  # its pilot, awake, has seen the fence and killed it
            process.resume()


def test_a_late_result_is_told_and_set_aside(folder: Path, cluster: ProcessCluster) -> None:
    file = sweep_of(folder, ["quick"])
    with session_on(file) as session:
        notices = train(session)
    result = next(notice.result for notice in notices if isinstance(notice, RunFinished))
    run_dir = RunDir(folder / "artifacts" / result.run_id)
    run_dir.fence(1, "was lost")
    assert run_dir.read_result(result.run_id) is None and run_dir.late_result(result.run_id) == result
    (folder / "isoflop.db").unlink()
    with session_on(file) as session:
        told = train(session)
        assert session.outcome().n_completed == 4
    assert [notice for notice in told if isinstance(notice, LateResult)] == [LateResult(result.run_id, 1)]
    assert [(one.attempt, one.outcome) for one in ended(told)] == [(2, "done")]
    assert (run_dir.attempt_dir(1) / f"late-result-{result.run_id}.json").exists()


def test_jobs_that_end_before_their_pilot_speaks_stop_the_command(folder: Path, cluster: ProcessCluster) -> None:
    cluster.command = [sys.executable, "-c", "print('no such thing here')"]
    with pytest.raises(IsoflopError, match="ended before their pilot said a word") as raised:
        session_on(sweep_of(folder, ["quick"])).__enter__()
    assert "ends with 'no such thing here'" in raised.value.message
    assert "pilots" in raised.value.hint
    assert len(cluster.submitted) == submissions.MOST_MUTE
    assert all(Mailbox(path).is_closed for path in cluster.submitted.values())


OLD_PILOT = """
import isoflop, runpy, sys
isoflop.__version__ = "0.0.1"
sys.argv = ["pilot", *sys.argv[1:]]
runpy.run_module("isoflop.engine.pilots.pilot_start", run_name="__main__")
"""


def test_another_version_there_stops_the_command(folder: Path, cluster: ProcessCluster) -> None:
    cluster.command = [sys.executable, "-P", "-c", OLD_PILOT]
    with pytest.raises(IsoflopError, match=r"n1 has isoflop 0\.0\.1, and this is") as raised:
        session_on(sweep_of(folder, ["quick"])).__enter__()
    assert "python=PATH" in raised.value.hint
    until(lambda: not any(map(alive, cluster.submitted)))


def test_a_pilot_without_work_ends_by_itself(folder: Path, cluster: ProcessCluster) -> None:
    with session_on(sweep_of(folder, ["quick"])):
        (job,) = cluster.submitted
        until(lambda: not alive(job), seconds=12)
        answers, _ = Mailbox(cluster.submitted[job]).answers(0)
    assert isinstance(answers[0], HereAnswer)
    assert getattr(answers[-1], "why", "") == "it had no work for 5 s"


def test_a_pilot_that_does_not_obey_is_given_up(
    folder: Path, cluster: ProcessCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot_engine, "OBEY_SECONDS", 1.0)
    file = sweep_of(folder, ["long"])
    with session_on(file) as session:
        long = long_run(session)

        def react(notice: Notice) -> None:
            if is_start(notice, long):
                (job,) = cluster.submitted
                for process in kin(job):
                    process.suspend()
                session.engine.kill()

        notices = train(session, react)
    assert [one.outcome for one in attempts_at(long, notices)] == ["interrupted"]
    assert RunDir(folder / "artifacts" / long).is_fenced(1)


def test_the_cluster_is_asked_once_for_all(folder: Path, cluster: ProcessCluster) -> None:
    with session_on(sweep_of(folder, ["quick"] * 4), jobs=4, poll_seconds="1000") as session:
        before = cluster.n_asked
        train(session)
    assert cluster.n_asked - before <= 1


def test_a_job_where_nothing_can_be_trained_is_left_out_and_said_so(folder: Path, cluster: ProcessCluster) -> None:
    """Its node is another's fault; the first would have stopped the command."""
    file = sweep_of(folder, ["long"])
    good = cluster.command
    with session_on(file) as session:
        long = long_run(session)

        def react(notice: Notice) -> None:
            if is_start(notice, long) and len(cluster.submitted) == 1:
                cluster.command = [*good[:2], "-c", OLD_PILOT]
                send(next(iter(cluster.submitted)), signal.SIGUSR2)
            elif isinstance(notice, EngineSaid):
                cluster.command = good
            elif is_start(notice, long):
                (folder / "go").touch()

        notices = train(session, react)
        assert session.outcome().n_completed == 4
    said = [notice.sentence for notice in notices if isinstance(notice, EngineSaid)]
    assert said and all("is left out: n1 has isoflop 0.0.1, and this is" in sentence for sentence in said)
    assert len(cluster.submitted) == 2 + len(said)


def test_a_cluster_that_refuses_more_jobs_is_asked_again(
    folder: Path, cluster: ProcessCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "AGAIN_SECONDS", 0.3)
    file = sweep_of(folder, ["long"])
    refusals: list[int] = []
    with session_on(file) as session:
        long = long_run(session)
        submit = cluster.submit

        def refuse(folder: Path, number: int) -> list[str]:
            refusals.append(number)
            if len(refusals) < 3:
                raise IsoflopError("Slurm refuses the jobs: job limit reached.", hint="Wait.")
            return submit(folder, number)

        def react(notice: Notice) -> None:
            if is_start(notice, long) and not refusals:
                monkeypatch.setattr(cluster, "submit", refuse)
                send(next(iter(cluster.submitted)), signal.SIGUSR2)
            elif is_start(notice, long):
                (folder / "go").touch()

        notices = train(session, react)
        assert session.outcome().n_completed == 4
    assert len(refusals) == 3
    said = {notice.sentence for notice in notices if isinstance(notice, EngineSaid)}
    assert said == {"Slurm refuses the jobs: job limit reached. It is asked again every 0 s."}


def test_a_finished_sweep_asks_for_no_job(folder: Path, cluster: ProcessCluster) -> None:
    file = sweep_of(folder, ["quick"])
    with session_on(file) as session:
        train(session)
    until(lambda: not any(map(alive, cluster.submitted)))
    with session_on(file) as session:
        assert train(session) == [] and session.outcome().n_completed == 4
    assert len(cluster.submitted) == 1


def test_more_pilots_than_runs_are_left_are_all_taken_up(folder: Path, cluster: ProcessCluster) -> None:
    """Those at work have places before those that wait for orders."""
    file = sweep_of(folder, ["quick", "quick", "long", "quick"])
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    program = COORDINATOR.replace("session_on(Path(sys.argv[1]))", "session_on(Path(sys.argv[1]), jobs=3)")
    coordinator = subprocess.Popen([sys.executable, "-c", program, str(file)], env={**os.environ, "PYTHONPATH": path})
    results = folder / "artifacts"
    until(lambda: begun(file).total() == 1 and len(list(results.glob("*/result-*.json"))) == 3)
    coordinator.kill()
    coordinator.wait()
    with session_on(file) as session:
        (folder / "go").touch()
        train(session)
        assert session.outcome().n_completed == 4
    assert begun(file).total() == 1, "the run was started again"


def test_a_pilot_that_was_told_to_end_and_is_at_work_is_given_up(folder: Path, cluster: ProcessCluster) -> None:
    """A command that ended while a node stood still: whether its pilot ever hears that, nobody knows."""
    file = sweep_of(folder, ["long"])
    frozen: list[psutil.Process] = []
    with pytest.raises(KeyboardInterrupt), session_on(file) as session:
        long = long_run(session)
        for notice in session.events():
            if is_start(notice, long):
                until(lambda: begun(file).total() == 1)
                frozen.extend(kin(next(iter(cluster.submitted))))
                for process in frozen:
                    process.suspend()
                raise KeyboardInterrupt
    with session_on(file) as session:
        assert RunDir(folder / "artifacts" / long).is_fenced(1)
        (folder / "go").touch()
        wake(frozen)  # its claim is of this machine, so the run would wait for it
        train(session)
        assert session.outcome().n_completed == 4
    until(lambda: all(map(has_ended, frozen)))
    kept = RunDir(folder / "artifacts" / long).read_result(long)
    assert kept is not None and kept.attempt > 1
