"""Time, memory and order of a sweep."""

import itertools
from dataclasses import dataclass, replace

import pytest

from isoflop.corpus_facts import CorpusFacts
from isoflop.engine.queue import start_order
from isoflop.plan.estimate import (
    EVENT_BYTES,
    SMALL_FILE_BYTES_PER_RUN,
    disk_bytes,
    estimate,
    guess_seconds,
    makespan,
    memory_bytes,
    micro_batch_sequences,
    n_events,
)
from isoflop.plan.pace import Pace
from isoflop.plan.planner import make_plan
from isoflop.plan.run_hours import run_hours
from isoflop.plan.types import Plan, Role
from isoflop.run_spec import RunSpec
from isoflop.shape import ModelShape
from isoflop.spec import Keep, SweepSpec, parse_spec
from isoflop.train import reporter

SHAPE = ModelShape(n_layers=4, width=64, n_heads=4, head_dim=16, d_ff=176, vocab_size=257, context_length=128)


@dataclass(frozen=True)
class Timing:
    shape: ModelShape
    n_steps: int
    achieved_flops: float
    seconds: float


@dataclass(frozen=True)
class Work:
    shape: ModelShape
    n_steps: int
    planned_flops: float


def small_spec(trainer: str = "builtin") -> SweepSpec:
    sweep = {"name": "s", "trainer": trainer, "budgets": [1e11, 2e11, 4e11, 8e11], "model": {"context_length": 128}}
    return parse_spec(sweep, source="t")


def small_plan(trainer: str = "builtin") -> Plan:
    spec = small_spec(trainer)
    corpus = CorpusFacts(fingerprint="0" * 16, n_train_tokens=10**8, n_heldout_tokens=10**6, bytes_per_token=1.0)
    return make_plan(spec, corpus)


def seconds(run: RunSpec) -> float:
    return guess_seconds(run.shape, run.n_steps, run.planned_flops, "cpu")


def test_an_estimate_without_timings_is_a_guess() -> None:
    runs = list(small_plan().runs.values())
    guess = estimate(runs, [], device_kind="cpu", devices=["a", "b"])
    assert not guess.measured
    assert guess.seconds >= sum(map(seconds, runs)) / 2


def test_timings_scale_the_estimate_and_make_it_measured() -> None:
    runs = list(small_plan().runs.values())
    guess = estimate(runs, [], device_kind="cpu", devices=["a"])
    timings = [Timing(run.shape, run.n_steps, run.planned_flops, 3 * seconds(run)) for run in runs[:5]]
    measured = estimate(runs, timings, device_kind="cpu", devices=["a"])
    assert measured.measured
    assert measured.seconds == pytest.approx(3 * guess.seconds)


def test_the_makespan_of_longest_first_matches_the_best_schedule_on_a_small_case() -> None:
    jobs = [7.0, 5.0, 4.0, 3.0, 3.0]
    best = min(
        max(sum(job for job, w in zip(jobs, workers, strict=True) if w == k) for k in (0, 1))
        for workers in itertools.product((0, 1), repeat=len(jobs))
    )
    assert best <= makespan(jobs, 2) <= best * (4 / 3 - 1 / 6)  # Graham 1969


def test_a_micro_batch_fits_its_memory_and_divides_the_batch_evenly() -> None:
    limit = memory_bytes(SHAPE, 10)
    assert micro_batch_sequences(SHAPE, 8, limit) == 8
    assert micro_batch_sequences(SHAPE, 16, limit) == 8
    assert micro_batch_sequences(SHAPE, 64, limit) == 10
    assert micro_batch_sequences(SHAPE, 64, 0.0) == 1


SMALL = SMALL_FILE_BYTES_PER_RUN


def disk(plan: Plan, keep: Keep, n_workers: int = 2) -> float:
    return disk_bytes(plan, keep, n_workers=n_workers, seconds=[])


def test_disk_holds_what_is_in_flight_and_the_corpus_whatever_is_kept() -> None:
    plan = small_plan()
    params = sorted(run.shape.n_params_total for run in plan.runs.values())
    # Two workers, each with a checkpoint of 12 bytes per parameter and the next one beside it; tokens of 16 bits.
    expected = 24 * sum(params[-2:]) + 2 * 10**8 + SMALL * len(params)
    assert disk(plan, "none") == pytest.approx(expected)


def test_disk_grows_with_the_weights_that_are_kept() -> None:
    plan = small_plan()
    largest: dict[float, int] = {}
    for cell in plan.cells:
        largest[cell.budget_flops] = max(largest.get(cell.budget_flops, 0), cell.run.shape.n_params_total)
    everything = sum(run.shape.n_params_total for run in plan.runs.values())
    assert disk(plan, "best-per-budget") - disk(plan, "none") == pytest.approx(4 * sum(largest.values()))
    assert disk(plan, "all") - disk(plan, "none") == pytest.approx(4 * everything)


def test_disk_of_a_run_that_serves_two_budgets_is_counted_once() -> None:
    plan = small_plan()
    twice = replace(plan, cells=(*plan.cells, *(replace(cell, budget_flops=9e11) for cell in plan.cells[-1:])))
    assert disk(twice, "best-per-budget") == disk(plan, "best-per-budget")
    assert disk(twice, "all") == disk(plan, "all")


def events_told(seconds: float) -> int:
    """Events of a run whose steps take no time, by the rule of the trainer's reporter."""
    now, told = 0.0, 0
    while now < seconds:
        told += 1
        now += min(reporter.LONGEST_SECONDS, max(reporter.SHORTEST_SECONDS, now / reporter.PER_EVENT))
    return told


@pytest.mark.parametrize("seconds", [1.0, 60.0, 500.0, 3000.0, 86400.0])
def test_events_are_as_many_as_the_trainer_writes(seconds: float) -> None:
    assert n_events(seconds) == pytest.approx(events_told(seconds), rel=0.002)


def test_events_of_short_runs_take_more_room_per_second_than_those_of_a_long_one() -> None:
    plan = small_plan()

    def room_of_events(seconds: list[float]) -> float:
        return disk_bytes(plan, "none", n_workers=2, seconds=seconds) - disk(plan, "none")

    assert room_of_events([100.0] * 864) / 86400 == pytest.approx(2 * EVENT_BYTES)
    assert room_of_events([86400.0 * 30]) / (86400 * 30) == pytest.approx(EVENT_BYTES / 5, rel=0.01)


def test_what_is_estimated_need_not_be_a_run_but_look_like_one() -> None:
    runs = list(small_plan().runs.values())
    alike = [Work(run.shape, run.n_steps, run.planned_flops) for run in runs]
    both = (estimate(each, [], device_kind="cpu", devices=["a"]) for each in (runs, alike))
    assert len({each.seconds for each in both}) == 1


def test_hours_of_runs_beside_the_plan_are_those_that_the_plan_would_have() -> None:
    plan = small_plan()
    run = next(run for run in plan.runs.values() if isinstance(run, RunSpec))
    timings = [Timing(run.shape, run.n_steps, run.planned_flops, factor * seconds(run)) for factor in (1, 2, 9)]
    for pace, factor in ((Pace(device_kind="cpu"), 1.0), (Pace(timings, device_kind="cpu"), 2.0)):
        hours = run_hours(small_spec(), run.shape, pace, devices_per_run=4)
        for cell in plan.cells:
            expected = factor * 4 * seconds(cell.run) / 3600
            assert hours(cell.budget_flops, cell.run.shape.n_params_total) == pytest.approx(expected, rel=0.01)


def test_a_simulated_sweep_takes_its_small_files_alone() -> None:
    plan = small_plan(trainer="simulated")
    assert disk_bytes(plan, "all", n_workers=2, seconds=[1e9]) == SMALL * len(plan.runs)


def test_small_budgets_start_first_and_the_last_two_are_one_pool() -> None:
    plan = small_plan()
    jobs = start_order(plan.cells, plan.runs, seconds)
    budget_of = {cell.run.run_id: cell.budget_flops for cell in plan.cells}
    budgets = [budget_of[job.runs[0].run_id] for job in jobs]
    n_first = budgets.count(1e11)
    assert set(budgets[:n_first]) == {1e11}
    assert set(budgets[n_first : n_first + budgets.count(2e11)]) == {2e11}
    pool = [seconds(job.runs[0]) for job, budget in zip(jobs, budgets, strict=True) if budget >= 4e11]
    assert pool == sorted(pool, reverse=True)
    first = [seconds(job.runs[0]) for job in jobs[:n_first]]
    assert first == sorted(first, reverse=True)


def test_confirm_runs_are_of_the_pool_and_leave_it_the_two_largest_budgets_of_the_grid() -> None:
    plan = small_plan()
    largest = max(plan.cells, key=lambda cell: cell.budget_flops)
    run = largest.run.model_validate({**largest.run.model_dump(), "n_steps": 9 * largest.run.n_steps})
    confirm = replace(largest, role=Role.CONFIRM, budget_flops=9 * largest.budget_flops, run=run)
    [first, *grid] = start_order([*plan.cells, confirm], [*plan.runs, run.run_id], seconds)[-n_pooled(plan) - 1 :]
    assert first.runs[0] == run, "the longest of the pool"
    assert grid == start_order(plan.cells, plan.runs, seconds)[-n_pooled(plan) :]


def n_pooled(plan: Plan) -> int:
    """Runs of the two largest budgets."""
    largest = sorted({cell.budget_flops for cell in plan.cells})[-2:]
    return sum(cell.budget_flops in largest for cell in plan.cells)


def test_a_run_of_two_budgets_starts_with_the_smaller_in_whatever_order_cells_come() -> None:
    plan = small_plan()
    first, *_, last = sorted(plan.cells, key=lambda cell: cell.budget_flops)
    shared = replace(first, budget_flops=last.budget_flops)
    expected = start_order(plan.cells, plan.runs, seconds)
    assert start_order([shared, *reversed(plan.cells)], plan.runs, seconds) == expected
    assert start_order([], [], seconds) == []


def test_only_pending_runs_are_started() -> None:
    plan = small_plan()
    wanted = list(plan.runs)[3:5]
    assert {job.job_id for job in start_order(plan.cells, wanted, seconds)} == set(wanted)
