"""A cluster that does not answer, forgets, or gives jobs that are of no use: waited for, and not for ever."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop import __version__
from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.pilots.cluster import ClusterAwayError, JobState, JobStatus
from isoflop.engine.pilots.fleet import MUTE_SECONDS, SILENT_SECONDS, Fleet, Vacancy
from isoflop.engine.pilots.mailbox import EndOrder, HereAnswer, Mailbox, PilotFile, StartOrder
from isoflop.engine.pilots.pilot import STARTED_BEFORE, Pilot, main
from isoflop.engine.pilots.pilot_job import PilotJob
from isoflop.engine.pilots.submissions import AGAIN_SECONDS, AWAY_SECONDS, MOST_MUTE, MOST_REFUSALS
from isoflop.engine.protocol import Preload, Slot
from isoflop.errors import IsoflopError
from isoflop.rundir import Assignment, RunDir
from tests.pilots.process_cluster import ProcessCluster

CONTENT = PilotFile(
    sweep="tiny", database="x.db", engine="slurm", device="cpu", devices_per_run=1, lanes_per_device=1,
    idle_seconds=5, grace_seconds=5, submitted_at=0,
)  # fmt: skip


class Moody(ProcessCluster):
    """Names jobs and starts none; `answer` is what it does instead, None for that."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: IsoflopError | None = None
        self.n_submits = 0
        self.jobs: dict[int, str] = {}  # that it has of a request which was not answered
        self.cancelled: list[str] = []

    def submit(self, folder: Path, number: int) -> list[str]:
        self.n_submits += 1
        if self.answer is not None:
            raise self.answer
        return [f"{self.n_submits}_{index}" for index in range(number)]

    def find(self, folder: Path) -> dict[int, str]:
        return self.jobs

    def cancel(self, jobs: Sequence[str]) -> bool:
        self.cancelled += jobs
        return True

    def says(self, job: str, state: JobState, *, out_of_memory: bool = False) -> None:
        self.said[job] = JobStatus(state, state.value, None, "n1", out_of_memory)


AWAY = ClusterAwayError("Slurm does not answer.", hint="Is it up?")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cluster() -> Moody:
    return Moody()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet(tmp_path: Path, cluster: Moody, clock: Clock) -> Fleet:
    return Fleet(cluster, tmp_path, CONTENT, most=2, poll_seconds=1, clock=clock)


def test_a_cluster_that_never_answered_is_not_waited_for(fleet: Fleet, cluster: Moody) -> None:
    cluster.answer = AWAY
    with pytest.raises(ClusterAwayError):
        fleet.ask_for(1)


def test_a_cluster_that_is_away_is_asked_again_now_and_then(
    fleet: Fleet, cluster: Moody, clock: Clock, tmp_path: Path
) -> None:
    fleet.ask_for(1)
    cluster.answer = AWAY
    fleet.ask_for(1)
    clock.now += AGAIN_SECONDS / 2
    fleet.ask_for(1)
    assert (cluster.n_submits, len(fleet.pilots)) == (2, 1)
    closed = [box for box in map(Mailbox, tmp_path.glob("*/0")) if box.is_closed]
    assert len(closed) == 1  # where sbatch gave up, a job may have been made all the same: it finds this
    cluster.answer, cluster.jobs = None, {0: "7_0"}
    clock.now += AGAIN_SECONDS
    fleet.ask_for(1)
    assert (cluster.n_submits, len(fleet.pilots)) == (3, 2)
    assert not cluster.cancelled
    for pilot in fleet.pilots:
        cluster.says(pilot.job, JobState.QUEUED)
    clock.now += 2.0
    look(fleet)
    assert cluster.cancelled == ["7_0"]


def test_nobody_waits_for_ever_for_a_cluster_where_nobody_works(fleet: Fleet, cluster: Moody, clock: Clock) -> None:
    fleet.ask_for(1)
    cluster.answer = AWAY
    clock.now = AWAY_SECONDS + 1
    fleet.ask_for(1)  # its pilot may be at work
    fleet.give_up(fleet.pilots[0], "does not obey")
    clock.now += AGAIN_SECONDS
    with pytest.raises(ClusterAwayError):
        fleet.ask_for(1)


def test_refusals_are_borne_while_somebody_works(fleet: Fleet, cluster: Moody, clock: Clock) -> None:
    """A limit of jobs, say: it is asked again, and said so once; without anybody at work only so often."""
    cluster.answer = IsoflopError("Slurm refuses the jobs.", hint="No.")
    with pytest.raises(IsoflopError, match="refuses"):
        fleet.ask_for(1)  # the first
    cluster.answer, clock.now = None, AGAIN_SECONDS
    fleet.ask_for(1)
    cluster.answer = IsoflopError("Slurm refuses the jobs.", hint="No.")
    for _ in range(2 * MOST_REFUSALS):
        clock.now += AGAIN_SECONDS
        fleet.ask_for(1)
    assert set(fleet.said) == {"Slurm refuses the jobs. It is asked again every 10 s."}
    fleet.give_up(fleet.pilots[0], "does not obey")
    clock.now += AGAIN_SECONDS
    with pytest.raises(IsoflopError, match="refuses"):
        fleet.ask_for(1)


LANE = Slot("cuda", "H100", "0", 80e9, bfloat16=True)


def look(fleet: Fleet) -> list[Vacancy]:
    return [seen for seen in fleet.look() if isinstance(seen, Vacancy)]


def arrive(pilot: PilotJob, lane: Slot = LANE) -> None:
    """The pilot says its first word."""
    pilot.mailbox.answer(
        HereAnswer(
            host="n1", pid=1, process_start=0.0, seconds=0.0, isoflop_version=__version__, python_version="3",
            torch_version="2", lanes=(lane,),
        )
    )  # fmt: skip


def test_a_job_that_the_cluster_forgets_is_over_once_its_pilot_is_silent(
    fleet: Fleet, cluster: Moody, clock: Clock
) -> None:
    fleet.ask_for(1)
    [pilot] = fleet.pilots
    arrive(pilot)
    cluster.says(pilot.job, JobState.UNKNOWN)
    for second in range(int(2 * SILENT_SECONDS)):  # it beats
        clock.now += 1.5
        pilot.mailbox.heartbeat_path.touch()
        os.utime(pilot.mailbox.heartbeat_path, (second, second))
        assert not look(fleet)
    clock.now += 1.5
    assert not look(fleet)
    clock.now += SILENT_SECONDS
    [vacancy] = look(fleet)
    assert vacancy.pilot is pilot
    assert not fleet.pilots


def test_a_job_that_runs_and_never_speaks_is_given_up(fleet: Fleet, cluster: Moody, clock: Clock) -> None:
    for number in range(1, MOST_MUTE + 1):
        clock.now += AGAIN_SECONDS
        fleet.ask_for(1)
        job = fleet.pilots[0].job
        cluster.says(job, JobState.RUNNING)
        clock.now += 2.0
        assert not look(fleet)
        clock.now += MUTE_SECONDS + 1.0
        assert len(look(fleet)) == 1
        assert cluster.cancelled[-1] == job
        assert len(cluster.cancelled) == number
    clock.now += AGAIN_SECONDS
    with pytest.raises(IsoflopError, match=r"3 jobs ended before their pilot said a word; the last: .*15 minutes"):
        fleet.ask_for(1)


def test_a_pilot_on_another_kind_of_device_is_left_out_and_said_so(fleet: Fleet, cluster: Moody, clock: Clock) -> None:
    """And is not asked for without end, however often it comes."""
    fleet.ask_for(1)
    arrive(fleet.pilots[0])
    cluster.says(fleet.pilots[0].job, JobState.RUNNING)
    look(fleet)
    fleet.lanes = (LANE,)
    for _ in range(MOST_MUTE):
        fleet.ask_for(1)
        other = fleet.pilots[-1]
        arrive(other, replace(LANE, kind="cpu", name="cores"))
        cluster.says(other.job, JobState.RUNNING)
        [vacancy] = look(fleet)
        assert vacancy.pilot is other
        assert cluster.cancelled[-1] == other.job
    assert any("is left out: n1 has cores, and the sweep was planned for H100" in said for said in fleet.said)
    before = cluster.n_submits
    fleet.ask_for(1)
    assert cluster.n_submits == before
    assert len(fleet.pilots) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_memory_that_ran_out_is_a_run_s_own_where_it_was_alone(
    fleet: Fleet, cluster: Moody, clock: Clock, tmp_path: Path, number: int
) -> None:
    fleet.ask_for(1)
    [pilot] = fleet.pilots
    arrive(pilot)
    look(fleet)
    for worker in range(number):
        order = make_order(tmp_path / f"run-{worker}", worker)
        pilot.working[worker] = order
    cluster.says(pilot.job, JobState.ENDED, out_of_memory=True)
    clock.now += 2.0
    [vacancy] = look(fleet)
    ends = vacancy.ended.values()
    assert [end.out_of_memory for end in ends] == [number == 1] * number
    assert all(end.with_its_place and end.exit_code is None for end in ends)
    assert all(RunDir(tmp_path / f"run-{worker}").is_fenced(1) for worker in range(number))


def make_order(folder: Path, worker: int) -> StartOrder:
    folder.mkdir()
    assignment = Assignment(
        job_dir=folder, attempt=1, corpora=folder, peaks=folder, compiled=folder, coordinator_pid=1,
        visible_device="0", git_commit=None, git_dirty=None,
    )  # fmt: skip
    return StartOrder(worker=worker, lane=0, preload=Preload.NOTHING, assignment=assignment)


def test_a_pilot_whose_job_is_suspended_takes_no_orders_and_is_not_over(
    fleet: Fleet, cluster: Moody, clock: Clock
) -> None:
    fleet.ask_for(1)
    [pilot] = fleet.pilots
    arrive(pilot)
    cluster.says(pilot.job, JobState.SUSPENDED)
    clock.now += 2.0
    look(fleet)
    assert pilot.stands_still
    assert not pilot.takes_orders
    look(fleet)
    suspended = f"Slurm has suspended job {pilot.job}: its runs go on when it is resumed."
    assert fleet.said.count(suspended) == 1
    cluster.says(pilot.job, JobState.RUNNING)
    clock.now += 2.0
    look(fleet)
    assert pilot.takes_orders


def test_a_pilot_whose_job_is_started_a_second_time_ends_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its orders were for the first, whose workers may live on a node that was lost."""
    box = Mailbox(tmp_path / "0")
    box.create(CONTENT)
    arrive(PilotJob("7_0", box))
    before = box.answers_path.read_bytes()
    assert main(str(tmp_path), "0") == STARTED_BEFORE
    assert "started a second time" in capsys.readouterr().err
    assert box.answers_path.read_bytes() == before


def test_storage_that_is_away_for_a_moment_ends_no_pilot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Mailbox(tmp_path / "0")
    box.create(CONTENT)
    pilot, tries = Pilot(box, CONTENT, LocalEngine(())), []
    whole = Mailbox.orders

    def orders(self: Mailbox, offset: int) -> object:
        tries.append(offset)
        if len(tries) < 3:
            raise OSError(116, "Stale file handle")
        return whole(self, offset)

    monkeypatch.setattr(Mailbox, "orders", orders)
    box.order(EndOrder(why="enough"))
    pilot.run()
    assert len(tries) >= 3
    assert "enough" in box.answers_path.read_text()


def test_folders_of_jobs_that_cannot_be_made_are_a_sentence(cluster: Moody, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fleet = Fleet(cluster, tmp_path / "file", CONTENT, most=2, poll_seconds=1)
    with pytest.raises(IsoflopError, match=r"Folders of jobs cannot be made in .*: Not a directory") as raised:
        fleet.ask_for(1)
    assert "--artifacts" in raised.value.hint
    assert cluster.n_submits == 0
