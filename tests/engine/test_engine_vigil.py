"""How long a silent worker is waited for: a clock told by hand, a real heartbeat file."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from isoflop.engine.vigil import Vigil
from isoflop.run_spec import Job
from isoflop.rundir import RunDir
from isoflop.rundir.events import ProgressEvent
from tests.run_examples import RUN

# The run takes 128 tokens per step: at 64 tokens per second a step usually takes 2 s, and 20 of them 40 s.
TOKENS_PER_SECOND, TWENTY_STEPS = 64.0, 40.0
OTHER = RUN.model_copy(update={"batch_sequences": 16})


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress(rate: float = TOKENS_PER_SECOND, run=RUN) -> ProgressEvent:
    return ProgressEvent(0.0, run.run_id, step=3, n_tokens=384, loss=4.0, tokens_per_second=rate)


def watched(folder: Path, clock: Clock, *, stall_seconds: float, rate: float = TOKENS_PER_SECOND) -> Vigil:
    RunDir(folder).beat(1)
    watch = Vigil(RunDir(folder), stall_seconds, clock)
    watch.learn_pace(Job((OTHER, RUN)), progress(rate))
    return watch


def silent_after(watch: Vigil, clock: Clock) -> float:
    """Seconds of silence, to a tenth, that are the first to be too long."""
    begun = clock.now
    while watch.too_long() is None:
        clock.now += 0.1
        assert clock.now < begun + 1e4
    return clock.now - begun


def test_a_worker_may_be_silent_for_twenty_usual_steps(tmp_path: Path, clock: Clock) -> None:
    watch = watched(tmp_path, clock, stall_seconds=10)
    clock.now += TWENTY_STEPS
    assert watch.too_long() is None
    clock.now += 0.5
    assert watch.too_long() == TWENTY_STEPS + 0.5


def test_a_worker_that_could_give_no_sign_is_excused(tmp_path: Path, clock: Clock) -> None:
    watch = watched(tmp_path, clock, stall_seconds=10)
    clock.now += 1000.0
    watch.excuse()
    assert watch.too_long() is None
    assert silent_after(watch, clock) == pytest.approx(TWENTY_STEPS, abs=0.2)


@pytest.mark.parametrize(
    ("stall_seconds", "rate", "expected"),
    [(10, 64.0, 40), (10, 32.0, 80), (60, 64.0, 60), (10, 6400.0, 10), (10, 0.0, 10)],
    ids=["steps of 2 s", "steps of 4 s", "a longer limit", "steps of 20 ms", "no pace yet"],
)
def test_the_longer_of_limit_and_twenty_steps_counts(
    tmp_path: Path, clock: Clock, stall_seconds: float, rate: float, expected: float
) -> None:
    assert silent_after(watched(tmp_path, clock, stall_seconds=stall_seconds, rate=rate), clock) == pytest.approx(
        expected, abs=0.2
    )


def test_a_pace_is_that_of_the_run_that_reports_it_and_a_report_without_one_changes_nothing(
    tmp_path: Path, clock: Clock
) -> None:
    watch = watched(tmp_path, clock, stall_seconds=1)
    watch.learn_pace(Job((RUN, OTHER)), progress(run=OTHER))  # 1024 tokens per step
    watch.learn_pace(Job((RUN, OTHER)), progress(rate=0.0))
    assert silent_after(watch, clock) == pytest.approx(8 * TWENTY_STEPS, abs=0.2)


def test_a_heartbeat_starts_the_wait_again(tmp_path: Path, clock: Clock) -> None:
    watch = watched(tmp_path, clock, stall_seconds=10)
    clock.now += 39
    RunDir(tmp_path).beat(2)
    assert watch.too_long() is None
    assert silent_after(watch, clock) == pytest.approx(TWENTY_STEPS, abs=0.2)


def test_a_silent_worker_has_a_second_to_write_its_stack_and_one_that_beats_again_a_new_one(
    tmp_path: Path, clock: Clock
) -> None:
    watch = watched(tmp_path, clock, stall_seconds=10)
    assert not watch.dumped()
    silent_after(watch, clock)
    clock.now += 0.9
    assert watch.too_long()
    assert not watch.dumped()
    clock.now += 0.2
    assert watch.dumped()
    RunDir(tmp_path).beat(2)
    assert watch.too_long() is None
    assert not watch.dumped()


def test_a_worker_without_a_heartbeat_file_is_as_silent_as_any(tmp_path: Path, clock: Clock) -> None:
    watch = Vigil(RunDir(tmp_path), 10, clock)
    assert silent_after(watch, clock) == pytest.approx(10, abs=0.2)
