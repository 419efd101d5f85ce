"""An engine without processes: every worker does what a script says, in this process and in no time."""

import signal
import socket
import threading
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field

from isoflop.engine.notices import DeviceHeld
from isoflop.engine.protocol import Capacity, Device, Ended, Found, Launch, Order, Place, Slot, WorkerRef
from isoflop.run_spec import RunSpec
from isoflop.rundir import ExitCode, RunDir
from isoflop.rundir.events import ObstacleEvent, ProgressEvent, result_event, started_event
from isoflop.train.outcome import make_result
from isoflop.train.simulate import simulate

# What a worker can do. Without a script it finishes; `work` and `hang` go on until an order ends them,
# `work` at the third look after it was asked to.
FINISH, DIE, CRASH, LOSE, BUSY, OBSTACLE, MEMORY, KERNEL, RECORD, WORK, HANG, REFUSE, UNTOLD, DEVICE, EVICT, STUCK = (
    "finish", "die", "crash", "lose", "busy", "obstacle", "memory", "kernel", "record", "work", "hang", "refuse",
    "untold", "device", "evict", "stuck",
)  # fmt: skip
GONE = "gone"
ENDS = {
    DIE: Ended(-signal.SIGKILL),
    CRASH: Ended(1),
    LOSE: Ended(None, lost="was lost with node n2"),
    BUSY: Ended(ExitCode.BUSY),
    EVICT: Ended(ExitCode.CHECKPOINTED, evicted="the time limit is near"),
    STUCK: Ended(ExitCode.CHECKPOINTED, evicted="the time limit is near"),
    GONE: Ended(None, lost="was lost with Slurm job 7 on n2", with_its_place=True),
    OBSTACLE: Ended(ExitCode.OBSTACLE),
    MEMORY: Ended(ExitCode.OUT_OF_MEMORY),
    DEVICE: Ended(ExitCode.DEVICE_FAILED),
    RECORD: Ended(ExitCode.STEP_UNAVAILABLE),
    KERNEL: Ended(-signal.SIGKILL, out_of_memory=True),
    FINISH: Ended(ExitCode.DONE),
    UNTOLD: Ended(-signal.SIGKILL),
}


@dataclass
class Clock:
    """Seconds that pass only while an engine waits."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Worker:
    """A worker that was started, and what it is doing."""

    launch: Launch
    act: str
    orders: list[Order] = field(default_factory=list)
    looks: int = 0

    @property
    def run_dir(self) -> RunDir:
        return RunDir(self.launch.assignment.job_dir)

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        job = self.run_dir.read_job()
        assert job is not None
        return job.runs


class ScriptedEngine:
    """Does with the attempts at a run, one after the other, what `script` says by run id; then finishes them.

    Attributes:
        started: every worker there was.
        most: workers at once.
        held_until: until when, by the clock, another sweep has the device of a slot.
        dying: numbers of slots on which every worker crashes.
        closings: how it was closed, each time.
        given_up: set once it was closed for all.
        n_polls: how often it was asked who has ended.
        nodes: of slots that are none of this machine's, the node by number; one whose device is out is exchanged.
        bad_nodes: nodes on which every worker crashes.
        still_until: until when, by the clock, all that it started stands still.
    """

    def __init__(self, slots: Sequence[Slot], script: Mapping[str, Sequence[str]], clock: Clock) -> None:
        self.slots, self.clock = tuple(slots), clock
        self._script = defaultdict(list, {run_id: list(acts) for run_id, acts in script.items()})
        self._working: dict[WorkerRef, Worker] = {}
        self.started: list[Worker] = []
        self.most = self.n_polls = 0
        self.held_until: dict[int, float] = {}
        self.dying: set[int] = set()
        self.closings: list[str] = []
        self.given_up = threading.Event()
        self.nodes: dict[int, str] = {}
        self.bad_nodes: set[str] = set()
        self.still_until = 0.0

    def capacity(self, waiting: int = 1, out: Set[Device] = frozenset()) -> Capacity:
        free = [number for number in range(len(self.slots)) if self.clock.now >= self.held_until.get(number, 0.0)]
        held = (DeviceHeld(f"device {number}", 77, waits=True) for number in self.held_until if number not in free)
        for number in list(self.nodes):
            if (node := self._node(number)) in out:
                self.nodes[number] = f"{node[1]}-exchanged" if node else ""
        return Capacity(frozenset(free), tuple(held), devices={number: self._node(number) for number in self.nodes})

    def _node(self, number: int) -> Device:
        return self.slots[number].kind, self.nodes[number]

    def find(self) -> list[Found]:
        return []

    def place_of(self, worker: WorkerRef) -> Place:
        slot = self._working[worker].launch.slot
        device = self._node(slot) if slot in self.nodes else None
        return Place(socket.gethostname(), device=device, stands_still=self.clock.now < self.still_until)

    def start(self, launches: Sequence[Launch]) -> list[WorkerRef | None]:
        return [None if self.closings else self._start(launch) for launch in launches]

    def _start(self, launch: Launch) -> WorkerRef | None:
        worker = Worker(launch, FINISH)
        dies = launch.slot in self.dying or self.nodes.get(launch.slot) in self.bad_nodes
        acts = [CRASH] if dies else self._script[worker.runs[0].run_id]
        worker.act = acts.pop(0) if acts else FINISH
        if worker.act == REFUSE:
            return None
        assert launch.slot not in {other.launch.slot for other in self._working.values()}
        ref = WorkerRef(f"w{len(self.started)}")
        self.started.append(worker)
        self._working[ref] = worker
        self.most = max(self.most, len(self._working))
        worker.run_dir.append_event(started_event(launch.assignment.attempt))
        return ref

    def poll(self) -> Mapping[WorkerRef, Ended]:
        self.n_polls += 1
        ended = {ref: end for ref, worker in self._working.items() if (end := self._advance(worker)) is not None}
        for ref in ended:
            del self._working[ref]
        return ended

    def _advance(self, worker: Worker) -> Ended | None:
        if Order.KILL in worker.orders:
            return Ended(-signal.SIGKILL)
        if worker.act == WORK:
            worker.run_dir.beat(int(self.clock.now * 1000))
        if worker.act in (WORK, HANG):
            worker.looks += Order.CHECKPOINT in worker.orders
            return Ended(ExitCode.CHECKPOINTED) if worker.act == WORK and worker.looks == 3 else None
        if worker.act in (FINISH, UNTOLD):
            self._finish(worker, told=worker.act == FINISH)
        elif worker.act == OBSTACLE:
            worker.run_dir.append_event(ObstacleEvent("No corpus.", "Get one."))
        elif worker.act in (DIE, CRASH, EVICT, STUCK, GONE):
            run, steps = worker.runs[0], {EVICT: len(self.started), GONE: min(8, len(self.started)), STUCK: 5}
            step = steps.get(worker.act, 7)
            worker.run_dir.append_event(ProgressEvent(0.0, run.run_id, step, step * run.batch_tokens, 3.0, 100.0))
        return ENDS[worker.act]

    def _finish(self, worker: Worker, *, told: bool) -> None:
        job = worker.run_dir.read_job()
        assert job is not None
        for run in job.runs:
            result = make_result(run, worker.launch.assignment, job.execution, simulate(run))
            worker.run_dir.write_result(result)
            if told:
                worker.run_dir.append_event(result_event(run.run_id, result.status.value))

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def tell(self, workers: Collection[WorkerRef], order: Order) -> None:
        for ref in workers:
            if ref in self._working:
                self._working[ref].orders.append(order)

    def close(self, *, now: bool) -> None:
        self.closings.append("for all" if now else "for new ones")
        if now:
            self.given_up.set()
