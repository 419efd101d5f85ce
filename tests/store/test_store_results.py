"""Results enter once, whole and true."""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from isoflop.errors import IsoflopError
from isoflop.result import CurvePoint, RunResult, Status
from isoflop.run_spec import RunSpec
from isoflop.store import Store, Timing, open_store
from tests.store.store_examples import dump, make_plan, make_result, make_run, make_spec, rows_of

unfinished = pytest.mark.parametrize("status", ["diverged", "failed"])


def only(store: Store) -> object:
    (cell,) = store.cells("demo")
    return cell


def log(store: Store, run: RunSpec, attempt: int, **changes: str | None) -> None:
    fields: dict[str, str | None] = {
        "host": "hal",
        "device": "cpu",
        "started_at": "2026-01-02T03:00:00+00:00",
        "ended_at": None,
        "outcome": None,
        "reason": None,
        "log_path": f"attempt-{attempt}/log.txt",
    }
    store.record_attempt(run.run_id, attempt, **{**fields, **changes})


def test_a_result_is_read_back_as_it_was_recorded(planned: Store, run: RunSpec) -> None:
    result = make_result(run)
    assert planned.record(result)
    read = only(planned).completed
    for field in ("val_loss", "val_loss_se", "bits_per_byte", "achieved_flops", "spent_flops", "seconds"):
        assert getattr(read, field) == getattr(result, field)
    for field in ("device", "git_commit", "git_dirty", "isoflop_version", "torch_version"):
        assert getattr(read, field) == getattr(result.provenance, field)
    assert (read.status, read.finished_at) == (Status.COMPLETED, result.finished_at)
    assert (read.simulated is False, read.git_dirty is True) == (True, True)
    assert read.tokens_per_second == result.tokens_per_second
    assert planned.curves("demo")[run.run_id] == result.curve


@pytest.mark.parametrize("status", ["completed", "diverged", "failed"])
def test_a_cell_given_its_result_is_the_cell_read_back_once_that_is_recorded(
    planned: Store, run: RunSpec, status: str
) -> None:
    result = make_result(run, status)
    expected = only(planned).with_result(result)
    planned.record(result)
    assert only(planned) == expected
    assert only(planned).standing is expected.standing
    assert (expected.completed is None) == (expected.broken is not None) == (status != "completed")


def test_a_recorded_run_is_no_longer_pending(planned: Store, run: RunSpec) -> None:
    assert planned.pending("demo") == (run.run_id,)
    planned.record(make_result(run))
    assert planned.pending("demo") == ()


@pytest.mark.parametrize("first", ["completed", "diverged", "failed"])
@pytest.mark.parametrize("second", ["completed", "diverged"])
def test_a_second_result_for_a_run_is_refused(
    planned: Store, run: RunSpec, path: Path, first: str, second: str
) -> None:
    planned.record(make_result(run, first))
    before = dump(path)
    later = make_result(run, second, attempt=2, seconds=99.0, curve=[{"step": 1, "n_tokens": 1, "loss": 9.0}])
    assert not planned.record(later)
    assert dump(path) == before


@unfinished
def test_an_unfinished_result_gives_way_only_when_superseded(planned: Store, run: RunSpec, status: str) -> None:
    planned.record(make_result(run, status))
    planned.supersede(run.run_id)
    assert planned.pending("demo") == (run.run_id,)
    assert planned.curves("demo") == {}
    assert planned.record(make_result(run, attempt=2))
    assert only(planned).status is Status.COMPLETED


def test_a_completed_result_cannot_be_superseded(planned: Store, run: RunSpec) -> None:
    planned.record(make_result(run))
    with pytest.raises(ValueError, match="completed"):
        planned.supersede(run.run_id)
    assert only(planned).completed.val_loss == 1.25


def test_a_pending_run_has_nothing_to_supersede(planned: Store, run: RunSpec) -> None:
    with pytest.raises(ValueError, match="pending"):
        planned.supersede(run.run_id)


@unfinished
def test_what_a_superseded_result_was_stays_among_the_attempts(
    planned: Store, run: RunSpec, path: Path, status: str
) -> None:
    result = make_result(run, status)
    planned.record(result)
    planned.supersede(run.run_id)
    (kept,) = rows_of(path, "attempts")
    assert (kept["outcome"], kept["reason"], kept["host"]) == (status, result.reason, "hal")
    assert (kept["started_at"], kept["ended_at"]) == (None, result.finished_at)


def test_superseding_keeps_the_status_and_the_attempts_own_times(planned: Store, run: RunSpec, path: Path) -> None:
    log(planned, run, 1, ended_at="2026-01-02T03:05:00+00:00", outcome="done")
    planned.record(make_result(run, "failed"))
    planned.supersede(run.run_id)
    (kept,) = rows_of(path, "attempts")
    assert (kept["outcome"], kept["ended_at"]) == ("failed", "2026-01-02T03:05:00+00:00")
    assert (kept["reason"], kept["log_path"]) == ("loss was not finite at step 17", "attempt-1/log.txt")


def test_an_attempt_is_logged_once_and_the_latest_one_names_the_log(planned: Store, run: RunSpec, path: Path) -> None:
    assert (only(planned).n_attempts, only(planned).log_path) == (0, None)
    log(planned, run, 2)
    log(planned, run, 1)
    log(planned, run, 2, ended_at="2026-01-02T03:05:00+00:00", outcome="completed")
    assert (only(planned).n_attempts, only(planned).log_path) == (2, "attempt-2/log.txt")
    assert {row["attempt"]: row["outcome"] for row in rows_of(path, "attempts")} == {1: None, 2: "completed"}


def test_a_result_of_a_run_that_was_never_planned_is_a_bug(planned: Store) -> None:
    with pytest.raises(ValueError, match="never planned"):
        planned.record(make_result(make_run(seed=99)))


@pytest.mark.parametrize(("trainer", "claim"), [("simulated", False), ("builtin", True)])
def test_a_simulated_number_cannot_pass_for_a_measured_one(store: Store, trainer: str, claim: bool) -> None:
    run = make_run(trainer=trainer)
    store.save_plan(make_spec(), make_plan(run))
    with pytest.raises(ValueError, match="simulated"):
        store.record(make_result(run, simulated=claim))
    assert store.pending("demo") == (run.run_id,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize(
    "field",
    ["val_loss", "val_loss_se", "bits_per_byte", "achieved_flops", "spent_flops", "seconds", "tokens_per_second"],
)
def test_a_number_that_is_not_finite_cannot_enter(planned: Store, run: RunSpec, field: str, value: float) -> None:
    unchecked = make_result(run).model_copy(update={field: value})
    with pytest.raises(ValueError, match=field):
        planned.record(unchecked)
    assert planned.pending("demo") == (run.run_id,)


@pytest.mark.parametrize(
    "change",
    [
        lambda result: {"curve": (*result.curve, CurvePoint.model_construct(step=300, n_tokens=1, loss=float("nan")))},
        lambda result: {"execution": {"loss_scale": float("inf")}},
        lambda result: {"curve": result.curve + result.curve},
    ],
    ids=["a curve with NaN", "an execution with infinity", "a curve with a step twice"],
)
def test_a_result_enters_whole_or_not_at_all(
    planned: Store, run: RunSpec, path: Path, change: Callable[[RunResult], dict[str, object]]
) -> None:
    result = make_result(run)
    with pytest.raises(Exception):  # noqa: B017
        planned.record(result.model_copy(update=change(result)))
    assert rows_of(path, "results") == rows_of(path, "curves") == []
    assert planned.record(result)


@pytest.mark.parametrize(
    "assignment",
    [
        "val_loss = null",
        "status = 'failed'",
        "status = 'running'",
        "reason = 'but it did complete'",
        "val_loss = 9e999",
        "achieved_flops = -1.0",
        "simulated = 2",
        "attempt = 0",
        "n_tokens = 'many'",
    ],
)
def test_the_tables_themselves_refuse_an_untrue_result(
    planned: Store, run: RunSpec, path: Path, assignment: str
) -> None:
    planned.record(make_result(run))
    db = Database(path)
    with pytest.raises(Exception, match=r"constraint|cannot store"):
        db.execute(f"update results set {assignment}")
    db.close()


def test_an_exclusion_is_shown_and_can_be_taken_back(planned: Store, run: RunSpec) -> None:
    planned.record(make_result(run))
    planned.exclude(run.run_id, reason="the disk was failing")
    assert only(planned).excluded == "the disk was failing"
    assert only(planned).completed.val_loss == 1.25
    planned.exclude(run.run_id, reason="wrong corpus")
    assert only(planned).excluded == "wrong corpus"
    planned.include(run.run_id)
    assert only(planned).excluded is None


def test_excluding_an_unknown_run_is_refused(planned: Store) -> None:
    with pytest.raises(IsoflopError, match="nope"):
        planned.exclude("nope", reason="typing")


def test_timings_are_those_of_completed_runs_that_were_trained(store: Store) -> None:
    trained, diverged, simulated = make_run(seed=1), make_run(seed=2), make_run(seed=3, trainer="simulated")
    store.save_plan(make_spec(), make_plan(trained, diverged, simulated))
    store.record(make_result(simulated))
    store.record(make_result(diverged, "diverged"))
    store.record(make_result(trained, n_steps=251))
    expected = Timing(
        shape=trained.shape, n_steps=251, achieved_flops=trained.planned_flops, seconds=12.5, device="cpu", worker="cpu"
    )
    assert store.throughput() == (expected,)
    of_attempt = {"host": "h", "started_at": "", "ended_at": "", "outcome": "done", "reason": None, "log_path": ""}
    store.record_attempt(trained.run_id, 1, device="cpu, 1 of 2 runs at once", **of_attempt)
    assert store.throughput() == (replace(expected, worker="cpu, 1 of 2 runs at once"),)


def test_only_the_latest_200_timings_are_given_newest_first(store: Store) -> None:
    runs = [make_run(seed=seed) for seed in range(203)]
    store.save_plan(make_spec(), make_plan(*runs))
    for n, run in enumerate(runs):
        store.record(make_result(run, seconds=float(n)))
    assert [timing.seconds for timing in store.throughput()] == [float(n) for n in range(202, 2, -1)]


def test_threads_with_a_store_each_can_record_at_once(planned: Store, path: Path) -> None:
    runs = [make_run(seed=seed) for seed in range(24)]
    planned.save_plan(make_spec(), make_plan(*runs))
    taken: list[bool] = []

    def record_all() -> None:
        with open_store(path, write=True) as mine:
            taken.extend(mine.record(make_result(run)) for run in runs)

    threads = [threading.Thread(target=record_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 72 + [True] * 24
    assert planned.pending("demo") == ()


@pytest.mark.slow
def test_processes_can_record_at_once(store: Store, path: Path) -> None:
    runs = [make_run(seed=seed) for seed in range(20)]
    store.save_plan(make_spec(), make_plan(*runs))
    recording = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.store.store_examples import make_result, make_run
from isoflop.store import open_store
with open_store(Path(sys.argv[1]), write=True) as store:
    print(sum(store.record(make_result(make_run(seed=seed))) for seed in range(20)))
"""
    command = [sys.executable, "-c", recording, path, Path(__file__).parents[2]]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(process.communicate()[0]) for process in started) == 20
    assert store.pending("demo") == ()


def test_time_of_a_device_is_shared_among_the_runs_that_it_trained_at_once(planned: Store, run: RunSpec) -> None:
    planned.record(make_result(run))
    assert only(planned).completed.device_seconds == 12.5
    told = {"host": "h", "started_at": "", "ended_at": "", "outcome": "done", "reason": None, "log_path": ""}
    planned.record_attempt(run.run_id, 1, device="H100, 1 of 4 runs at once", **told)
    assert (only(planned).completed.device, only(planned).completed.device_seconds) == ("cpu", 12.5 / 4)
