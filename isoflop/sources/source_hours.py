"""What further runs of a source would take, by what its runs took."""

from collections import Counter

from isoflop.hardware import n_sharing
from isoflop.plan.pace import Pace
from isoflop.plan.run_hours import RunHours, run_hours
from isoflop.sources.source import Pool, Source
from isoflop.store import Timing, run_cells


def source_hours(source: Source | Pool) -> RunHours | None:
    """Device-hours of a run on the device that most runs of the sweep were trained on.

    None where no device is known: of a table, of several sources, and of a simulated sweep.
    """
    if len(source.each) != 1 or not source.sweeps:
        return None
    (sweep,) = source.sweeps
    done = [
        (cell, cell.completed) for cell in run_cells(sweep.cells) if cell.completed and not cell.completed.simulated
    ]
    kinds = Counter((result.worker, str(result.execution.get("device_kind"))) for _, result in done)
    if not kinds:
        return None
    (device, kind), _ = kinds.most_common(1)[0]
    timings = [
        Timing(cell.shape, cell.n_steps or 0, result.achieved_flops, result.seconds, device)
        for cell, result in done
        if result.worker == device
    ]
    pace = Pace(timings, device_kind=kind)
    per_run = sweep.spec.devices_per_run / n_sharing(device)
    return run_hours(sweep.spec, done[0][0].shape, pace, devices_per_run=per_run)


def waiting_runs(source: Source | Pool) -> tuple[tuple[float, float], ...]:
    """FLOPs and parameters of planned runs that a fit will use once they are trained."""
    return tuple(
        (cell.budget_flops, sweep.n_params(cell))
        for sweep in source.sweeps
        for cell in run_cells(sweep.cells)
        if cell.will_be_fitted
    )
