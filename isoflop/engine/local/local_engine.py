"""The local engine: workers are processes of this machine, forked from one that has torch loaded.

On a GPU a process takes one job after the other: starting CUDA costs as long as a small model trains.
"""

import signal
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import count
from multiprocessing.connection import wait

from isoflop.engine.local.fork_server import ForkServer, modules_of
from isoflop.engine.local.leases import DeviceLeases
from isoflop.engine.local.server_start import work_on
from isoflop.engine.local.worker_process import WorkerProcess, kernel_kills
from isoflop.engine.protocol import (
    PATIENCE_SECONDS,
    Capacity,
    Device,
    Ended,
    Found,
    Launch,
    Order,
    Place,
    Slot,
    WorkerRef,
)
from isoflop.errors import IsoflopError
from isoflop.processes import kill_with_variable
from isoflop.rundir import Assignment, DeviceKind
from isoflop.rundir.layout import RUN_DIR_VARIABLE

_SIGNALS = {Order.CHECKPOINT: signal.SIGTERM, Order.DUMP: signal.SIGUSR1, Order.KILL: signal.SIGKILL}


class LocalEngine:
    """Workers on the slots of this machine; without `leases` its devices are shared with whoever uses them too.

    Args:
        staying: kinds of device on which a process that has done its job waits for the next.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        leases: DeviceLeases | None = None,
        *,
        staying: frozenset[DeviceKind] = frozenset({"cuda"}),
    ) -> None:
        self.slots, self._leases, self._staying = tuple(slots), leases, staying
        self._server = ForkServer(work_on)
        self._workers: dict[WorkerRef, WorkerProcess] = {}
        self._device_of: dict[WorkerRef, str] = {}
        self._program_dirs: dict[WorkerRef, str] = {}  # of those that have a program of the user's own train
        self._idle: dict[str, list[WorkerProcess]] = {}  # by visible device
        self._numbers = count(1)
        self._kernel_kills = kernel_kills()
        self._closed = False

    def capacity(self, waiting: int = 1, out: Set[Device] = frozenset()) -> Capacity:
        """See `Engine`."""
        return self._leases.capacity() if self._leases else Capacity(frozenset(range(len(self.slots))))

    def find(self) -> list[Found]:
        """None: workers end with the process that started them."""
        return []

    def place_of(self, worker: WorkerRef) -> Place:
        """See `Engine`."""
        return Place(socket.gethostname())

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
        process = self._idle_process(launch.assignment) or self._new_process(launch)
        if process is None:
            return None
        worker = WorkerRef(f"{next(self._numbers)}:{process.pid}")
        self._workers[worker] = process
        self._device_of[worker] = launch.assignment.visible_device
        if launch.assignment.program is not None:
            self._program_dirs[worker] = str(launch.assignment.job_dir)
        return worker

    def _idle_process(self, assignment: Assignment) -> WorkerProcess | None:
        """A process that has done its job, at work on this one; None where none waits."""
        waiting = self._idle.get(assignment.visible_device, [])
        while waiting:
            process = waiting.pop()
            if process.take_on(assignment):
                return process
        return None

    def _new_process(self, launch: Launch) -> WorkerProcess | None:
        stays = self.slots[launch.slot].kind in self._staying
        return self._server.start(launch.assignment, preload=modules_of(launch.preload), stays=stays)

    def poll(self) -> Mapping[WorkerRef, Ended]:
        """See `Engine`. A worker that outlives its server and does not end by itself is killed."""
        for process in self._workers.values():
            if process.seconds_without_server > PATIENCE_SECONDS:
                process.send(signal.SIGKILL)
        answered = dict(self._take_answers())
        ended = {worker: process for worker, process in self._workers.items() if not process.is_alive()}
        for worker in ended:
            del self._workers[worker], self._device_of[worker]
        self._end_programs(answered, ended)
        return answered | {worker: self._how_it_ended(process.exit_code) for worker, process in ended.items()}

    def _end_programs(self, answered: Iterable[WorkerRef], ended: Mapping[WorkerRef, WorkerProcess]) -> None:
        """End what the programs of workers that were killed have started: they could not do so themselves."""
        for worker in answered:
            self._program_dirs.pop(worker, None)
        dirs = {worker: self._program_dirs.pop(worker) for worker in ended if worker in self._program_dirs}
        left = {path for worker, path in dirs.items() if (code := ended[worker].exit_code) is None or code < 0}
        if left:
            kill_with_variable(RUN_DIR_VARIABLE, left)

    def _take_answers(self) -> Iterator[tuple[WorkerRef, Ended]]:
        """The workers whose process lives on; it waits for a job from now on, or ends where none will come."""
        for worker, process in list(self._workers.items()):
            if (code := process.take_answer()) is not None:
                del self._workers[worker]
                self._idle.setdefault(self._device_of.pop(worker), []).append(process)
                yield worker, Ended(code)
        if self._closed:
            self._dismiss()

    def _dismiss(self) -> None:
        for process in [process for waiting in self._idle.values() for process in waiting]:
            process.dismiss()

    def _how_it_ended(self, code: int | None) -> Ended:
        out_of_memory = code == -signal.SIGKILL and self._kernel_killed()
        return Ended(code, out_of_memory, lost="ended with the process it was forked from")

    def _kernel_killed(self) -> bool:
        """Whether the kernel has killed for want of memory since this was asked last."""
        before, self._kernel_kills = self._kernel_kills, kernel_kills()
        return self._kernel_kills > before

    def wait(self, seconds: float) -> None:
        """See `Engine`."""
        signs = [sign for process in self._workers.values() for sign in (process.sentinel, process.connection)]
        wait([sign for sign in signs if sign is not None], timeout=seconds)

    def tell(self, workers: Collection[WorkerRef], order: Order) -> None:
        """See `Engine`: by signal."""
        for worker in workers:
            if worker in self._workers:
                self._workers[worker].send(_SIGNALS[order])

    def close(self, *, now: bool) -> None:
        """See `Engine`."""
        self._closed = True
        self._dismiss()
        if now:
            self._server.abort()
