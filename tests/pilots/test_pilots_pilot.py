"""What a pilot does with its orders; workers that do what a script says."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from isoflop.engine.pilots.mailbox import AnyAnswer, EndedAnswer, LeavingAnswer, Mailbox, ObstacleAnswer, TellOrder
from isoflop.engine.pilots.pilot import BEAT_SECONDS, LOOK_SECONDS
from isoflop.engine.protocol import Ended, Order, WorkerRef
from isoflop.errors import IsoflopError
from isoflop.rundir import ExitCode, RunDir
from tests.pilots.pilot_stage import CONTENT, RUNS, Stage
from tests.scripted_engine import CRASH, HANG, REFUSE, WORK


def told(*, worker: int, exit_code: int, results: tuple[str, ...] = (), evicted: str | None = None) -> EndedAnswer:
    """The answer for a worker that began: the code counts, and what is said where there is none."""
    lost = Ended(None).lost
    return EndedAnswer(worker=worker, exit_code=exit_code, lost=lost, results=results, evicted=evicted)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_workers_start_on_the_lanes_ordered_and_their_ends_are_told_with_their_results(stage: Stage) -> None:
    stage.engine.does(CRASH, worker=1)
    stage.order(0)
    stage.order(1)
    stage.engine.at(1, stage.end)
    stage.pilot.run()
    assert stage.answers() == [
        told(worker=0, exit_code=ExitCode.DONE, results=(RUNS[0].run_id,)),
        told(worker=1, exit_code=1),
        LeavingAnswer(why="enough"),
    ]
    for number in (0, 1):
        given = stage.worker(number).launch.assignment
        assert (given.coordinator_pid, given.visible_device, given.device_name) == (
            os.getpid(), str(number), f"GPU {number}",
        )  # fmt: skip
    assert stage.engine.closings == ["for all"]


def test_what_a_worker_did_is_told_though_its_directory_is_gone(stage: Stage) -> None:
    stage.engine.does(HANG)
    stage.order(0)
    stage.engine.at(1, stage.run_dir(0).job_path.unlink)
    stage.engine.at(2, lambda: stage.box.order(TellOrder(worker=0, what=Order.KILL)))
    stage.engine.at(3, stage.end)
    stage.pilot.run()
    assert stage.ended() == {0: told(worker=0, exit_code=-signal.SIGKILL)}


def test_an_order_to_end_lets_workers_checkpoint_and_is_no_eviction(stage: Stage) -> None:
    stage.engine.does(WORK)
    stage.order(0)
    stage.engine.at(1, stage.end)
    stage.pilot.run()
    assert stage.worker(0).orders == [Order.CHECKPOINT]
    assert stage.ended() == {0: told(worker=0, exit_code=ExitCode.CHECKPOINTED)}
    assert stage.answers()[-1] == LeavingAnswer(why="enough")


def test_an_eviction_checkpoints_all_kills_after_the_grace_and_begins_nothing_more(stage: Stage) -> None:
    stage.engine.does(WORK, worker=0)
    stage.engine.does(HANG, worker=1)
    stage.order(0)
    stage.order(1)
    killed_at: list[float] = []
    stage.engine.at(1, lambda: stage.pilot.evict("time is up"))
    stage.engine.at(2, lambda: stage.order(2))
    stage.engine.at(2, lambda: stage.pilot.evict("a second signal"))
    whole = stage.engine.tell

    def tell(workers: Sequence[WorkerRef], order: Order) -> None:
        if order is Order.KILL and workers:
            killed_at.append(stage.engine.clock.now)
        whole(workers, order)

    stage.engine.tell = tell  # type: ignore[method-assign]
    stage.pilot.run()
    assert stage.worker(0).orders == [Order.CHECKPOINT]
    assert stage.worker(1).orders == [Order.CHECKPOINT, Order.KILL]
    [second] = killed_at
    assert CONTENT.grace_seconds < second - 1 <= CONTENT.grace_seconds + 2 * LOOK_SECONDS
    assert stage.ended() == {
        0: told(worker=0, exit_code=ExitCode.CHECKPOINTED, evicted="time is up"),
        1: told(worker=1, exit_code=-signal.SIGKILL, evicted="time is up"),
        2: EndedAnswer(worker=2, evicted="time is up", begun=False),
    }
    assert stage.answers()[-1] == LeavingAnswer(why="time is up")
    assert len(stage.engine.started) == 2


def test_an_order_that_comes_after_the_last_look_is_answered_too(stage: Stage) -> None:
    close = stage.engine.close

    def close_late(*, now: bool) -> None:
        close(now=now)
        stage.order(2)

    stage.engine.close = close_late  # type: ignore[method-assign]
    stage.end()
    stage.pilot.run()
    assert stage.answers() == [
        EndedAnswer(worker=2, evicted="enough", begun=False),
        LeavingAnswer(why="enough"),
    ]


def test_a_pilot_without_work_ends_and_counts_from_its_last_worker_on(stage: Stage) -> None:
    stage.engine.does(HANG)
    stage.order(0)
    stage.engine.at(30, lambda: stage.box.order(TellOrder(worker=0, what=Order.KILL)))
    stage.pilot.run()
    assert stage.answers()[-1] == LeavingAnswer(why="it had no work for 10 s")
    assert 40 < stage.engine.clock.now < 42


def test_a_worker_of_a_fenced_attempt_is_killed_and_no_other(stage: Stage) -> None:
    stage.engine.does(HANG, worker=0)
    stage.engine.does(WORK, worker=1)
    stage.order(0)
    stage.order(1)
    seen: dict[int, EndedAnswer] = {}
    stage.engine.at(1, lambda: stage.run_dir(0).fence(1, "given up"))
    stage.engine.at(2 + BEAT_SECONDS, lambda: seen.update(stage.ended()))
    stage.engine.at(5, stage.end)
    stage.pilot.run()
    assert seen == {0: told(worker=0, exit_code=-signal.SIGKILL)}
    assert stage.worker(1).orders == [Order.CHECKPOINT]


def test_a_fence_that_cannot_be_read_kills_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_fenced(self: RunDir, attempt: int) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(RunDir, "is_fenced", is_fenced)
    stage.engine.does(WORK)
    stage.order(0)
    stage.engine.at(5, stage.end)
    stage.pilot.run()
    assert stage.worker(0).orders == [Order.CHECKPOINT]


def test_a_worker_that_waits_for_room_is_withdrawn_when_it_is_told_to_end(stage: Stage) -> None:
    """Not when its stack is asked for: then it starts as soon as it can."""
    stage.engine.does(*[REFUSE] * 20, worker=0)
    stage.engine.does(*[REFUSE] * 20, worker=1)
    stage.order(0)
    stage.order(1)
    stage.engine.at(1, lambda: stage.box.order(TellOrder(worker=0, what=Order.CHECKPOINT)))
    stage.engine.at(1, lambda: stage.box.order(TellOrder(worker=1, what=Order.DUMP)))
    stage.engine.at(20, stage.end)
    stage.pilot.run()
    ended = stage.ended()
    assert ended[0] == EndedAnswer(worker=0, begun=False)
    assert ended[1].exit_code == ExitCode.DONE
    assert [worker.launch.slot for worker in stage.engine.started] == [1]


def test_what_keeps_every_worker_from_starting_is_told_and_ends_the_pilot(stage: Stage) -> None:
    stage.engine.does(WORK)
    stage.order(0)
    stage.engine.at(1, lambda: setattr(stage.engine, "refusal", IsoflopError("No room.", hint="Make some.")))
    stage.engine.at(1, lambda: stage.order(1))
    stage.pilot.run()
    assert stage.answers() == [
        ObstacleAnswer(message="No room.", hint="Make some."),
        EndedAnswer(worker=1, evicted="No room.", begun=False),
        told(worker=0, exit_code=ExitCode.CHECKPOINTED, evicted="No room."),
        LeavingAnswer(why="No room."),
    ]


def test_a_pilot_that_was_given_up_ends_its_workers_and_itself(stage: Stage) -> None:
    stage.engine.does(WORK)
    stage.order(0)
    stage.engine.at(1, lambda: stage.box.close("it does not obey"))
    stage.pilot.run()
    why = "its coordinator has given it up"
    assert stage.ended() == {0: told(worker=0, exit_code=ExitCode.CHECKPOINTED, evicted=why)}
    assert stage.answers()[-1] == LeavingAnswer(why=why)


def test_a_pilot_beats_while_it_waits(stage: Stage) -> None:
    ages: list[bool] = []
    stage.engine.at(1, lambda: os.utime(stage.box.heartbeat_path, (1, 1)))
    stage.engine.at(1 + 2 * BEAT_SECONDS, lambda: ages.append(stage.box.heartbeat_path.stat().st_mtime > 1))
    stage.engine.at(6, stage.end)
    stage.pilot.run()
    assert ages == [True]


def test_answers_that_find_no_room_on_the_disk_are_told_later_in_order(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, failed = Mailbox.answer, []

    def answer(self: Mailbox, said: AnyAnswer) -> None:
        if stage.engine.clock.now < 5:
            failed.append(said)
            raise OSError(28, "No space left on device")
        whole(self, said)

    monkeypatch.setattr(Mailbox, "answer", answer)
    stage.engine.does(CRASH, worker=1)
    stage.order(0)
    stage.engine.at(1, lambda: stage.order(1))
    stage.engine.at(8, stage.end)
    stage.pilot.run()
    assert failed
    assert list(stage.ended()) == [0, 1]
    assert len(stage.answers()) == 3
