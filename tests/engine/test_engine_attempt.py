"""What is read of one attempt, and what its end means: real files of a run directory, no worker."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isoflop.engine.attempt import Attempt
from isoflop.engine.dispatch import DEFAULT_STALL_SECONDS
from isoflop.engine.execution import GitState, job_file, memory_needed
from isoflop.engine.notices import AttemptStarted, Progressed, RunFinished
from isoflop.engine.policy import RetryPolicy, failed_result
from isoflop.engine.protocol import Ended, Order, Slot, WorkerRef
from isoflop.engine.vigil import Vigil
from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import ExitCode, RunDir
from isoflop.rundir.events import ObstacleEvent, ProgressEvent, StartedEvent, result_event
from isoflop.spec import RunPolicy
from tests.run_examples import RUN
from tests.scripted_engine import Clock

OTHER = RunSpec.model_validate({**RUN.model_dump(), "seed": 1})
WIDE = RunSpec.model_validate({**RUN.model_dump(), "shape": {**RUN.shape.as_dict(), "width": 256, "head_dim": 256}})
CORE = Slot("cpu", "core", "", 1e15, bfloat16=False)
Make = Callable[..., Attempt]


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def attempt(tmp_path: Path, clock: Clock) -> Make:
    """The attempt of a number at both runs, which is to be killed after ten seconds of silence."""

    def make(number: int = 2) -> Attempt:
        run_dir, job = RunDir(tmp_path), Job((RUN, OTHER))
        run_dir.write_job(job_file(job, CORE, run_dir))
        vigil = Vigil(run_dir, 10.0, clock)
        return Attempt(number, 3, "core", job, run_dir, WorkerRef("w"), run_dir.events_size, vigil, 0.0)

    return make


def leave_result(attempt: Attempt, run: RunSpec, number: int) -> None:
    """As a worker of that attempt would."""
    failed = failed_result(run, attempt, "for want of a better one", GitState(None, None))
    attempt.run_dir.write_result(failed.model_copy(update={"attempt": number}))
    attempt.run_dir.append_event(result_event(run.run_id, failed.status.value))


def test_a_result_is_told_once_with_the_worker_that_left_it(attempt: Make) -> None:
    made = attempt()
    leave_result(made, RUN, number=2)
    (notice,) = made.read()
    assert isinstance(notice, RunFinished) and notice.worker == 3
    assert list(made.read()) == list(made.result(RUN.run_id, 0.0)) == []
    assert made.missing == [OTHER] and made.has_own_result


def test_a_result_of_another_attempt_is_of_no_worker_and_makes_this_one_an_interruption(attempt: Make) -> None:
    made = attempt()
    for run in (RUN, OTHER):
        leave_result(made, run, number=1)
    assert [notice.worker for notice in made.read() if isinstance(notice, RunFinished)] == [None, None]
    verdict = RetryPolicy().judge(made, Ended(ExitCode.DONE), stopping=False)
    assert (verdict.outcome, verdict.reason) == ("interrupted", "another process trains it")


def test_with_a_result_of_its_own_beside_another_attempts_a_worker_is_done(attempt: Make) -> None:
    made = attempt()
    leave_result(made, RUN, number=1)
    leave_result(made, OTHER, number=2)
    assert [notice.worker for notice in made.read() if isinstance(notice, RunFinished)] == [None, 3]
    assert RetryPolicy().judge(made, Ended(1), stopping=True).outcome == "done"


def test_a_start_is_told_with_the_moment_that_the_worker_names_or_with_now(attempt: Make) -> None:
    made = attempt()
    made.run_dir.append_event(StartedEvent(None, 55.5, None))
    made.run_dir.append_event(StartedEvent(None, None, None))
    before = time.monotonic()
    named, unnamed = (notice.at for notice in made.read() if isinstance(notice, AttemptStarted))
    assert named == 55.5
    assert before <= unnamed <= time.monotonic()


def test_a_worker_that_reports_slow_steps_may_be_silent_for_twenty_of_them(attempt: Make, clock: Clock) -> None:
    made = attempt()
    # 128 tokens per step at 64 per second: 2 s each
    made.run_dir.append_event(ProgressEvent(0.0, RUN.run_id, 3, 384, 4.0, 64.0))
    made.run_dir.append_event(ProgressEvent(0.0, "a run of no job of ours", 9, 9, 4.0, 1e9))
    (notice,) = made.read()
    assert isinstance(notice, Progressed) and (notice.run_id, notice.step, notice.worker) == (RUN.run_id, 3, 3)
    clock.now += 39.9
    assert made.order_if_stuck() is None
    clock.now += 0.2
    assert made.order_if_stuck() is Order.DUMP
    assert made.order_if_stuck() is None
    clock.now += 1.1
    assert made.order_if_stuck() is Order.KILL
    assert made.hung == "took no step for 40 s and was killed; its stack is in the log"


def test_of_two_obstacles_the_first_is_told(attempt: Make) -> None:
    made = attempt()
    for message in ("No corpus.", "No room."):
        made.run_dir.append_event(ObstacleEvent(message, "Mend it."))
    assert list(made.read()) == []
    obstacle = RetryPolicy().judge(made, Ended(ExitCode.OBSTACLE), stopping=False).obstacle
    assert obstacle is not None and (obstacle.message, obstacle.hint) == ("No corpus.", "Mend it.")


def test_an_obstacle_without_words_names_the_log(attempt: Make) -> None:
    made = attempt()
    obstacle = RetryPolicy().judge(made, Ended(ExitCode.OBSTACLE), stopping=False).obstacle
    assert obstacle is not None and str(made.run_dir.log_path(2)) in obstacle.hint


@pytest.mark.parametrize("runs", [(WIDE, RUN), (RUN, WIDE)], ids=["large first", "small first"])
def test_a_job_needs_the_memory_of_its_largest_run(runs: tuple[RunSpec, ...]) -> None:
    small, large = (memory_needed(Job((run,)), CORE) for run in (RUN, WIDE))
    assert memory_needed(Job(runs), CORE) == large > small


def test_an_engine_waits_as_long_for_a_sign_of_life_as_a_sweep_file_does() -> None:
    assert RunPolicy().stall_seconds == DEFAULT_STALL_SECONDS
