"""A cluster that does not answer: waited for where it has given jobs before, and not for ever."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from isoflop.engine.pilots.cluster import ClusterAwayError
from isoflop.engine.pilots.fleet import AGAIN_SECONDS, AWAY_SECONDS, MOST_REFUSALS, Fleet
from isoflop.engine.pilots.mailbox import Mailbox, PilotFile
from isoflop.errors import IsoflopError
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

    def submit(self, folder: Path, number: int) -> list[str]:
        self.n_submits += 1
        if self.answer is not None:
            raise self.answer
        return [f"{self.n_submits}_{index}" for index in range(number)]

    def cancel(self, jobs: Sequence[str]) -> bool:
        return True


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
    cluster.answer = None
    clock.now += AGAIN_SECONDS
    fleet.ask_for(1)
    assert (cluster.n_submits, len(fleet.pilots)) == (3, 2)


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
