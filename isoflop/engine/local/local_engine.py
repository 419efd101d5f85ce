"""The local engine: workers are processes of this machine, forked from one that has torch loaded."""

import signal
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from multiprocessing.connection import wait

from isoflop.engine.local.fork_server import ForkServer
from isoflop.engine.local.leases import DeviceLeases
from isoflop.engine.local.worker_process import WorkerProcess, kernel_kills
from isoflop.engine.protocol import PATIENCE_SECONDS, Capacity, Ended, Launch, Order, Slot, WorkerRef
from isoflop.errors import IsoflopError
from isoflop.train.worker import run_assignment

_SIGNALS = {Order.CHECKPOINT: signal.SIGTERM, Order.DUMP: signal.SIGUSR1, Order.KILL: signal.SIGKILL}


class LocalEngine:
    """Workers on the slots of this machine; without `leases` its devices are shared with whoever uses them too."""

    def __init__(self, slots: Sequence[Slot], leases: DeviceLeases | None = None) -> None:
        self.slots, self._leases = tuple(slots), leases
        self._server = ForkServer(run_assignment)
        self._workers: dict[WorkerRef, WorkerProcess] = {}
        self._numbers = count(1)
        self._kernel_kills = kernel_kills()
        self._closed = False

    def capacity(self) -> Capacity:
        """See `Engine`."""
        return self._leases.capacity() if self._leases else Capacity(frozenset(range(len(self.slots))))

    def start(self, launches: Sequence[Launch]) -> list[WorkerRef | None]:
        """See `Engine`; None also where the server that workers are forked from had died (another starts next time)."""
        try:
            return [self._start(launch) for launch in launches]
        except IsoflopError:
            self.tell(list(self._workers), Order.KILL)  # nobody was told of those just started
            raise

    def _start(self, launch: Launch) -> WorkerRef | None:
        if self._closed:
            return None
        preload = ["isoflop.train.worker", *(["isoflop.train.preload"] if launch.trains else [])]
        process = self._server.start(launch.assignment, preload=preload)
        if process is None:
            return None
        worker = WorkerRef(f"{next(self._numbers)}:{process.pid}")
        self._workers[worker] = process
        return worker

    def poll(self) -> Mapping[WorkerRef, Ended]:
        """See `Engine`. A worker that outlives its server and does not end by itself is killed."""
        for process in self._workers.values():
            if process.seconds_without_server > PATIENCE_SECONDS:
                process.send(signal.SIGKILL)
        ended = {worker: process for worker, process in self._workers.items() if not process.is_alive()}
        for worker in ended:
            del self._workers[worker]
        return {worker: self._how_it_ended(process.exit_code) for worker, process in ended.items()}

    def _how_it_ended(self, code: int | None) -> Ended:
        out_of_memory = code == -signal.SIGKILL and self._kernel_killed()
        return Ended(code, out_of_memory, lost="ended with the process it was forked from")

    def _kernel_killed(self) -> bool:
        """Whether the kernel has killed for want of memory since this was asked last."""
        before, self._kernel_kills = self._kernel_kills, kernel_kills()
        return self._kernel_kills > before

    def wait(self, seconds: float) -> None:
        """See `Engine`."""
        sentinels = [process.sentinel for process in self._workers.values()]
        wait([sentinel for sentinel in sentinels if sentinel is not None], timeout=seconds)

    def tell(self, workers: Collection[WorkerRef], order: Order) -> None:
        """See `Engine`: by signal."""
        for worker in workers:
            if worker in self._workers:
                self._workers[worker].send(_SIGNALS[order])

    def close(self, *, now: bool) -> None:
        """See `Engine`."""
        self._closed = True
        if now:
            self._server.abort()
