"""How a sweep stands before and after it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from isoflop.plan.measurement import Measurement
from isoflop.plan.types import Cell
from isoflop.result import Status
from isoflop.store import Timing


@dataclass(frozen=True)
class Outline:
    """What is to be done, and what an estimate of its time rests on.

    Attributes:
        done: runs that have a result, by id.
        shares: of the other runs, what a checkpoint keeps of them, by id.
        devices: names of the workers' devices.
        device_kind: `cpu` or `cuda`.
        timings: what completed runs took so far, on any device, newest first.
        measurements: trials on the workers' devices that tell of these runs, best last.
    """

    sweep: str
    simulated: bool
    cells: tuple[Cell, ...]
    done: frozenset[str]
    shares: Mapping[str, float]
    devices: tuple[str, ...]
    device_kind: str
    timings: tuple[Timing, ...]
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class Incomplete:
    """A run that ended without a loss."""

    run_id: str
    status: Status
    reason: str
    log_path: str | None


@dataclass(frozen=True)
class RunOutcome:
    """What `isoflop run` came to.

    Attributes:
        counts: the sweep's runs by status; "pending" for those without a result.
        excluded: reasons of the runs that a person left out of the fit, by run id.
        seconds: wall time of this command.
        flops_spent: by this command, as far as results and checkpoints have it.
        n_kept: pending runs with a checkpoint to go on from.
        n_read: results that lay in the run directories and were recorded by this command; nothing was trained for them.
        busy_share: worker seconds from start of training to result, over workers x sweep seconds; process start
            excluded; None where nothing was trained.
    """

    sweep: str
    simulated: bool
    counts: Mapping[str, int]
    excluded: Mapping[str, str]
    incomplete: tuple[Incomplete, ...]
    seconds: float
    flops_spent: float
    n_kept: int
    n_read: int
    busy_share: float | None

    @property
    def n_planned(self) -> int:
        """Distinct runs of the sweep."""
        return sum(self.counts.values())

    @property
    def n_completed(self) -> int:
        """Runs with a loss."""
        return self.counts[Status.COMPLETED.value]
