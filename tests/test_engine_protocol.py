"""What every engine shares (queue, retries, giving up, stopping), through one without processes: in milliseconds."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from isoflop.engine.dispatch import Dispatcher
from isoflop.engine.execution import GitState, memory_needed
from isoflop.engine.notices import (
    AttemptEnded,
    AttemptStarted,
    DeviceHeld,
    DeviceTakenOut,
    Holder,
    Notice,
    Progressed,
    RunFinished,
    Waiting,
)
from isoflop.engine.policy import MAX_STOPS
from isoflop.engine.protocol import PATIENCE_SECONDS, Order, Preload, Slot
from isoflop.errors import IsoflopError
from isoflop.plan.estimate import memory_bytes
from isoflop.result import Status
from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import RunDir
from isoflop.rundir.events import ProgressEvent
from tests.run_examples import RUN
from tests.scripted_engine import (
    BUSY,
    CRASH,
    DEVICE,
    DIE,
    EVICT,
    GONE,
    HANG,
    KERNEL,
    LOSE,
    MEMORY,
    OBSTACLE,
    RECORD,
    REFUSE,
    STUCK,
    UNTOLD,
    WORK,
    Clock,
    ScriptedEngine,
)


def variant(**changes: object) -> RunSpec:
    """A simulated run; not by `model_copy` or `dict`, which would keep an id that was computed before."""
    return RunSpec.model_validate({**RUN.model_dump(), "trainer": "simulated", "batch_sequences": 8, **changes})


RUNS = [variant(seed=seed) for seed in range(6)]
FIRST, SECOND, THIRD = (run.run_id for run in RUNS[:3])
ROOMY = Slot("cpu", "core", "", 1e15, bfloat16=False, n_sharing=2)


@dataclass
class Sweep:
    """A dispatcher on a scripted engine, and what it told."""

    dispatcher: Dispatcher
    engine: ScriptedEngine
    artifacts: Path
    notices: list[Notice] = field(default_factory=list)

    def go(self, runs: Sequence[RunSpec] = RUNS[:3], react: Callable[[Notice], object] = lambda notice: None) -> None:
        """Run to the end; `react` is told of every notice."""
        for notice in itertools.islice(self.dispatcher.run([Job((run,)) for run in runs]), 1000):
            self.notices.append(notice)
            react(notice)

    def attempts(self, run_id: str) -> list[tuple[int, str, str | None]]:
        """Number, outcome and reason of the attempts at a run."""
        ended = [n for n in self.notices if isinstance(n, AttemptEnded) and run_id in n.run_ids]
        return [(n.attempt, n.outcome, n.reason) for n in ended]

    def results(self) -> dict[str, Status]:
        """The run's statuses; each was told once."""
        finished = [n.result for n in self.notices if isinstance(n, RunFinished)]
        assert len({result.run_id for result in finished}) == len(finished)
        return {result.run_id: result.status for result in finished}

    def run_dir(self, run_id: str) -> RunDir:
        return RunDir(self.artifacts / run_id)

    def step(self, run_id: str) -> str:
        job = self.run_dir(run_id).read_job()
        assert job is not None
        return job.execution.step

    def compiles(self, run_id: str) -> bool:
        job = self.run_dir(run_id).read_job()
        assert job is not None
        return job.execution.compile

    def micro_batch(self, run_id: str) -> int:
        job = self.run_dir(run_id).read_job()
        assert job is not None
        return job.execution.micro_batch_sequences


MakeSweep = Callable[..., Sweep]


@pytest.fixture
def sweep(tmp_path: Path) -> MakeSweep:
    def make(script: Mapping[str, Sequence[str]] = {}, slots: Sequence[Slot] = (ROOMY, ROOMY)) -> Sweep:
        clock = Clock()
        engine = ScriptedEngine(slots, script, clock)
        dispatcher = Dispatcher(
            engine, artifacts=tmp_path, corpora=tmp_path, git=GitState(None, None), stall_seconds=5.0, clock=clock
        )
        return Sweep(dispatcher, engine, tmp_path)

    return make


def completed(*run_ids: str) -> dict[str, Status]:
    return dict.fromkeys(run_ids, Status.COMPLETED)


def test_jobs_start_in_order_one_per_slot_and_end_once(sweep: MakeSweep) -> None:
    made = sweep()
    made.go(RUNS)
    assert made.results() == completed(*(run.run_id for run in RUNS))
    assert [worker.runs[0] for worker in made.engine.started] == RUNS
    assert made.engine.most == 2
    assert all(made.attempts(run.run_id) == [(1, "done", None)] for run in RUNS)


def test_however_many_workers_there_are_they_are_looked_at_in_one_call(sweep: MakeSweep) -> None:
    few, many = sweep(slots=[ROOMY]), sweep(slots=[ROOMY] * 5)
    few.go(RUNS[:1])
    many.go(RUNS[1:])
    assert many.engine.most == 5 and few.engine.n_polls == many.engine.n_polls == 1


def test_what_lies_on_the_disk_is_not_done_again(sweep: MakeSweep) -> None:
    sweep().go(RUNS[:2])
    again = sweep()
    again.go()
    assert [n.worker for n in again.notices if isinstance(n, RunFinished)] == [None, None, 0]
    assert [worker.runs[0] for worker in again.engine.started] == [RUNS[2]]


def test_a_run_whose_worker_dies_is_tried_again_next(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [DIE, CRASH]}, [ROOMY])
    made.go()
    assert made.attempts(FIRST) == [
        (1, "died", "the worker was killed by signal 9 without a result"),
        (2, "died", "the worker ended with exit code 1 without a result"),
        (3, "done", None),
    ]
    assert [worker.runs[0].run_id for worker in made.engine.started] == [FIRST, FIRST, FIRST, SECOND, THIRD]


def test_the_third_death_gives_a_run_up_with_what_it_had_done(sweep: MakeSweep) -> None:
    made = sweep({SECOND: [DIE] * 9})
    made.go()
    assert made.results() == {**completed(FIRST, THIRD), SECOND: Status.FAILED}
    assert [outcome for _, outcome, _ in made.attempts(SECOND)] == ["died", "died", "given_up"]
    result = made.run_dir(SECOND).read_result(SECOND)
    assert result is not None and result.attempt == 3
    # The log is a value of its own (`AttemptEnded.log_path`), not a part of the sentence.
    assert result.reason == "the worker was killed by signal 9 without a result, 3 times"
    assert (result.n_steps, result.n_tokens) == (7, 7 * RUNS[1].batch_tokens)
    assert result.achieved_flops == result.n_tokens * RUNS[1].shape.flops_per_token
    assert result.spent_flops == 0  # simulated


def test_a_run_given_up_spent_what_its_last_worker_had_trained(sweep: MakeSweep) -> None:
    real = variant(trainer="builtin")
    made = sweep({real.run_id: [DIE] * 3})
    made.go([real])
    result = made.run_dir(real.run_id).read_result(real.run_id)
    assert result is not None
    assert result.spent_flops == result.achieved_flops == 7 * real.batch_tokens * real.shape.flops_per_token


def test_deaths_of_one_run_do_not_count_for_another(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [DIE] * 2, SECOND: [DIE] * 2, THIRD: [DIE] * 2})
    made.go()
    assert made.results() == completed(FIRST, SECOND, THIRD)


def test_a_worker_that_the_engine_lost_is_a_death_in_the_engines_words(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [LOSE]})
    made.go()
    assert made.attempts(FIRST)[0] == (1, "died", "the worker was lost with node n2 without a result")
    assert made.results() == completed(FIRST, SECOND, THIRD)


def test_a_result_without_its_event_counts_whatever_the_worker_died_of(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [UNTOLD]})
    made.go()
    assert made.attempts(FIRST) == [(1, "done", None)]
    assert made.results() == completed(FIRST, SECOND, THIRD)


@pytest.mark.parametrize("act", [MEMORY, KERNEL])
def test_without_memory_a_run_and_those_of_its_shape_pass_half_as_much_at_once(sweep: MakeSweep, act: str) -> None:
    made = sweep({FIRST: [act, act]}, [ROOMY])
    made.go()
    assert made.attempts(FIRST) == [
        (1, "out_of_memory", "ran out of memory with 8 sequences per forward pass; next with 4"),
        (2, "out_of_memory", "ran out of memory with 4 sequences per forward pass; next with 2"),
        (3, "done", None),
    ]
    assert [made.micro_batch(run_id) for run_id in (FIRST, SECOND, THIRD)] == [2, 2, 2]


def test_a_step_that_a_gpu_cannot_record_is_taken_without_a_graph(sweep: MakeSweep) -> None:
    gpu = replace(ROOMY, kind="cuda", visible_device="0")
    made = sweep({FIRST: [RECORD]}, [gpu])
    made.go()
    assert made.attempts(FIRST) == [
        (1, "not_recorded", "the step could not be recorded as a CUDA graph; next without"),
        (2, "done", None),
    ]
    assert [made.step(run_id) for run_id in (FIRST, SECOND)] == ["eager", "graph"]


def test_where_the_compiler_fails_once_no_later_job_asks_for_it(sweep: MakeSweep) -> None:
    gpu = replace(ROOMY, kind="cuda", visible_device="0", bfloat16=True)
    long = [variant(seed=seed, n_steps=1_000_000) for seed in range(2)]
    made = sweep({long[0].run_id: [RECORD, RECORD]}, [gpu])
    made.go([long[0], RUNS[0], long[1]])
    assert made.attempts(long[0].run_id) == [
        (1, "not_recorded", "the compiled step failed (log); next without torch's compiler"),
        (2, "not_recorded", "the step could not be recorded as a CUDA graph; next without"),
        (3, "done", None),
    ]
    assert [made.step(run.run_id) for run in (*long, RUNS[0])] == ["eager", "graph", "graph"]
    assert [made.compiles(run.run_id) for run in (*long, RUNS[0])] == [False] * 3


def test_runs_that_train_for_minutes_are_compiled_and_short_ones_are_not(sweep: MakeSweep) -> None:
    gpu = replace(ROOMY, kind="cuda", visible_device="0", bfloat16=True)
    long = variant(n_steps=1_000_000)
    made = sweep({}, [gpu])
    made.go([long, RUNS[1]])
    assert [made.compiles(run.run_id) for run in (long, RUNS[1])] == [True, False]
    older = replace(gpu, bfloat16=False)
    made = sweep({}, [older])
    made.go([variant(n_steps=1_000_000, seed=9)])
    assert not made.compiles(variant(n_steps=1_000_000, seed=9).run_id)


def test_a_worker_that_cannot_record_what_it_was_not_told_to_record_has_died(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [RECORD] * 3}, [ROOMY])
    made.go()
    assert [outcome for _, outcome, _ in made.attempts(FIRST)] == ["died", "died", "given_up"]
    assert made.step(FIRST) == "eager"


def test_a_batch_of_many_parts_is_not_recorded(sweep: MakeSweep) -> None:
    little = memory_bytes(RUNS[0].shape, 1)
    wide = variant(batch_sequences=9)
    made = sweep(slots=[Slot("cuda", "gpu", "0", little, bfloat16=True)])
    made.go([RUNS[0], wide])
    assert [made.step(run.run_id) for run in (RUNS[0], wide)] == ["graph", "eager"]


def test_a_run_that_does_not_fit_with_one_sequence_is_given_up(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [MEMORY] * 9})
    made.go()
    assert [outcome for _, outcome, _ in made.attempts(FIRST)] == ["out_of_memory"] * 3 + ["given_up"]
    assert made.attempts(FIRST)[-1][2] == "ran out of memory with 1 sequence per forward pass"
    assert made.results() == {FIRST: Status.FAILED, **completed(SECOND, THIRD)}


def test_a_run_that_another_process_took_is_no_death(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [BUSY] * 5})
    made.go()
    assert made.attempts(FIRST) == [
        *((number, "interrupted", "another process trains it") for number in range(1, 6)),
        (6, "done", None),
    ]


def test_a_start_that_is_refused_costs_no_attempt_and_no_place(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [REFUSE] * 5, SECOND: [REFUSE] * 5})
    made.go()
    assert [outcome for _, outcome, _ in made.attempts(FIRST)] == ["done"]
    assert [worker.runs[0].run_id for worker in made.engine.started] == [FIRST, SECOND, THIRD]


def test_a_worker_without_a_sign_of_life_is_asked_for_its_stack_and_killed(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [HANG]})
    made.go()
    assert made.engine.started[0].orders == [Order.DUMP, Order.KILL]
    [(_, outcome, reason), (_, then, _)] = made.attempts(FIRST)
    assert (outcome, then) == ("died", "done")
    assert reason == "the worker took no step for 5 s and was killed; its stack is in the log"


def test_what_every_run_would_meet_stops_them_all_and_leaves_them_pending(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [OBSTACLE], SECOND: [WORK]})
    with pytest.raises(IsoflopError, match="No corpus"):
        made.go()
    assert made.attempts(FIRST) == [(1, "interrupted", "No corpus.")]
    assert made.attempts(SECOND) == [(1, "interrupted", "asked to stop")]
    assert made.results() == {} and len(made.engine.started) == 2


def at_first(kind: type[Notice], act: Callable[[], None]) -> Callable[[Notice], None]:
    """Does `act` at the first notice of the kind."""
    acts: Iterator[Callable[[], None]] = iter([act])
    return lambda notice: next(acts, lambda: None)() if isinstance(notice, kind) else None


def test_stopping_tells_every_worker_once_and_starts_no_more(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [WORK], SECOND: [WORK]})
    made.go(RUNS, at_first(AttemptStarted, made.dispatcher.stop))
    assert [worker.orders for worker in made.engine.started] == [[Order.CHECKPOINT]] * 2
    assert made.engine.closings[0] == "for new ones" and made.results() == {}
    assert made.attempts(FIRST) == made.attempts(SECOND) == [(1, "interrupted", "asked to stop")]


def test_an_order_to_end_now_is_given_to_the_engine_at_once_and_not_softened_by_one_to_stop(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [WORK], SECOND: [WORK]})
    closings: list[list[str]] = []

    def kill_and_stop() -> None:
        made.dispatcher.kill()
        closings.append(list(made.engine.closings))
        made.dispatcher.stop()

    made.go(RUNS, at_first(AttemptStarted, kill_and_stop))
    assert closings == [["for all"]]
    assert [worker.orders for worker in made.engine.started] == [[Order.KILL]] * 2


def test_workers_that_take_longer_than_they_may_are_killed_and_others_have_all_the_time_they_need(
    sweep: MakeSweep,
) -> None:
    patient, hurried = sweep(), sweep()
    patient.dispatcher.stop()
    hurried.dispatcher.stop(within=0.01)
    assert hurried.engine.given_up.wait(timeout=60)
    assert hurried.engine.closings == ["for new ones", "for all"]
    assert not patient.engine.given_up.wait(timeout=0.05)


def test_killing_ends_what_does_not_stop(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [HANG], SECOND: [WORK]})
    begun = at_first(AttemptStarted, made.dispatcher.stop)
    ended = at_first(AttemptEnded, made.dispatcher.kill)
    made.go(RUNS, lambda notice: (begun(notice), ended(notice)))
    assert made.engine.started[0].orders == [Order.CHECKPOINT, Order.KILL]
    assert made.attempts(SECOND) == [(1, "interrupted", "asked to stop")]
    assert made.attempts(FIRST) == [(1, "interrupted", "was killed by signal 9")]


def test_workers_are_killed_where_nobody_listens_any_more(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [WORK], SECOND: [WORK]})
    notices = made.dispatcher.run([Job((run,)) for run in RUNS])
    next(notices)
    notices.close()  # type: ignore[attr-defined]
    assert [worker.orders for worker in made.engine.started] == [[Order.KILL]] * 2


def test_reading_what_all_workers_say_takes_a_tenth_of_the_time_and_ends_are_heard_at_once(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [WORK]})
    clock, said, heard = made.engine.clock, [0.0], [0.0]
    ended: list[float] = []

    def react(notice: Notice) -> None:
        if isinstance(notice, AttemptStarted) and notice.job_id == FIRST:
            clock.now += 1.0  # what reading it takes
            made.run_dir(FIRST).append_event(ProgressEvent(0.0, FIRST, 7, 7, 3.0, 100.0))
            said[0] = clock.now
        if isinstance(notice, RunFinished):
            ended.append(clock.now)
        if isinstance(notice, Progressed):
            heard[0] = clock.now
            made.dispatcher.stop()

    made.go(RUNS, react)
    assert len(ended) == 5 and ended[-1] - said[0] < 2.0, "one after the other, each after a wait of 0.2 s"
    assert 9.0 <= heard[0] - said[0] < 9.5


def test_a_job_in_other_hands_is_waited_for_and_named(sweep: MakeSweep) -> None:
    made = sweep()
    with made.run_dir(FIRST).lock() as alone:
        assert alone
        for notice in made.dispatcher.run([Job((run,)) for run in RUNS[:2]]):
            made.notices.append(notice)
            if isinstance(notice, Waiting) and len(made.notices) > 5:
                break
    assert made.results() == completed(SECOND)
    waits = [notice for notice in made.notices if isinstance(notice, Waiting)]
    assert len(waits) == 3 and all(wait.run_ids == (FIRST,) for wait in waits)
    assert 2.0 + 2 * 30.0 <= made.engine.clock.now < 2.0 + 2 * 31.0
    later = sweep()
    later.go(RUNS[:2])
    assert later.results() == completed(FIRST, SECOND)


def test_a_wait_is_told_after_two_seconds_though_nothing_ran_before(sweep: MakeSweep) -> None:
    made = sweep()
    with made.run_dir(FIRST).lock():
        notice = next(made.dispatcher.run([Job((RUNS[0],))]))
    assert isinstance(notice, Waiting) and 2.0 < made.engine.clock.now < 3.0


def test_a_run_is_not_given_up_while_another_process_has_its_directory(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [DIE] * 3}, [ROOMY])
    with contextlib.ExitStack() as taken:

        def react(notice: Notice) -> None:
            if isinstance(notice, AttemptStarted) and notice.attempt == 3:
                assert taken.enter_context(made.run_dir(FIRST).lock())
            if isinstance(notice, Waiting):
                taken.close()

        made.go(RUNS[:1], react)
    assert [outcome for _, outcome, _ in made.attempts(FIRST)] == ["died", "died", "given_up", "done"]
    assert made.results() == completed(FIRST)


def test_of_a_job_with_two_runs_only_the_one_that_was_begun_counts_what_was_done(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [DIE] * 3}, [ROOMY])
    job = Job(tuple(RUNS[:2]))
    made.notices = list(made.dispatcher.run([job]))
    assert made.results() == {FIRST: Status.FAILED, SECOND: Status.FAILED}
    results = [RunDir(made.artifacts / job.job_id).read_result(run_id) for run_id in (FIRST, SECOND)]
    assert [result and result.n_steps for result in results] == [7, 0]
    assert [result and result.achieved_flops > 0 for result in results] == [True, False]


def test_a_job_passes_as_much_at_once_as_the_more_demanding_of_its_shapes_was_found_to_fit(sweep: MakeSweep) -> None:
    wide = variant(shape=replace(RUN.shape, width=32, head_dim=32))
    made = sweep({FIRST: [MEMORY], wide.run_id: [MEMORY, MEMORY]}, [ROOMY])
    both = Job((RUNS[1], variant(shape=wide.shape, seed=1)))
    made.notices = list(made.dispatcher.run([Job((RUNS[0],)), Job((wide,)), both]))
    assert made.micro_batch(FIRST) == 4 and made.micro_batch(wide.run_id) == 2
    assert made.micro_batch(both.job_id) == 2


def test_jobs_go_to_the_free_slots_in_their_order(sweep: MakeSweep) -> None:
    made = sweep(slots=[ROOMY] * 20)
    made.engine.held_until = {number: 1e9 for number in range(20) if number % 3}
    made.go(RUNS)
    assert [worker.launch.slot for worker in made.engine.started] == [0, 3, 6, 9, 12, 15]


def test_an_engine_is_told_which_workers_will_need_torch(sweep: MakeSweep) -> None:
    real = variant(trainer="builtin")
    made = sweep({real.run_id: [DIE] * 3})  # a result would name the version of torch, which not every Python here has
    muon = variant(trainer="builtin", optimizer=real.optimizer.model_copy(update={"kind": "muon"}))
    made.go([RUNS[0], real, muon])
    told = {worker.runs[0].run_id: worker.launch.preload for worker in made.engine.started}
    assert told[RUNS[0].run_id] is Preload.NOTHING
    assert told[real.run_id] is (Preload.TORCH if made.step(real.run_id) == "native" else Preload.COMPILER)
    assert told[muon.run_id] is Preload.COMPILER


# A worker that was stopped: it holds its directory, and cannot hear that its coordinator has died.
STOPPED = """
import os, signal, sys
from pathlib import Path
from isoflop.rundir import RunDir, own_claim
run_dir = RunDir(Path(sys.argv[1]))
with run_dir.lock():
    run_dir.write_claim(own_claim(1).model_copy(update={"parent_pid": int(sys.argv[2])}))
    os.kill(os.getpid(), signal.SIGSTOP)
    sys.stdin.read()
"""


@contextlib.contextmanager
def stopped_worker(run_dir: RunDir, parent: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", STOPPED, str(run_dir.path), str(parent)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED) is not None
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_stopped_worker_of_a_killed_coordinator_is_named_and_ended(sweep: MakeSweep) -> None:
    made = sweep()
    made.engine.clock.now = 1000.0
    with stopped_worker(made.run_dir(FIRST), parent=2**22 + 1) as process:  # no such process: above the largest id
        made.go(RUNS[:1])
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert made.results() == completed(FIRST)
    said = [notice for notice in made.notices if isinstance(notice, Waiting)]
    assert said[0].holders == (Holder(process.pid, (FIRST,), orphan=True, stopped=True),)
    assert made.engine.clock.now - 1000.0 > PATIENCE_SECONDS


@pytest.mark.slow
def test_a_stopped_worker_of_a_living_coordinator_is_named_and_left_alone(sweep: MakeSweep) -> None:
    made = sweep()
    with stopped_worker(made.run_dir(FIRST), parent=os.getpid()) as process:
        notices = made.dispatcher.run([Job((RUNS[0],))])
        waits = [next(notices) for _ in range(3)]
        assert made.engine.clock.now > 2 * PATIENCE_SECONDS and process.poll() is None
    holder = Holder(process.pid, (FIRST,), orphan=False, stopped=True)
    assert [wait.holders for wait in waits if isinstance(wait, Waiting)] == [(holder,)] * 3


def test_a_device_that_another_sweep_has_is_named_once_and_used_when_it_is_free(sweep: MakeSweep) -> None:
    made = sweep()
    made.engine.held_until = {0: 100.0, 1: 40.0}
    made.go()
    assert made.results() == completed(FIRST, SECOND, THIRD)
    assert {worker.launch.slot for worker in made.engine.started} == {1}
    assert 40.0 <= made.engine.clock.now < 45.0
    named = [notice.device for notice in made.notices if isinstance(notice, DeviceHeld)]
    assert named == ["device 0", "device 1"]
    assert not [notice for notice in made.notices if isinstance(notice, Waiting)]  # no run is in other hands


def test_a_run_too_large_for_now_lets_smaller_ones_go_first(sweep: MakeSweep) -> None:
    wide = variant(shape=replace(RUN.shape, width=256, head_dim=256))
    sharing = Slot("cpu", "core", "", 0.0, bfloat16=False, n_sharing=10**9)
    room = memory_needed(Job((wide,)), sharing) + 0.5 * memory_needed(Job((RUNS[0],)), sharing)
    slot = Slot("cpu", "core", "", room, bfloat16=False, n_sharing=10**9)
    made = sweep(slots=[slot, slot])
    made.go([RUNS[0], wide, RUNS[2], RUNS[3]])
    assert [worker.runs[0] for worker in made.engine.started] == [RUNS[0], RUNS[2], wide, RUNS[3]]
    assert made.results() == completed(*(run.run_id for run in (RUNS[0], wide, RUNS[2], RUNS[3])))


GPUS = tuple(
    Slot("cuda", "H100", name, 1e15, bfloat16=True, n_packed=packed) for name, packed in (("GPU-a", 1), ("GPU-b", 1))
)
MANY = [variant(seed=seed) for seed in range(100, 112)]
IDS = [run.run_id for run in MANY]


def taken_out(made: Sweep) -> list[str]:
    return [notice.device for notice in made.notices if isinstance(notice, DeviceTakenOut)]


def places(made: Sweep, run_id: str) -> list[int]:
    """The slots that a run was started on, in turn."""
    return [worker.launch.slot for worker in made.engine.started if worker.runs[0].run_id == run_id]


def test_a_gpu_on_which_two_runs_in_a_row_crash_is_taken_out_and_they_end_on_another(sweep: MakeSweep) -> None:
    made = sweep(slots=GPUS)
    made.engine.dying = {1}
    made.go(MANY)
    assert made.results() == completed(*IDS)
    assert taken_out(made) == ["H100 (GPU-b)"]
    on_the_bad = [worker.runs[0].run_id for worker in made.engine.started if worker.launch.slot == 1]
    assert len(on_the_bad) == len(set(on_the_bad)) == 2
    assert [places(made, run_id) for run_id in on_the_bad] == [[1, 0]] * 2
    [notice] = [notice for notice in made.notices if isinstance(notice, DeviceTakenOut)]
    assert notice.reason == "the worker ended with exit code 1 without a result" and notice.n_left == 1


def test_where_the_last_gpu_is_taken_out_the_sweep_stops_and_every_run_stays_pending(sweep: MakeSweep) -> None:
    made = sweep(slots=GPUS)
    made.engine.dying = {0, 1}
    with pytest.raises(IsoflopError, match=r"No device is left .* on H100 \(GPU-a\) and on H100 \(GPU-b\)") as raised:
        made.go(MANY)
    assert "the same command goes on" in raised.value.hint
    assert sorted(taken_out(made)) == ["H100 (GPU-a)", "H100 (GPU-b)"]
    assert made.results() == {} and len(made.engine.started) == 4
    again = sweep(slots=GPUS)
    again.go(MANY)
    assert again.results() == completed(*IDS)


def test_eight_broken_gpus_fail_no_run(sweep: MakeSweep) -> None:
    made = sweep(slots=[replace(GPUS[0], visible_device=f"GPU-{number}") for number in range(8)])
    made.engine.dying = set(range(8))
    with pytest.raises(IsoflopError, match="No device is left"):
        made.go(MANY)
    assert made.results() == {} and len(taken_out(made)) == 8


def test_a_run_that_crashes_wherever_it_goes_is_given_up_and_takes_no_gpu_with_it(sweep: MakeSweep) -> None:
    made = sweep({IDS[0]: [CRASH] * 9}, GPUS)
    made.go(MANY)
    assert made.results() == {IDS[0]: Status.FAILED, **completed(*IDS[1:])}
    assert taken_out(made) == []
    assert places(made, IDS[0])[:2] == [0, 1], "the second time elsewhere"


def test_on_a_single_gpu_another_run_tells_whether_it_is_the_gpu(sweep: MakeSweep) -> None:
    made = sweep({IDS[0]: [CRASH] * 2}, GPUS[:1])
    made.go(MANY)
    assert made.results() == completed(*IDS) and taken_out(made) == []
    assert [worker.runs[0].run_id for worker in made.engine.started][:4] == [IDS[0], IDS[1], IDS[0], IDS[2]]


@pytest.mark.parametrize("act", [DIE, LOSE, MEMORY, KERNEL, BUSY, RECORD])
def test_ends_that_are_not_the_gpus_take_none_out(sweep: MakeSweep, act: str) -> None:
    made = sweep({run_id: [act] for run_id in IDS[:3]}, GPUS)
    made.go(MANY)
    assert made.results() == completed(*IDS) and taken_out(made) == []


@pytest.mark.parametrize("act", [CRASH, DEVICE, HANG])
def test_crashes_errors_of_the_gpu_and_hangs_are_the_gpus_where_they_meet_different_runs(
    sweep: MakeSweep, act: str
) -> None:
    made = sweep({run_id: [act] for run_id in IDS[:2]}, GPUS[:1])
    with pytest.raises(IsoflopError, match="No device is left"):
        made.go(MANY)


def test_cores_are_never_taken_out(sweep: MakeSweep) -> None:
    made = sweep({run_id: [CRASH] * 2 for run_id in IDS})
    made.go(MANY)
    assert made.results() == completed(*IDS) and taken_out(made) == []


def test_a_gpu_that_is_out_is_a_node_s_and_another_node_takes_its_place(sweep: MakeSweep) -> None:
    """Of a cluster: a slot is no device, but room for one. Crashes of the node that was there do not count here."""
    made = sweep({IDS[4]: [CRASH]}, GPUS[:1])
    made.engine.nodes, made.engine.bad_nodes = {0: "n1/0"}, {"n1/0"}
    made.go(MANY)
    assert made.results() == completed(*IDS)
    assert taken_out(made) == ["H100 (n1/0)"]
    assert made.engine.nodes == {0: "n1/0-exchanged"}


def test_runs_that_share_a_gpu_and_go_down_together_count_once(sweep: MakeSweep) -> None:
    slots = [replace(GPUS[0], n_packed=3)] * 3
    made = sweep({run_id: [CRASH] for run_id in IDS[:3]}, slots)
    made.go(MANY)
    assert made.results() == completed(*IDS) and taken_out(made) == []


def test_a_packed_run_is_computed_as_if_alone_and_runs_out_of_memory_alone_before_it_is_made_smaller(
    sweep: MakeSweep,
) -> None:
    little = memory_bytes(RUN.shape, 4)
    alone = sweep(slots=[replace(GPUS[0], memory_bytes=little)])
    alone.go(MANY[:4])
    batches = [alone.micro_batch(run_id) for run_id in IDS[:4]]
    others = [variant(seed=seed) for seed in range(200, 204)]
    names = [run.run_id for run in others]
    made = sweep({names[1]: [MEMORY]}, [replace(GPUS[0], memory_bytes=2.5 * little, n_packed=2)] * 2)
    made.go(others)
    assert batches == [4] * 4
    assert made.attempts(names[1]) == [
        (1, "out_of_memory", "ran out of memory beside other runs on its GPU; next without them"),
        (2, "done", None),
    ]
    assert [made.micro_batch(run_id) for run_id in names] == [8] * 4
    assert {notice.device for notice in made.notices if isinstance(notice, AttemptEnded)} == {
        "H100, 1 of 2 runs at once"
    }


def test_an_eviction_is_no_death_and_ends_where_the_run_comes_no_further(sweep: MakeSweep) -> None:
    """The time limit of an allocation, three times with progress; then ten times at one step."""
    made = sweep({FIRST: [EVICT] * 3, SECOND: [STUCK] * 30}, [ROOMY])
    made.go()
    first, second = made.attempts(FIRST), made.attempts(SECOND)
    assert first == [*((n, "interrupted", "the time limit is near") for n in (1, 2, 3)), (4, "done", None)]
    assert [outcome for _, outcome, _ in second] == ["interrupted"] * MAX_STOPS + ["given_up"]
    assert second[-1][2] == f"the time limit is near; {MAX_STOPS} times in a row the run came no further than step 5"
    assert made.results() == {**completed(FIRST, THIRD), SECOND: Status.FAILED}


def test_a_loss_with_the_node_is_none_of_a_run_that_comes_further_every_time(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [GONE] * 5}, [ROOMY])
    made.go()
    lost = "the worker was lost with Slurm job 7 on n2 without a result"
    assert made.attempts(FIRST) == [*((n, "died", lost) for n in range(1, 6)), (6, "done", None)]
    assert made.results() == completed(FIRST, SECOND, THIRD)


def test_a_run_that_takes_every_node_with_it_is_given_up(sweep: MakeSweep) -> None:
    made = sweep({FIRST: [GONE] * 40}, [ROOMY])
    made.go(RUNS[:1])
    assert made.results() == {FIRST: Status.FAILED}
    assert [outcome for _, outcome, _ in made.attempts(FIRST)] == ["died"] * (7 + MAX_STOPS) + ["given_up"]


def test_a_worker_whose_place_stands_still_has_not_hung(sweep: MakeSweep) -> None:
    """Its job was suspended; the time it is silent counts from when that is over."""
    made = sweep({FIRST: [HANG]}, [ROOMY])
    made.engine.still_until = 500.0
    ended: list[float] = []
    made.go(react=lambda notice: ended.append(made.engine.clock.now) if isinstance(notice, AttemptEnded) else None)
    assert ended[0] > 505.0
    assert [outcome for _, outcome, _ in made.attempts(FIRST)] == ["died", "done"]


def test_jobs_that_others_work_on_are_not_waiting_for_room(sweep: MakeSweep) -> None:
    """Else a cluster would be asked for places, again and again, where nothing can be started."""
    made, asked = sweep({}, [ROOMY]), []
    whole = made.engine.capacity
    made.engine.capacity = lambda waiting, out: asked.append(waiting) or whole(waiting, out)  # type: ignore[assignment]
    with contextlib.ExitStack() as held:
        for run_id in (FIRST, SECOND):
            assert held.enter_context(made.run_dir(run_id).lock())

        def react(notice: Notice) -> None:
            if isinstance(notice, Waiting):
                assert asked[-1] == 0
                held.close()

        made.go(react=react)
    assert asked[0] == 3
    assert made.results() == completed(FIRST, SECOND, THIRD)
