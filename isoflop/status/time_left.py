"""How long what is left of a sweep takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop.hardware import cpu_name
from isoflop.plan.estimate import Unfinished, seconds_left
from isoflop.plan.measurement import Measurement
from isoflop.rundir import RunDir
from isoflop.rundir.layout import dir_of_run
from isoflop.status.work import Activity, Work, share_done
from isoflop.store import RunCell, Timing


@dataclass(frozen=True)
class TimeLeft:
    """An estimate of what is left.

    Attributes:
        seconds: wall time, what running runs have done already subtracted.
        measured: True if it rests on finished runs or trials on the same device, or without any on the running ones;
            else guessed.
        n_workers: workers at work now; where none is, as many as left a run midway, at least one.
        at_work: whether they are at work now.
        device: its name; None where it is not known.
        device_kind: `cpu` or `cuda`.
    """

    seconds: float
    measured: bool
    n_workers: int
    at_work: bool
    device: str | None
    device_kind: str

    @property
    def device_name(self) -> str:
        """The device as far as it is known."""
        return self.device or {"cpu": "CPU core", "cuda": "GPU"}.get(self.device_kind, self.device_kind)


@dataclass(frozen=True)
class _Device:
    kind: str
    name: str | None
    worker: str | None


def time_left(
    cells: Sequence[RunCell],
    works: Mapping[str, Work],
    timings: Sequence[Timing],
    artifacts: Path,
    measurements: Sequence[Measurement] = (),
) -> TimeLeft | None:
    """Time for the sweep's runs without a result; None where there are none, or nothing tells what they train on."""
    pending = {cell.run_id: cell for cell in cells if cell.result is None}
    left = {run_id: cell for run_id, cell in pending.items() if not _has(works.get(run_id), Activity.ENDED)}
    device = _device(cells, works, artifacts)
    if not left or device is None:
        return None
    own = [timing for timing in timings if timing.worker == device.worker]
    n_running = sum(_has(work, Activity.RUNNING) for work in works.values())
    n_workers = n_running or max(1, len(works))
    unfinished = [_unfinished(cell, works.get(run_id)) for run_id, cell in left.items()]
    trials = [one for one in measurements if (one.device, one.device_kind) == (device.name, device.kind)]
    seconds, measured = seconds_left(unfinished, own, device_kind=device.kind, n_workers=n_workers, measurements=trials)
    return TimeLeft(seconds, measured, n_workers, n_running > 0, device.name, device.kind)


def done(cell: RunCell, work: Work | None) -> float:
    """Share of a pending run that need not be done again, by tokens."""
    return share_done(cell.n_tokens, work)


def _has(work: Work | None, activity: Activity) -> bool:
    return work is not None and work.activity is activity


def _unfinished(cell: RunCell, work: Work | None) -> Unfinished:
    speed = work.reported.tokens_per_second if work and work.reported and _has(work, Activity.RUNNING) else None
    return Unfinished(cell, done(cell, work), speed)


def _device(cells: Sequence[RunCell], works: Mapping[str, Work], artifacts: Path) -> _Device | None:
    """What the workers train on now; where none does, what ran last."""
    begun = sorted(works.values(), key=lambda work: work.activity is not Activity.RUNNING)
    kinds = [work.device_kind for work in begun if work.device_kind]
    finished = [(cell.completed, cell.run_id) for cell in cells if cell.completed is not None]
    last, run_id = max(finished, key=lambda one: one[0].finished_at, default=(None, ""))
    job = RunDir(dir_of_run(artifacts, run_id)).read_job() if last is not None else None
    last_device = _Device(job.execution.device_kind, last.device, last.worker) if job and last is not None else None
    if last_device is not None and kinds[:1] in ([], [last_device.kind]):
        return last_device
    name = cpu_name() if kinds[:1] == ["cpu"] else None
    return _Device(kinds[0], name, name) if kinds else None
