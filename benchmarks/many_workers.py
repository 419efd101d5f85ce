"""What a run costs the coordinator when a thousand workers report to it at once.

    python benchmarks/many_workers.py [WORKERS] [RUNS] [SECONDS]

The coordinator is the real one: Dispatcher, store, run directories, and the lines that `isoflop run` prints. The
workers are SIMULATED, and a thousand processes on a few cores are not what is measured: two processes hold them all.
Each worker is what one is to a coordinator: a directory that it locks and claims, a heartbeat and events every half
second, a result, an end. It trains nothing for SECONDS. TMPDIR says on which disk.
"""

import heapq
import io
import multiprocessing
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rich.console import Console

from isoflop.artifacts.weights import WeightKeeper
from isoflop.engine.dispatch import Dispatcher
from isoflop.engine.execution import GitState
from isoflop.engine.protocol import Capacity, Device, Ended, Found, Launch, Order, Place, Slot, WorkerRef
from isoflop.rundir import ExitCode, RunDir, own_claim
from isoflop.rundir.events import ProgressEvent, result_event, started_event
from isoflop.spec import load_spec
from isoflop.store import open_store
from isoflop.sweep.growth import Growth
from isoflop.sweep.planning import plan_sweep, sweep_corpus
from isoflop.sweep.session import Session
from isoflop.train.outcome import make_result
from isoflop.train.simulate import simulate
from isoflop.view.live import run_display

TARGET_SECONDS = 5e-3
N_PROCESSES = 2
# Between events of a worker (isoflop/train/reporter.py); its time to train is spread evenly from half to one and a half
# of what is asked for, so that workers end one by one.
EVENT_SECONDS, GOLDEN = 0.5, 0.6180339887
SWEEP = """
name = "scale"
budgets = [{budgets}]
trainer = "simulated"
[grid]
sizes = 100
half_width = 1.0
"""


@dataclass(order=True)
class _Worker:
    """One of the workers of a process: when it does something next, and when it ends."""

    due: float
    number: int
    ends: float = field(compare=False)
    launch: Launch = field(compare=False)
    held: ExitStack = field(compare=False)


def hold_workers(engine: Connection, seconds: float) -> None:
    """Be the workers whose launches come through `engine`, until it is closed; say which have ended."""
    at_work: list[_Worker] = []
    while True:
        pause = max(0.0, at_work[0].due - time.monotonic()) if at_work else None
        if wait([engine], pause):
            try:
                number, launch = engine.recv()
            except (EOFError, ConnectionError):
                return
            heapq.heappush(at_work, _begin(number, launch, seconds))
        while at_work and at_work[0].due <= time.monotonic():
            worker = heapq.heappop(at_work)
            if worker.due >= worker.ends:
                _end(worker)
                try:
                    engine.send(worker.number)
                except ConnectionError:
                    return  # as many runs as were asked for have ended
            else:
                _go_on(worker)
                heapq.heappush(at_work, worker)


def _begin(number: int, launch: Launch, seconds: float) -> _Worker:
    held, run_dir = ExitStack(), RunDir(launch.assignment.job_dir)
    assert held.enter_context(run_dir.lock())
    run_dir.write_claim(own_claim(launch.assignment.attempt))
    run_dir.append_event(started_event(launch.assignment.attempt))
    now = time.monotonic()
    ends = now + seconds * (0.5 + number * GOLDEN % 1.0)
    return _Worker(min(now + EVENT_SECONDS, ends), number, ends, launch, held)


def _go_on(worker: _Worker) -> None:
    run_dir = RunDir(worker.launch.assignment.job_dir)
    run_dir.beat(1)
    run_dir.append_event(ProgressEvent(0.0, run_dir.path.name, 1, 1, 3.0, 1e5))
    worker.due = min(worker.due + EVENT_SECONDS, worker.ends)


def _end(worker: _Worker) -> None:
    run_dir = RunDir(worker.launch.assignment.job_dir)
    job = run_dir.read_job()
    assert job is not None
    for run in job.runs:
        result = make_result(run, worker.launch.assignment, job.execution, simulate(run))
        run_dir.write_result(result)
        run_dir.append_event(result_event(run.run_id, result.status.value))
    worker.held.close()


class HeldWorkers:
    """An engine whose workers live in a few processes."""

    def __init__(self, n_workers: int, seconds: float) -> None:
        slot = Slot("cpu", "simulated", "", 1e15, bfloat16=False, n_sharing=n_workers)
        self.slots = (slot,) * n_workers
        self.most, self._n_started = 0, 0
        self._at_work: set[WorkerRef] = set()
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(N_PROCESSES)]
        self._pipes = [ours for ours, _ in pipes]
        for _, theirs in pipes:
            context.Process(target=hold_workers, args=(theirs, seconds), daemon=True).start()
            theirs.close()

    def capacity(self, waiting: int = 1, out: Set[Device] = frozenset()) -> Capacity:
        """See `Engine`."""
        return Capacity(frozenset(range(len(self.slots))))

    def find(self) -> Sequence[Found]:
        """See `Engine`; its workers end with this process."""
        return ()

    def place_of(self, worker: WorkerRef) -> Place:
        """See `Engine`."""
        return Place(socket.gethostname())

    def start(self, launches: Sequence[Launch]) -> list[WorkerRef | None]:
        """See `Engine`."""
        return [self._start(launch) for launch in launches]

    def _start(self, launch: Launch) -> WorkerRef:
        self._n_started += 1
        self._pipes[self._n_started % N_PROCESSES].send((self._n_started, launch))
        self._at_work.add(worker := WorkerRef(str(self._n_started)))
        self.most = max(self.most, len(self._at_work))
        return worker

    def poll(self) -> Mapping[WorkerRef, Ended]:
        """See `Engine`."""
        return {worker: Ended(ExitCode.DONE) for worker in self._ended()}

    def _ended(self) -> Iterator[WorkerRef]:
        for pipe in self._pipes:
            while pipe.poll():
                worker = WorkerRef(str(pipe.recv()))
                self._at_work.discard(worker)
                yield worker

    def wait(self, seconds: float) -> None:
        """See `Engine`."""
        wait(self._pipes, seconds)

    def tell(self, workers: Collection[WorkerRef], order: Order) -> None:
        """See `Engine`; nobody stops this one."""

    def close(self, *, now: bool) -> None:
        """See `Engine`."""
        if now:
            for pipe in self._pipes:
                pipe.close()


@dataclass(frozen=True)
class Cost:
    """What dispatching took.

    Attributes:
        n_runs: dispatched to their results.
        most: workers at once.
        wall, cpu: seconds, of the coordinator alone.
        memory_bytes: the most that the coordinator had.
    """

    n_runs: int
    most: int
    wall: float
    cpu: float
    memory_bytes: float

    @property
    def per_run(self) -> float:
        """Seconds of the coordinator's processor per run."""
        return self.cpu / self.n_runs

    def __str__(self) -> str:
        met = "met" if self.per_run <= TARGET_SECONDS else "missed"
        return (
            f"{self.n_runs} runs by {self.most} simulated workers at once: {self.wall:.1f} s; of the coordinator "
            f"{self.per_run * 1e3:.2f} ms a run (target {TARGET_SECONDS * 1e3:g} ms: {met}), "
            f"{self.memory_bytes / 1e9:.2f} GB"
        )


def dispatched(sweep: Path, db: Path, artifacts: Path, *, n_workers: int, n_runs: int, seconds: float) -> Cost:
    """The cost of the first `n_runs` pending runs of the sweep, which is planned here, as `isoflop run` trains them."""
    spec = load_spec(sweep)
    engine = HeldWorkers(n_workers, seconds)
    with open_store(db, write=True) as store:
        planned = plan_sweep(spec, sweep_corpus(spec, sweep, artifacts), device="cpu", workers=1)
        store.save_plan(spec, planned.plan)
        dispatcher = Dispatcher(engine, artifacts=artifacts, corpora=artifacts, git=GitState(None, None))
        weights = WeightKeeper(store, spec.name, spec.run.keep, artifacts)
        growth = Growth(spec, planned, lambda extra: planned, lambda: dispatcher)
        session = Session(growth, None, store, dispatcher, weights)
        finished, begun, used = 0, time.monotonic(), time.process_time()
        with run_display(session.outline, Console(file=io.StringIO())) as display:
            for notice in session.events():
                display.show(notice)
                finished += type(notice).__name__ == "RunFinished"
                if finished >= n_runs:
                    break
        cpu = time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return Cost(finished, engine.most, time.monotonic() - begun, cpu, memory)


def main() -> None:
    """Print what a run costs the coordinator."""
    given = [float(text) for text in sys.argv[1:]]
    n_workers, n_runs, seconds = (*given, *(1000, 5000, 5.0)[len(given) :])
    with tempfile.TemporaryDirectory() as name:
        folder, n_budgets = Path(name), max(1, -(-int(n_runs) // 100) + 10)
        budgets = ", ".join(f"{1e17 * 1000 ** (index / n_budgets):.6e}" for index in range(n_budgets))
        (folder / "scale.toml").write_text(SWEEP.format(budgets=budgets))
        sweep = folder / "scale.toml"
        cost = dispatched(sweep, folder / "s.db", folder, n_workers=int(n_workers), n_runs=int(n_runs), seconds=seconds)
    print(cost)


if __name__ == "__main__":
    main()
