"""How many runs a GPU trains at once, by trials alone and together."""

from dataclasses import replace

import pytest

from isoflop.engine.execution import memory_needed, new_execution
from isoflop.engine.local.device_wish import ANY_DEVICE, DeviceWish
from isoflop.engine.local.devices import packed
from isoflop.engine.protocol import Slot
from isoflop.plan.measurement import Measurement
from isoflop.plan.packing import Packing
from isoflop.plan.planner import make_plan
from isoflop.run_spec import CommandRun, Job, RunSpec
from isoflop.shape import LadderModel
from isoflop.spec import parse_spec
from isoflop.status.sweep_status import _tells
from isoflop.sweep.forecast import Known, forecast, measured_memory, pace_of, packed_as_measured, trials_of
from isoflop.sweep.planning import PlannedSweep
from tests.plan.test_plan_grid import LARGE_CORPUS
from tests.plan.test_plan_pace import RUNS, trial

RUN = RUNS[0]
GPUS = tuple(Slot("cuda", "Some GPU", f"GPU-{number}", 8e10, bfloat16=True) for number in range(2))


@pytest.mark.parametrize(
    ("together", "k"),
    [
        pytest.param({}, 1, id="nothing measured"),
        pytest.param({2: 2.0, 4: 4.0}, 1, id="runs take turns: no gain"),
        pytest.param({2: 1.82}, 1, id="just below a tenth: 1.0989"),
        pytest.param({2: 1.81}, 2, id="just above a tenth: 1.105"),
        pytest.param({2: 1.2, 4: 1.6, 8: 4.8}, 4, id="the best of three: 2.5 against 1.67 twice"),
        pytest.param({2: 1.0, 4: 2.0}, 2, id="the fewest of equals"),
        pytest.param({1: 0.1}, 1, id="one alone is no packing"),
        pytest.param({2: 2.4}, 1, id="a loss"),
    ],
)
def test_runs_are_packed_where_steps_per_second_were_measured_to_grow_by_a_tenth(
    together: dict[int, float], k: int
) -> None:
    trials = [trial(RUN, 1.0), *(trial(RUN, seconds, n_packed=number) for number, seconds in together.items())]
    assert Packing(trials).best([(trials[0].flops_per_step, 100.0)]) == k


def test_what_small_runs_gain_counts_by_their_share_of_the_time() -> None:
    small, large = sorted((RUNS[0], RUNS[-1]), key=lambda run: run.planned_flops / run.n_steps)
    trials = [trial(small, 1.0), trial(small, 1.0, n_packed=2), trial(large, 1.0), trial(large, 2.0, n_packed=2)]
    packing = Packing(trials)
    of_small, of_large = trials[0].flops_per_step, trials[2].flops_per_step
    assert packing.slowdown(2, of_small) == pytest.approx(1.0)
    assert packing.slowdown(2, of_large * 1.1) == pytest.approx(2.0)
    assert packing.slowdown(4, of_small) == pytest.approx(4.0), "nobody tried four at once"
    # Of 100 s those that gain twofold take 19 s: 100 / (81 + 9.5) = 1.105; of 18 s it is 1.099.
    assert packing.best([(of_small, 19.0), (of_large, 81.0)]) == 2
    assert packing.best([(of_small, 18.0), (of_large, 82.0)]) == 1
    assert packing.best([]) == 1


def test_a_shape_that_was_not_tried_with_so_many_as_another_gains_nothing_from_more() -> None:
    small, large = sorted((RUNS[0], RUNS[-1]), key=lambda run: run.planned_flops / run.n_steps)
    both = [trial(run, 1.0, n_packed=number) for run in (small, large) for number in (1, 2)]
    packing = Packing([*both, trial(small, 1.0, n_packed=4)])
    assert packing.slowdown(4, both[0].flops_per_step) == pytest.approx(1.0)
    assert packing.slowdown(4, both[2].flops_per_step) == pytest.approx(4.0)


def planned(slots: tuple[Slot, ...]) -> PlannedSweep:
    sweep = {"name": "s", "budgets": [1e11, 4e11], "model": {"context_length": 64}}
    return PlannedSweep(make_plan(parse_spec(sweep, source="t"), LARGE_CORPUS), slots, LARGE_CORPUS, None)


def trials(sweep: PlannedSweep, together: float) -> list[Measurement]:
    """Of a run of the sweep, alone and two at once."""
    run = next(run for run in sweep.plan.runs.values() if isinstance(run, RunSpec))
    execution = new_execution(Job((run,)), GPUS[0]).model_dump(mode="json")
    alone = trial(run, 0.1, device="Some GPU", device_kind="cuda", execution=execution)
    return [alone, replace(alone, seconds_per_step=together, n_packed=2)]


def test_a_sweep_on_gpus_is_packed_as_its_trials_say_and_the_estimate_is_of_that() -> None:
    alone = planned(GPUS)
    known = Known(measurements=trials(alone, 0.12))
    made = packed_as_measured(alone, known, workers=None, wish=ANY_DEVICE)
    assert [(slot.visible_device, slot.n_packed) for slot in made.slots] == [("GPU-0", 2), ("GPU-1", 2)] * 2
    assert made.plan == alone.plan, "no run is another"
    [slower] = trials_of(made, known.measurements)
    assert slower.seconds_per_step == pytest.approx(0.12)
    before, after = (forecast(sweep, pace_of(sweep, known)) for sweep in (alone, made))
    assert after.measured and 0.4 < after.seconds / before.seconds < 0.8
    assert after.device_hours < before.device_hours
    assert set(after.devices) == {"Some GPU, 1 of 2 runs at once"}


def test_runs_are_not_packed_where_nothing_is_gained_or_somebody_asked_otherwise() -> None:
    alone = planned(GPUS)
    gains, none = Known(measurements=trials(alone, 0.12)), Known(measurements=trials(alone, 0.19))
    assert packed_as_measured(alone, none, workers=None, wish=ANY_DEVICE) is not alone
    assert packed_as_measured(alone, none, workers=None, wish=ANY_DEVICE).slots == GPUS
    for asked in (
        packed_as_measured(alone, Known(), workers=None, wish=ANY_DEVICE),
        packed_as_measured(alone, gains, workers=2, wish=ANY_DEVICE),
        packed_as_measured(alone, gains, workers=None, wish=DeviceWish(per_device=1)),
        packed_as_measured(replace(alone, elsewhere=True), gains, workers=None, wish=ANY_DEVICE),
    ):
        assert asked.slots == GPUS


def test_memory_is_that_of_a_trial_alone() -> None:
    of = measured_memory([trial(RUN, 0.1, memory_bytes=5e8), trial(RUN, 0.1, memory_bytes=1.0, n_packed=2)])
    found = of(Job((RUN,)), replace(GPUS[0], name="Some CPU"))
    assert found is not None and found.n_bytes == pytest.approx(5e8)


def test_a_program_that_shares_a_gpu_takes_its_share_of_the_memory() -> None:
    run = CommandRun(
        trainer="command", shape=LadderModel(1000, 6000), n_tokens=10, seed=0, argv=("train",), code_hash="c"
    )
    alone, shared = (memory_needed(Job((run,)), slot) for slot in (GPUS[0], packed(GPUS, 4)[0]))
    assert alone == pytest.approx(8e10) and shared == pytest.approx(2e10)


def test_status_reads_trials_of_runs_as_the_sweep_has_them_alone() -> None:
    spec = parse_spec({"name": "s", "budgets": [1e11, 4e11]}, source="t")
    own = trial(RUN, 0.1)
    others = [replace(own, n_packed=2), replace(own, optimizer="muon"), replace(own, execution={"program": "x"})]
    assert [one for one in (own, *others) if _tells(one, spec)] == [own]
