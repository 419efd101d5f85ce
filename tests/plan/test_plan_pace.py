"""Times of runs by trials and finished runs, and the schedule they give, against devices whose speed is known."""

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from isoflop.plan.estimate import (
    MeasuredMemory,
    Unfinished,
    estimate_of,
    memory_bytes,
    micro_batch_sequences,
    seconds_left,
)
from isoflop.plan.measurement import Measurement
from isoflop.plan.pace import Basis, Pace, RunTime, batch_tokens, finishing_time
from isoflop.plan.planner import make_plan
from isoflop.plan.trial_choice import choose_trials, spread
from isoflop.run_spec import RunSpec
from isoflop.shape import LadderModel, ModelShape
from isoflop.spec import load_spec, parse_spec
from tests.plan.test_plan_grid import LARGE_CORPUS

SPEC = {"name": "s", "budgets": [1e11, 4e11, 1.6e12], "grid": {"sizes": 9}, "model": {"context_length": 64}}
RUNS = list(make_plan(parse_spec(SPEC, source="t"), LARGE_CORPUS).runs.values())


@dataclass(frozen=True)
class Finished:
    shape: ModelShape | LadderModel
    n_steps: int
    achieved_flops: float
    seconds: float


@dataclass(frozen=True)
class Planned:
    shape: LadderModel
    n_steps: int
    planned_flops: float


def trial(run: RunSpec, per_step: float, **changes: object) -> Measurement:
    one = Measurement(
        device="Some CPU",
        device_kind="cpu",
        host="h",
        n_at_once=2,
        shape=run.shape,
        batch_tokens=run.batch_tokens,
        optimizer="adamw",
        execution={"micro_batch_sequences": 2},
        n_steps=20,
        seconds_per_step=per_step,
        eval_tokens=run.eval_tokens,
        eval_seconds=0.5,
        checkpoint_seconds=0.0,
        beside_seconds=0.25,
        memory_bytes=1e8,
        isoflop_version="0",
        measured_at="2026-11-27T00:00:00+00:00",
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def finished(run: RunSpec, seconds: float) -> Finished:
    return Finished(run.shape, run.n_steps, run.planned_flops, seconds)


def test_a_run_that_reports_no_flops_or_took_no_time_tells_nothing_of_others() -> None:
    run = RUNS[0]
    told, guessed = finished(run, 7.0), Pace(device_kind="cpu").of(run)
    odd = [replace(told, achieved_flops=0.0), replace(told, seconds=0.0)]
    assert Pace(odd, device_kind="cpu").of(run) == guessed
    assert Pace([*odd, told], device_kind="cpu").of(run).seconds == pytest.approx(7.0)
    assert not Pace(odd, device_kind="cpu").is_known


def test_a_run_that_was_tried_takes_its_steps_and_its_evaluation_and_what_lies_beside() -> None:
    time = Pace([], [trial(RUNS[0], 0.01)], device_kind="cpu").of(RUNS[0])
    assert time == RunTime(pytest.approx(RUNS[0].n_steps * 0.01 + 0.5), pytest.approx(0.25), Basis.MEASURED)


def test_of_two_trials_of_a_shape_and_batch_the_last_counts() -> None:
    pace = Pace([], [trial(RUNS[0], 0.01), trial(RUNS[0], 0.02)], device_kind="cpu")
    assert pace.of(RUNS[0]).seconds == pytest.approx(RUNS[0].n_steps * 0.02 + 0.5)


def test_checkpoints_come_every_fifteen_seconds_and_take_a_hundredth_of_the_time_at_most() -> None:
    hour = 3600 / RUNS[0].n_steps
    often = Pace([], [trial(RUNS[0], hour, checkpoint_seconds=0.1)], device_kind="cpu").of(RUNS[0])
    assert often.beside == pytest.approx(0.25 + 3600 / 15 * 0.1)
    seldom = Pace([], [trial(RUNS[0], hour, checkpoint_seconds=10.0)], device_kind="cpu").of(RUNS[0])
    assert seldom.beside == pytest.approx(0.25 + 3 * 10.0)  # at 1000, 2000 and 3000 s


def steps_of_another_device(run: RunSpec) -> float:
    """Seconds per step where launches cost little and large products are slow: unlike what guesses rest on."""
    return 3e-5 + 1.3e-11 * (run.planned_flops / run.n_steps) ** 1.02


@pytest.mark.parametrize("number", [6, 10])
def test_runs_between_trials_are_within_a_few_per_cent_of_a_device_that_is_unlike_the_guess(number: int) -> None:
    tried = choose_trials(RUNS, device_kind="cpu", n_workers=2, seconds=2.0)
    assert len(tried) > number
    trials = [trial(run, steps_of_another_device(run), eval_seconds=0.0) for run in spread(tried, number)]
    pace = Pace([], trials, device_kind="cpu")
    errors = [pace.of(run).seconds / (run.n_steps * steps_of_another_device(run)) - 1 for run in RUNS]
    assert max(map(abs, errors)) < 0.15
    assert abs(sum(errors) / len(errors)) < 0.05
    assert {pace.of(run).basis for run in RUNS} == {Basis.MEASURED, Basis.INTERPOLATED}


def test_a_shape_beyond_all_trials_is_off_as_the_nearest_is() -> None:
    small, *_, large = sorted(RUNS, key=lambda run: run.planned_flops / run.n_steps)
    guess, known = (Pace(device_kind="cpu").of(run).seconds / run.n_steps for run in (large, small))
    pace = Pace([], [trial(small, 3 * known, eval_seconds=0.0)], device_kind="cpu")
    assert pace.of(large).seconds == pytest.approx(3 * guess * large.n_steps)


def test_finished_runs_correct_their_own_shape_and_the_median_of_all_the_others() -> None:
    a, b, c, d = RUNS[0], RUNS[1], RUNS[2], RUNS[3]
    trials = [trial(run, 0.01, eval_seconds=0.0) for run in (a, b, c, d)]
    timings = [finished(run, factor * run.n_steps * 0.01) for run, factor in ((a, 1.1), (b, 1.2), (c, 1.5))]
    pace = Pace(timings, trials, device_kind="cpu")
    assert [pace.of(run).seconds / (run.n_steps * 0.01) for run in (a, b, c, d)] == pytest.approx([1.1, 1.2, 1.5, 1.2])
    assert {pace.of(run).basis for run in RUNS} == {Basis.FINISHED}


def test_what_a_program_of_the_users_own_took_tells_of_its_tokens_and_nothing_of_our_steps() -> None:
    model, other = LadderModel(10_000, 60_000), LadderModel(20_000, 120_000)
    program = Finished(model, 0, 6e12, 100.0)
    pace = Pace([program], device_kind="cpu")
    assert pace.of(RUNS[0]) == Pace(device_kind="cpu").of(RUNS[0])
    assert pace.of(Planned(model, 0, 3e12)) == RunTime(pytest.approx(50.0), 0.0, Basis.FINISHED)
    assert pace.of(Planned(other, 0, 6e12)).seconds == pytest.approx(100.0)
    per_token = trial(RUNS[0], 1e-6, shape=model, batch_tokens=1, eval_seconds=2.0)
    assert Pace([], [per_token], device_kind="cpu").of(Planned(model, 0, 6e12)).seconds == pytest.approx(100.0 + 2.0)


def test_what_is_left_is_by_trials_until_something_has_finished() -> None:
    runs = [Unfinished(run, 0.5, 1.0) for run in RUNS[:2]]
    trials = [trial(run, 0.01, eval_seconds=0.0, beside_seconds=0.0) for run in RUNS[:2]]
    left = seconds_left(runs, [], device_kind="cpu", n_workers=1, measurements=trials)
    assert left == (pytest.approx(0.5 * 0.01 * sum(run.n_steps for run in RUNS[:2])), True)


def test_a_guess_among_measured_runs_makes_the_estimate_guessed() -> None:
    times = [RunTime(3600.0, 0.0, Basis.MEASURED), RunTime(7200.0, 0.0, Basis.GUESSED)]
    both = estimate_of(times, ["a", "b"], devices_per_run=4)
    assert (both.measured, both.seconds, both.device_hours) == (False, 7200.0, 12.0)
    assert estimate_of(times[:1], ["a"]).measured
    assert both.bases == {Basis.MEASURED: 1, Basis.GUESSED: 1}


def test_the_finishing_time_is_that_of_workers_who_take_the_next_job_when_they_are_free() -> None:
    """Two workers, minute by minute, against the schedule; and the same jobs in another order end later."""
    jobs = [3, 3, 2, 2, 2]
    for order in set(itertools.permutations(jobs)):
        waiting, busy, now = list(order), [0, 0], 0
        while waiting or any(busy):
            busy = [left or (waiting.pop(0) if waiting else 0) for left in busy]
            busy = [max(0, left - 1) for left in busy]
            now += 1
        assert finishing_time(order, 2) == now
    assert finishing_time([3, 3, 2, 2, 2], 2) == 7
    assert finishing_time([3, 2, 2, 2, 3], 2) == 7
    assert finishing_time([2, 2, 2, 3, 3], 2) == 7
    assert finishing_time([1, 1, 4], 2) == 5 > finishing_time([4, 1, 1], 2) == 4
    assert finishing_time([], 3) == 0.0


def test_every_shape_and_batch_of_the_quickstart_is_tried_once() -> None:
    spec = load_spec(Path(__file__).parents[2] / "sweeps" / "quickstart.toml")
    runs = list(make_plan(spec, LARGE_CORPUS).runs.values())
    tried = choose_trials(runs, device_kind="cpu", n_workers=2, seconds=2.0)
    assert {(run.shape, run.batch_tokens) for run in tried} == {(run.shape, batch_tokens(run)) for run in runs}
    assert len(tried) == 35 < len(runs) == 140


def test_of_many_large_shapes_some_are_tried_both_ends_among_them() -> None:
    budgets = [float(f"{10 ** (19 + i / 8):.3g}") for i in range(17)]
    spec = parse_spec({"name": "s", "budgets": budgets, "grid": {"sizes": 15}}, source="t")
    runs = list(make_plan(spec, replace(LARGE_CORPUS, n_train_tokens=10**13)).runs.values())
    tried = choose_trials(runs, device_kind="cpu", n_workers=2, seconds=1e9)
    by_step = sorted(runs, key=lambda run: run.planned_flops / run.n_steps)
    assert 5 <= len(tried) < len({(run.shape, run.batch_tokens) for run in runs})
    steps = [run.planned_flops / run.n_steps for run in tried]
    ends = (by_step[0], by_step[-1])
    assert (min(steps), max(steps)) == tuple(run.planned_flops / run.n_steps for run in ends)
    gaps = [math.log(one / other) for one, other in itertools.pairwise(steps)]
    assert min(gaps) >= 0  # largest first


SHAPE = RUNS[0].shape


def test_memory_that_was_measured_sets_the_micro_batch_and_more_sequences_take_what_is_guessed() -> None:
    guessed, each = memory_bytes(SHAPE, 4), memory_bytes(SHAPE, 2) - memory_bytes(SHAPE, 1)
    as_guessed = MeasuredMemory(guessed, 4)
    for limit in (guessed, guessed + 0.5 * each, guessed + 3.5 * each, guessed - 2 * each):
        assert micro_batch_sequences(SHAPE, 64, limit, measured=as_guessed) == micro_batch_sequences(SHAPE, 64, limit)
    twice = MeasuredMemory(2 * guessed, 4)
    assert micro_batch_sequences(SHAPE, 64, 2 * guessed, measured=twice) == 4
    assert micro_batch_sequences(SHAPE, 64, 2 * guessed + 8.1 * each, measured=twice) == 8
    half = MeasuredMemory(guessed / 2, 4)
    assert micro_batch_sequences(SHAPE, 64, guessed, measured=half) > 4
    assert micro_batch_sequences(SHAPE, 64, 0.0, measured=twice) == 1
