"""Engine: a place where workers run. It starts them, passes orders on and says which have ended; it decides nothing.

What a worker did is read from its run directory (attempt.py), what starts next is the queue's (queue.py), whether a job
is tried again the policy's (policy.py): all of that is the same whatever the engine. An engine tries nothing again.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NewType, Protocol

from isoflop.engine.notices import DeviceHeld, EngineSaid
from isoflop.hardware import shared_name
from isoflop.rundir import Assignment, DeviceKind
from isoflop.step_library import Instructions

# Of a device's memory, the share a run may plan for; the rest is the context's and the allocator's.
USABLE_MEMORY = 0.8
# A worker whose coordinator died checkpoints and ends within five seconds (train/process.py); a stopped one cannot.
PATIENCE_SECONDS = 10.0

WorkerRef = NewType("WorkerRef", str)
"""Names a worker to the engine that started it."""

Device = tuple[str, str]
"""What tells devices apart: the kind, and what CUDA calls it."""


@dataclass(frozen=True)
class Slot:
    """Room for one worker.

    Attributes:
        kind: what a worker here computes on.
        name: for people.
        visible_device: value of CUDA_VISIBLE_DEVICES for the worker; "" hides every GPU.
        memory_bytes: what the runs on its device may use together; of several GPUs each has as much.
        n_sharing: slots of that device, times the cores of each.
        bfloat16: whether matrix products run in bfloat16.
        n_devices: GPUs, or cores, that train its run together.
        n_packed: runs at once on its GPU. It changes nothing of how one is computed: each may take what it needs of the
            memory, and starts when that is free.
        instructions: of the CPU there, for the step in C++; None for this machine's.
    """

    kind: DeviceKind
    name: str
    visible_device: str
    memory_bytes: float
    bfloat16: bool
    n_sharing: int = 1
    n_devices: int = 1
    n_packed: int = 1
    instructions: Instructions | None = None

    @property
    def n_ranks_in_memory(self) -> int:
        """Processes of its run that take of the same memory: all of them on cores, one on each GPU."""
        return self.n_devices if self.kind == "cpu" else 1

    @property
    def share_bytes(self) -> float:
        """What a process of a run may fill with micro-batches while the other slots of the device work too."""
        return self.memory_bytes / self.n_sharing

    @property
    def worker_name(self) -> str:
        """The device's name; of a GPU with several runs at once it says that its time and peak are shared."""
        return shared_name(self.name, self.n_packed)

    @property
    def device(self) -> Device:
        """Its device: the slots of one have the same."""
        return self.kind, self.visible_device


class Order(Enum):
    """What a worker can be told. Orders may be lost, and are never answered: what counts is how it ends."""

    CHECKPOINT = "checkpoint and end"
    DUMP = "write the stack of every thread into the log"
    KILL = "end now"


class Preload(Enum):
    """What a process that workers are forked from loads beforehand, so that none of them has to."""

    NOTHING = "nothing"
    TORCH = "torch"
    COMPILER = "torch and its compiler"


@dataclass(frozen=True)
class Launch:
    """A worker to be started.

    Attributes:
        slot: number of the slot, in the order of `Engine.slots`.
        preload: what the worker will need.
    """

    slot: int
    assignment: Assignment
    preload: Preload


@dataclass(frozen=True)
class Ended:
    """How a worker ended, as far as its engine knows.

    Attributes:
        exit_code: of its process (`ExitCode`), negative for a signal; None where nobody can tell.
        out_of_memory: whether the system, or the engine, ended it for want of memory.
        lost: where the code is None, what became of the worker: "ended with the process it was forked from".
        evicted: why it was stopped by others than the dispatcher, and no fault of its own: the time limit of its
            allocation; None where it was not.
        begun: False for a worker that was ordered and never started.
        with_its_place: whether the job or node that it ran in was lost, and it with that.
    """

    exit_code: int | None
    out_of_memory: bool = False
    lost: str = "was lost"
    evicted: str | None = None
    begun: bool = True
    with_its_place: bool = False

    @property
    def how(self) -> str:
        """What the worker did, for a sentence: "ended with exit code 1"."""
        if self.exit_code is None:
            return self.lost
        code = self.exit_code
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


@dataclass(frozen=True)
class Capacity:
    """Where workers may be started now.

    Attributes:
        usable: numbers of slots, those at work included.
        held: devices that other sweeps train on.
        said: what a person should know of the places where workers run.
        devices: of slots whose device may become another one, what it is now, by number.
    """

    usable: frozenset[int]
    held: tuple[DeviceHeld, ...] = ()
    said: tuple[EngineSaid, ...] = ()
    devices: Mapping[int, Device] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a worker runs.

    Attributes:
        host: the machine; "" where nobody knows yet.
        engine: as `--engine` has it.
        engine_job: the engine's own name for what the worker runs in; "" where it has none.
        device: what it computes on; None for its slot's.
        stands_still: whether nothing there can give a sign of life for now.
    """

    host: str
    engine: str = "local"
    engine_job: str = ""
    device: Device | None = None
    stands_still: bool = False


@dataclass(frozen=True)
class Found:
    """A worker of a coordinator that died, still at work."""

    worker: WorkerRef
    slot: int
    job_dir: Path
    attempt: int


class Engine(Protocol):
    """Where workers run."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Room for workers: at most one each, at any moment."""

    def capacity(self, waiting: int = 1, out: Set[Device] = frozenset()) -> Capacity:
        """Which slots may be used now, where so many jobs wait, and nothing is started on devices that are `out`.

        Asked before every start. Takes devices that have become free; asks for those that are missing where they must
        be asked for.
        """

    def find(self) -> Sequence[Found]:
        """The workers of an earlier coordinator that are still at work; asked once, before the first start."""

    def place_of(self, worker: WorkerRef) -> Place:
        """Where a worker runs that has not been told to have ended."""

    def start(self, launches: Sequence[Launch]) -> list[WorkerRef | None]:
        """The workers, in order; None for one that was not started and may be asked for again.

        Raises:
            IsoflopError: it will never start one.
        """

    def poll(self) -> Mapping[WorkerRef, Ended]:
        """The workers that have ended since this was asked last, in one look at all; never waits."""

    def wait(self, seconds: float) -> None:
        """Return when a worker may have ended, or after that time."""

    def tell(self, workers: Collection[WorkerRef], order: Order) -> None:
        """Pass an order on to those of the workers that still run. Returns at once."""

    def close(self, *, now: bool) -> None:
        """Start no more, those of a `start` in progress included; `now` gives up even the one that is being started.

        Safe in a signal handler.
        """
