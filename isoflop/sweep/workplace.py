"""Where a sweep is trained: on this machine's devices, or on those that a cluster gives to pilots."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol

from isoflop.engine.local.device_wish import ANY_DEVICE, DeviceWish
from isoflop.engine.local.devices import DeviceChoice
from isoflop.engine.local.leases import device_leases
from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.pilots.cluster import Cluster
from isoflop.engine.pilots.fleet import Fleet
from isoflop.engine.pilots.mailbox import PilotFile
from isoflop.engine.pilots.pilot_engine import PilotEngine, fleet_slots
from isoflop.engine.pilots.pilot_folders import lanes_seen
from isoflop.engine.protocol import Engine, Slot
from isoflop.errors import IsoflopError
from isoflop.plan.types import Extra
from isoflop.rundir.layout import pilots_dir
from isoflop.spec import RaySpec, SlurmSpec, SweepSpec, with_options
from isoflop.sweep.planning import PlannedSweep, SweepCorpus, plan_sweep, plan_there

EngineName = Literal["local", "slurm", "ray"]
# A machine that everything fits on: to see whether a sweep can be planned before anything is asked of a cluster.
_ANYWHERE = Slot("cuda", "some device", "", 1e18, bfloat16=True)


@dataclass(frozen=True)
class EngineChoice:
    """What starts workers.

    Attributes:
        options: of the engine, by name, before those of the sweep file.
        tell: hears what is waited for.
    """

    name: EngineName = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda said: None


LOCAL = EngineChoice()


@dataclass(frozen=True)
class Workplace:
    """What is asked for on the command line.

    Attributes:
        device, workers, wish: as of `find_devices`; with an engine other than local, workers are its jobs at once.
    """

    device: DeviceChoice
    workers: int | None
    wish: DeviceWish
    engine: EngineChoice

    def __post_init__(self) -> None:
        """Refuse what says nothing.

        Raises:
            IsoflopError: options of this machine's devices with another engine.
        """
        if self.engine.name != "local" and self.wish != ANY_DEVICE:
            raise IsoflopError(
                "--devices, --per-device and --share-devices are for this machine's devices.",
                hint="Leave them out; --engine-option gres=gpu:1 (Slurm), num_gpus=1 (Ray), lanes_per_device say it.",
            )


class Staff(Protocol):
    """What a sweep is planned for and trained with."""

    def plan(self, extra: Sequence[Extra] = ()) -> PlannedSweep:
        """The plan on its slots, with runs beside the grid."""

    def engines(self, planned: PlannedSweep) -> contextlib.AbstractContextManager[Callable[[], Engine]]:
        """A block in which engines for the plan's slots can be had, one after the other."""


@dataclass(frozen=True)
class _Here:
    """This machine's devices."""

    spec: SweepSpec
    corpus: SweepCorpus
    place: Workplace

    def plan(self, extra: Sequence[Extra] = ()) -> PlannedSweep:
        """See `Staff`."""
        place = self.place
        return plan_sweep(
            self.spec, self.corpus, device=place.device, workers=place.workers, extra=extra, wish=place.wish
        )

    @contextlib.contextmanager
    def engines(self, planned: PlannedSweep) -> Iterator[Callable[[], Engine]]:
        """See `Staff`."""
        share = self.place.wish.share or planned.plan.simulated  # a simulated run computes nothing
        with device_leases(planned.slots, share=share) as leases:
            yield lambda: LocalEngine(planned.slots, leases)


@dataclass(frozen=True)
class _Hired:
    """The pilots of a cluster."""

    spec: SweepSpec
    corpus: SweepCorpus
    fleet: Fleet
    lanes: tuple[Slot, ...]

    def plan(self, extra: Sequence[Extra] = ()) -> PlannedSweep:
        """See `Staff`."""
        return plan_there(self.spec, self.corpus, fleet_slots(self.lanes, self.fleet.most), extra=extra)

    @contextlib.contextmanager
    def engines(self, planned: PlannedSweep) -> Iterator[Callable[[], Engine]]:
        """See `Staff`."""
        yield lambda: PilotEngine(self.fleet, planned.slots, len(self.lanes))


@contextlib.contextmanager
def staffed(
    place: Workplace,
    spec: SweepSpec,
    corpus: SweepCorpus,
    *,
    sweep: Path,
    db: Path,
    artifacts: Path,
    pending: Callable[[PlannedSweep], int],
) -> Iterator[Staff]:
    """A block in which the sweep has somewhere to be trained; a cluster is asked for pilots, and waited for.

    `pending`: how many runs of a plan have no result.

    Raises:
        IsoflopError: nothing can be trained, or there.
    """
    if place.engine.name == "local":
        yield _Here(spec, corpus, place)
        return
    n_runs = pending(plan_there(spec, corpus, (_ANYWHERE,)))
    options = _options(spec, place.engine)
    device = "cpu" if spec.trainer == "simulated" else place.device
    cluster = _cluster(options, spec, sweep, device)
    content = PilotFile(
        sweep=spec.name,
        database=str(db.resolve()),
        engine=cluster.engine,
        device=device,
        devices_per_run=spec.devices_per_run,
        lanes_per_device=options.lanes_per_device,
        idle_seconds=options.idle_seconds,
        submitted_at=0.0,
        **_given(options),
    )
    jobs = place.workers or options.jobs
    root = pilots_dir(artifacts.resolve())
    fleet = Fleet(cluster, root, content, most=jobs, poll_seconds=options.poll_seconds)
    try:
        fleet.adopt()
        seen = () if n_runs or fleet.pilots else lanes_seen(root, cluster.engine)
        with _ended_by_signals():
            # A sweep that is done waits for no queue; rounds that it may have yet ask for more jobs.
            lanes = seen or fleet.gather(min(jobs, max(1, n_runs)), place.engine.tell)
        fleet.lanes = lanes
        yield _Hired(spec, corpus, fleet, lanes)
    finally:
        left_over = fleet.release()
        if left_over:
            place.engine.tell(f"jobs may still run or wait: `{cluster.cancel_command} {' '.join(left_over)}` ends them")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A block that SIGTERM and SIGHUP end as Ctrl-C does, so that jobs which wait are cancelled."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def _options(spec: SweepSpec, engine: EngineChoice) -> SlurmSpec | RaySpec:
    """The engine's options, those of the command line before those of the sweep file.

    Raises:
        IsoflopError: there is no such option, or not with that value.
    """
    if engine.name == "ray":
        return with_options(spec.engine.ray, engine.options)
    return with_options(spec.engine.slurm, engine.options)


def _given(options: SlurmSpec | RaySpec) -> dict[str, Any]:
    """What of `PilotFile` depends on the engine: what only Ray knows of an actor's share of its node."""
    if isinstance(options, SlurmSpec):
        return {"grace_seconds": max(5.0, options.signal_seconds * 0.75)}
    return {
        "grace_seconds": options.grace_seconds,
        "cores": max(1, int(options.num_cpus)),
        "memory_bytes": options.memory,
        "device_share": min(1.0, options.num_gpus or 1.0),
    }


def _cluster(options: SlurmSpec | RaySpec, spec: SweepSpec, sweep: Path, device: DeviceChoice) -> Cluster:
    if isinstance(options, RaySpec):
        from isoflop.engine.ray.ray_cluster import RayCluster

        return RayCluster(options, spec.name, on_gpus=device != "cpu")
    from isoflop.engine.slurm.slurm_cluster import SlurmCluster

    return SlurmCluster(options, spec.name, sweep.resolve().parent)


def seen_slots(engine: EngineChoice, spec: SweepSpec, artifacts: Path, jobs: int | None) -> tuple[Slot, ...]:
    """The slots of `jobs` jobs like the one that ran last for these artifacts; nothing is asked of the cluster.

    Raises:
        IsoflopError: none has run there, or an option is not one.
    """
    options = _options(spec, engine)
    lanes = lanes_seen(pilots_dir(artifacts), engine.name)
    if not lanes:
        raise IsoflopError(
            f"No job of --engine {engine.name} has run for {str(artifacts)!r} yet, so nothing is known of its devices.",
            hint="`--on h100:8` guesses for GPUs that are not here; `isoflop run --engine` asks the cluster for jobs.",
        )
    return fleet_slots(lanes, jobs or options.jobs)


def said_on_stderr(sweep: str) -> Callable[[str], None]:
    """Tells a person at the terminal."""
    return lambda said: print(f"{sweep}: {said}", file=sys.stderr, flush=True)
