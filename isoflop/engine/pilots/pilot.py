"""The pilot: a process in an allocation that starts workers as its mailbox says, through the local engine.

    python -m isoflop.engine.pilots.pilot_start FOLDER NUMBER

It decides nothing of what is trained, and tries nothing again. Its workers die with it.
"""

import contextlib
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import FrameType

from isoflop import __version__
from isoflop.engine.local.control_group import memory_limit
from isoflop.engine.local.device_wish import DeviceWish
from isoflop.engine.local.devices import cpu_cores, find_devices
from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.pilots.mailbox import (
    AnyAnswer,
    AnyOrder,
    EndedAnswer,
    EndOrder,
    HereAnswer,
    LeavingAnswer,
    Mailbox,
    ObstacleAnswer,
    PilotFile,
    StartOrder,
    TellOrder,
)
from isoflop.engine.protocol import USABLE_MEMORY, Ended, Launch, Order, Slot, WorkerRef
from isoflop.errors import IsoflopError
from isoflop.processes import process_start
from isoflop.rundir import RunDir
from isoflop.step_library import usable_instructions

LOOK_SECONDS, BEAT_SECONDS = 0.25, 2.0
# Cores and memory of an allocation where no control group bounds them (Slurm, sbatch(1), output environment).
_CORES, _MEGABYTES = "SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_NODE"
# What ends an allocation: Slurm before its time limit as it was asked to, at scancel, when another job needs the node.
_EVICTIONS = {
    signal.SIGUSR2: "the time limit of its allocation is near",
    signal.SIGTERM: "its allocation was taken away",
    signal.SIGINT: "its allocation was taken away",
}
NO_FOLDER, STARTED_BEFORE = 91, 92


class Pilot:
    """Takes orders until it is told to end, evicted, or has had no work for long."""

    def __init__(
        self,
        mailbox: Mailbox,
        content: PilotFile,
        engine: LocalEngine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mailbox, self._content, self._engine, self._clock = mailbox, content, engine, clock
        self._offset = 0
        self._next_beat = 0.0
        self._unsaid: list[AnyAnswer] = []
        self._waiting: list[StartOrder] = []
        self._working: dict[WorkerRef, StartOrder] = {}
        self._idle_since = clock()
        self._coming: tuple[int, int] | None = None
        self._why: str | None = None  # it ends
        self._evicted: str | None = None
        self._told_at: float | None = None
        self._killed = False

    def evict(self, why: str) -> None:
        """Have every worker checkpoint, and end. Safe in a signal handler."""
        self._evicted = self._evicted or why
        self._why = self._why or why

    def run(self) -> None:
        """Obey, until it is over; the last answer says why."""
        while self._why is None or self._working:
            self._beat()
            self._obey()
            self._begin()
            self._leave()
            self._engine.wait(LOOK_SECONDS)
            for worker, ended in self._engine.poll().items():
                self._answer(self._working.pop(worker), ended)
        self._engine.close(now=True)
        self._obey()
        self._begin()  # refuses
        self._say(LeavingAnswer(why=self._why))

    def _beat(self) -> None:
        """Say that it lives; see whether what it does still counts."""
        now = self._clock()
        if now < self._next_beat:
            return
        self._next_beat = now + BEAT_SECONDS
        self._say()
        with contextlib.suppress(OSError):
            self._mailbox.heartbeat_path.touch()
        if self._mailbox.is_closed:
            self.evict("its coordinator has given it up")
        fenced = [worker for worker, order in self._working.items() if _is_fenced(order)]
        self._engine.tell(fenced, Order.KILL)

    def _is_coming(self) -> bool:
        """Whether files of a run have been on their way here, or from here, since this was asked last."""
        before, self._coming = self._coming, _changed_at(self._mailbox.coming_path)
        return self._coming is not None and self._coming != before

    def _say(self, *answers: AnyAnswer) -> None:
        """Answer; what finds no room on the disk waits for the next look."""
        self._unsaid += answers
        with contextlib.suppress(OSError):
            while self._unsaid:
                self._mailbox.answer(self._unsaid[0])
                self._unsaid.pop(0)

    def _obey(self) -> None:
        orders: list[AnyOrder] = []
        with contextlib.suppress(OSError):  # storage that is away for a moment: the next look has them
            orders, self._offset = self._mailbox.orders(self._offset)
        for order in orders:
            self._take(order)

    def _take(self, order: AnyOrder) -> None:
        match order:
            case StartOrder():
                self._waiting.append(order)
            case TellOrder():
                self._engine.tell([ref for ref, one in self._working.items() if one.worker == order.worker], order.what)
                if order.what is not Order.DUMP:
                    self._refuse([one for one in self._waiting if one.worker == order.worker], None)
            case EndOrder():
                self._why = self._why or order.why

    def _begin(self) -> None:
        """Start what was ordered; what cannot be started now waits for the next look."""
        if self._why is not None:
            self._refuse(self._waiting, self._why)
        for order in list(self._waiting):
            assignment = replace(
                order.assignment,
                coordinator_pid=os.getpid(),
                visible_device=self._engine.slots[order.lane].visible_device,
                device_name=self._engine.slots[order.lane].name,
            )
            try:
                [worker] = self._engine.start([Launch(order.lane, assignment, order.preload)])
            except IsoflopError as error:  # no worker can be started here, whatever it is to train
                self._say(ObstacleAnswer(message=error.message, hint=error.hint))
                self.evict(error.message)
                return
            if worker is not None:
                self._waiting.remove(order)
                self._working[worker] = order
        if self._working or self._waiting or self._is_coming():
            self._idle_since = self._clock()
        elif self._clock() - self._idle_since > self._content.idle_seconds:
            self._why = self._why or f"it had no work for {self._content.idle_seconds:.0f} s"

    def _refuse(self, orders: list[StartOrder], why: str | None) -> None:
        """Answer that these were not begun; why, where that is the pilot's doing."""
        for order in list(orders):
            self._waiting.remove(order)
            self._say(EndedAnswer(worker=order.worker, evicted=why, begun=False))

    def _leave(self) -> None:
        """Have workers checkpoint, and kill those that take too long."""
        if self._why is None:
            return
        if self._told_at is None:
            self._told_at = self._clock()
            self._engine.tell(list(self._working), Order.CHECKPOINT)
        elif not self._killed and self._clock() - self._told_at > self._content.grace_seconds:
            self._killed = True
            self._engine.tell(list(self._working), Order.KILL)

    def _answer(self, order: StartOrder, ended: Ended) -> None:
        results: list[str] = []
        with contextlib.suppress(OSError):
            results = _results_of(RunDir(order.assignment.job_dir))
        self._idle_since = self._clock()
        self._say(
            EndedAnswer(
                worker=order.worker,
                exit_code=ended.exit_code,
                out_of_memory=ended.out_of_memory,
                lost=ended.lost,
                results=tuple(results),
                evicted=self._evicted,
            )
        )


def _changed_at(path: Path) -> tuple[int, int] | None:
    """Tells the versions of a file apart; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _is_fenced(order: StartOrder) -> bool:
    try:
        return RunDir(order.assignment.job_dir).is_fenced(order.assignment.attempt)
    except OSError:  # nobody can tell now
        return False


def _results_of(run_dir: RunDir) -> list[str]:
    """The runs that have a result, by id."""
    job = run_dir.read_job()
    return [run.run_id for run in job.runs if run_dir.result_path(run.run_id).exists()] if job else []


def lanes_here(content: PilotFile) -> tuple[Slot, ...]:
    """Room for workers in this allocation.

    Raises:
        IsoflopError: the device that was asked for is not here.
    """
    has_gpus = bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
    device = content.device if content.device != "auto" else "cuda" if has_gpus else "cpu"
    if device == "cuda":
        wish = DeviceWish(per_device=content.lanes_per_device, share=True)  # the cluster has shared it out
        lanes = find_devices("cuda", None, content.devices_per_run, wish).options[0]
    else:
        cores = min(cpu_cores(), content.cores or _number_of(_CORES) or sys.maxsize)
        workers = max(1, cores // content.devices_per_run)
        lanes = find_devices("cpu", workers, content.devices_per_run).options[0]
    lanes = lanes[: content.most_lanes]
    if device == "cuda":
        lanes = tuple(replace(lane, memory_bytes=lane.memory_bytes * content.device_share) for lane in lanes)
    bounded = content.memory_bytes or (_number_of(_MEGABYTES) or 0) * 2.0**20
    if device == "cpu" and bounded and memory_limit() is None:
        lanes = tuple(replace(lane, memory_bytes=min(lane.memory_bytes, bounded * USABLE_MEMORY)) for lane in lanes)
    return tuple(replace(lane, n_sharing=min(lane.n_sharing, len(lanes))) for lane in lanes)


def _number_of(variable: str) -> int | None:
    said = os.environ.get(variable, "")
    return int(said) if said.isdecimal() and int(said) else None


def _here(lanes: tuple[Slot, ...]) -> HereAnswer:
    return HereAnswer(
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        seconds=time.time(),
        isoflop_version=__version__,
        python_version=platform.python_version(),
        torch_version=metadata.version("torch"),
        lanes=lanes,
    )


def main(folder: str, number: str) -> int:
    """Entry point of the process."""
    mailbox = Mailbox(Path(folder) / number)
    content = mailbox.read()
    if content is None:
        print(f"No pilot.json in {str(mailbox.path)!r} on {socket.gethostname()}.", file=sys.stderr)
        return NO_FOLDER
    if mailbox.answers(0)[0]:  # its orders were for the other, whose workers may live
        print(f"The job of {str(mailbox.path)!r} was started a second time.", file=sys.stderr)
        return STARTED_BEFORE
    try:
        lanes = lanes_here(content)
        lanes = tuple(replace(lane, instructions=usable_instructions()) for lane in lanes)
    except IsoflopError as error:
        mailbox.answer(ObstacleAnswer(message=error.message, hint=error.hint))
        return 1
    pilot = Pilot(mailbox, content, LocalEngine(lanes))

    def evict(received: int, frame: FrameType | None) -> None:
        pilot.evict(_EVICTIONS[signal.Signals(received)])

    for eviction in _EVICTIONS:
        signal.signal(eviction, evict)
    mailbox.answer(_here(lanes))
    pilot.run()
    return 0
