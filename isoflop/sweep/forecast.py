"""What the pending runs of a planned sweep cost, by the best that the database knows of their device."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from isoflop.engine.execution import MemoryOf, new_execution
from isoflop.engine.local.device_wish import DeviceWish
from isoflop.engine.local.devices import packed
from isoflop.engine.protocol import Slot
from isoflop.engine.queue import start_order
from isoflop.errors import IsoflopError
from isoflop.plan.estimate import SECONDS_PER_HOUR, BudgetCost, Estimate, MeasuredMemory, estimate_of
from isoflop.plan.measurement import NO_OPTIMIZER, PROGRAM, Measurement
from isoflop.plan.pace import Pace, RunTime, batch_tokens
from isoflop.plan.packing import Packing
from isoflop.plan.run_hours import RunHours, run_hours
from isoflop.plan.types import Cell
from isoflop.run_spec import CommandRun, Job, RunSpec, as_program
from isoflop.shape import Shape
from isoflop.spec import SweepSpec
from isoflop.store import Store, Timing
from isoflop.sweep.planning import PlannedSweep
from isoflop.units import format_flops, format_hours, plural

# What two computations have in common that take equally long; the size of a micro-batch hardly matters.
_ALIKE = ("device_kind", "dtype", "step", "instructions", "world_size")


@dataclass(frozen=True)
class Known:
    """What a database knows of devices: finished runs, newest first, and trials, latest last."""

    timings: Sequence[Timing] = ()
    measurements: Sequence[Measurement] = ()


def known_of(store: Store | None, spec: SweepSpec) -> Known:
    """What `store` knows that bears on the sweep; nothing where there is none."""
    return Known(store.throughput(spec.program), store.measurements()) if store else Known()


def pace_of(planned: PlannedSweep, known: Known) -> Pace:
    """What runs of the sweep take on its slots."""
    slot = planned.slots[0]
    if planned.elsewhere:
        return Pace(device_kind=slot.kind, speed=planned.speed)
    timings = [timing for timing in known.timings if timing.worker == slot.worker_name]
    trials = trials_of(planned, known.measurements)
    # Runs that share a device share its arithmetic; what each waits for it waits for beside the others.
    return Pace(timings, trials, device_kind=slot.kind, speed=1.0 / slot.n_packed)


def packed_as_measured(planned: PlannedSweep, known: Known, *, workers: int | None, wish: DeviceWish) -> PlannedSweep:
    """The sweep with as many runs at once on each GPU as trials have shown to pay, where nobody asked for a number."""
    slot = planned.slots[0]
    asked = workers is not None or wish.per_device is not None or planned.has_fixed_lanes
    if asked or planned.elsewhere or planned.plan.simulated or slot.kind == "cpu" or slot.n_devices > 1:
        return planned
    trials = _alike(planned, known.measurements)
    if not any(one.n_packed > 1 for one in trials):
        return planned
    pace = pace_of(planned, known)
    runs = [run for run in planned.plan.runs.values() if isinstance(run, RunSpec)]
    number = Packing(trials).best((run.planned_flops / run.n_steps, pace.of(run).seconds) for run in runs)
    return replace(planned, slots=packed(planned.slots, number))


def trials_of(planned: PlannedSweep, measurements: Iterable[Measurement]) -> list[Measurement]:
    """The trials that tell of the sweep's runs on its slots, best last: as many at once, then the latest.

    Only those that were computed as the runs will be; held-out losses scaled to the tokens of the runs', and times to
    what they are beside others on a device that is packed.
    """
    number, alike = planned.slots[0].n_packed, _alike(planned, measurements)
    alone = [one for one in alike if one.n_packed == 1]
    if number == 1:
        return alone
    packing = Packing(alike)
    return [_slower(one, packing.slowdown(number, one.flops_per_step)) for one in alone]


def _slower(one: Measurement, by: float) -> Measurement:
    return replace(one, seconds_per_step=one.seconds_per_step * by, eval_seconds=one.eval_seconds * by)


def _alike(planned: PlannedSweep, measurements: Iterable[Measurement]) -> list[Measurement]:
    """The trials alone and together that were computed as the sweep's runs will be, best last."""
    slot, runs = planned.slots[0], list(planned.plan.runs.values())
    n_at_once = len(planned.slots) // slot.n_packed
    own = [one for one in measurements if (one.device, one.device_kind) == (slot.name, slot.kind)]
    own.sort(key=lambda one: one.n_at_once == n_at_once)
    ours = [run for run in runs if isinstance(run, RunSpec)]
    if not ours or planned.plan.simulated:
        programs = {as_program(run.argv) for run in runs if isinstance(run, CommandRun)}
        return [one for one in own if one.optimizer == NO_OPTIMIZER and one.execution.get(PROGRAM) in programs]
    keyed = ours if own else []
    by_key: dict[tuple[Shape, int], RunSpec] = {(run.shape, batch_tokens(run)): run for run in keyed}

    def fits(one: Measurement) -> bool:
        run = by_key.get((one.shape, one.batch_tokens), ours[0])
        execution = new_execution(Job((run,)), slot).model_dump(mode="json")
        alike = all(one.execution.get(name) == execution[name] for name in _ALIKE)
        return one.optimizer == run.optimizer.kind and alike

    eval_tokens = ours[0].eval_tokens
    return [replace(one, eval_seconds=one.eval_seconds * eval_tokens / one.eval_tokens) for one in own if fits(one)]


def measured_memory(measurements: Iterable[Measurement]) -> MemoryOf:
    """What the trials took, by shape, batch and device."""
    taken: dict[tuple[Shape, int, str], MeasuredMemory] = {
        (one.shape, one.batch_tokens, one.device): MeasuredMemory(
            one.memory_bytes, int(str(one.execution["micro_batch_sequences"]))
        )
        for one in measurements
        if one.optimizer != NO_OPTIMIZER and one.n_packed == 1
    }

    def of(job: Job, slot: Slot) -> MeasuredMemory | None:
        run = max(job.runs, key=lambda run: run.shape.n_params_total)
        return taken.get((run.shape, batch_tokens(run), slot.name))

    return of


def forecast(planned: PlannedSweep, pace: Pace, *, done: Collection[str] = ()) -> Estimate:
    """What the sweep costs without the `done` runs, started in the dispatcher's order; a simulated one nothing."""
    slots = planned.slots
    cells = [cell for cell in planned.plan.cells if cell.run.run_id not in done and cell.run.trainer != "simulated"]
    times = {cell.run.run_id: pace.of(cell.run) for cell in cells}
    jobs = start_order(cells, times, lambda run: times[run.run_id].total)
    in_order = [times[run.run_id] for job in jobs for run in job.runs]
    names, per_run = [slot.worker_name for slot in slots], slots[0].n_devices / slots[0].n_packed
    made = estimate_of(in_order, names, devices_per_run=per_run, if_none=pace.is_known)
    return replace(made, by_budget=_by_budget(cells, times, per_run))


def _by_budget(cells: Iterable[Cell], times: Mapping[str, RunTime], devices_per_run: float) -> tuple[BudgetCost, ...]:
    """What each budget costs; a run of several counts at the smallest."""
    budget_of: dict[str, float] = {}
    for cell in cells:
        run_id = cell.run.run_id
        budget_of[run_id] = min(budget_of.get(run_id, cell.budget_flops), cell.budget_flops)
    seconds: dict[float, list[float]] = defaultdict(list)
    for run_id, budget in budget_of.items():
        seconds[budget].append(times[run_id].total)
    return tuple(
        BudgetCost(budget, len(seconds[budget]), sum(seconds[budget]) * devices_per_run / SECONDS_PER_HOUR)
        for budget in sorted(seconds)
    )


def seconds_by_run(planned: PlannedSweep, pace: Pace) -> dict[str, float]:
    """Training and evaluation of every run of the plan on one slot, by id; empty where none is trained."""
    if planned.plan.simulated:
        return {}
    return {run_id: pace.of(run).seconds for run_id, run in planned.plan.runs.items()}


def hours_of_runs(spec: SweepSpec, planned: PlannedSweep, known: Known) -> RunHours | None:
    """Device-hours of runs beside the plan, estimated as those of the plan are; None where no model is trained."""
    if planned.plan.simulated:
        return None
    pace, slot = pace_of(planned, known), planned.slots[0]
    per_run = slot.n_devices / slot.n_packed
    return run_hours(spec, planned.plan.cells[0].run.shape, pace, devices_per_run=per_run)


def refuse_beyond(estimate: Estimate, max_hours: float) -> None:
    """Nothing, where the pending runs cost at most `max_hours` device-hours.

    Raises:
        IsoflopError: they cost more; the hint names the budgets that would fit, cheapest first.
    """
    if estimate.device_hours <= max_hours:
        return
    n_runs = sum(budget.n_runs for budget in estimate.by_budget)
    basis = "measured" if estimate.measured else "guessed"
    raise IsoflopError(
        f"The {plural(n_runs, 'pending run')} cost {format_hours(estimate.device_hours)} device-hours ({basis}), "
        f"more than --max-hours {max_hours:g}.",
        hint=_what_fits(estimate.by_budget, max_hours),
    )


def _what_fits(budgets: Sequence[BudgetCost], max_hours: float) -> str:
    left, fitting = max_hours, []
    for budget in sorted(budgets, key=lambda one: (one.device_hours, one.budget_flops)):
        if budget.device_hours > left:
            break
        left -= budget.device_hours
        fitting.append(f"{format_flops(budget.budget_flops)} ({format_hours(budget.device_hours)})")
    if not fitting:
        cheapest = min(budgets, key=lambda one: one.device_hours)
        at = f"{format_flops(cheapest.budget_flops)} FLOPs, costs {format_hours(cheapest.device_hours)} device-hours"
        return f"No budget fits: the cheapest, {at}. Lower the budgets, or raise --max-hours."
    return f"Budgets that fit together, cheapest first, in device-hours: {', '.join(fitting)}; or raise --max-hours."
