"""The engine of clusters: a slot is a lane of a pilot's, and a worker whatever its pilot was ordered to start.

What every cluster shares is here: orders and answers, workers that are lost with their pilot, results that shared
storage does not show yet, and workers of a coordinator that died.
"""

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from isoflop.engine.notices import EngineSaid
from isoflop.engine.pilots.fleet import Fleet, Vacancy
from isoflop.engine.pilots.mailbox import EndedAnswer, StartOrder, TellOrder
from isoflop.engine.pilots.pilot_job import PilotJob
from isoflop.engine.protocol import Capacity, Device, Ended, Found, Launch, Order, Place, Slot, WorkerRef
from isoflop.errors import IsoflopError
from isoflop.rundir import ExitCode, RunDir

# A worker that was told to end now, and has not, is lost after these seconds.
OBEY_SECONDS = 60.0
# NFS may keep the absence of a name for a minute (acdirmax): a result that was announced is waited for.
SHOWN_SECONDS = 75.0


@dataclass
class _Work:
    """A worker that has not ended."""

    pilot: PilotJob
    number: int
    order: StartOrder
    slot: int
    killed_at: float | None = None


@dataclass(frozen=True)
class _Unseen:
    """An end that is told once the results are seen which the worker has written."""

    work: _Work
    ended: Ended
    results: tuple[str, ...]
    since: float


class PilotEngine:
    """Workers on the pilots of a fleet. `slots`: of every place in it, its lanes."""

    def __init__(self, fleet: Fleet, slots: Sequence[Slot], n_lanes: int) -> None:
        self.slots, self._fleet, self._n_lanes = tuple(slots), fleet, n_lanes
        self._places: list[PilotJob | None] = [None] * (len(slots) // n_lanes)
        self._working: dict[WorkerRef, _Work] = {}
        self._unseen: dict[WorkerRef, _Unseen] = {}
        self._closed = False

    def capacity(self, waiting: int = 1, out: Set[Device] = frozenset()) -> Capacity:
        """See `Engine`; asks the cluster for the pilots that are missing for what waits."""
        self._seat()
        self._leave_out(out)
        devices = {slot: device for slot in range(len(self.slots)) if (device := self._device(slot)) is not None}
        lanes = frozenset(devices)
        busy = {work.slot for work in self._working.values()}
        coming = sum(pilot.here is None for pilot in self._fleet.pilots) * self._n_lanes
        missing = waiting - len(lanes - busy) - coming
        if missing > 0 and not self._closed:
            self._fleet.ask_for(-(-missing // self._n_lanes))
        return Capacity(lanes, said=tuple(map(EngineSaid, self._fleet.said)), devices=devices)

    def _leave_out(self, out: Set[Device]) -> None:
        """Let pilots go that have no device left to train on."""
        working = {id(work.pilot) for work in self._working.values()}
        for place, pilot in enumerate(self._places) if out else ():
            if pilot is None or pilot not in self._fleet.pilots or id(pilot) in working:
                continue
            devices = [self._device(place * self._n_lanes + lane) for lane in range(self._n_lanes)]
            if any(devices) and all(device is None or device in out for device in devices):
                problem = IsoflopError(
                    "different runs in a row crashed on its devices", hint="See the logs of the attempts."
                )
                self._vacate(self._fleet.leave_out(pilot, problem))

    def _seat(self) -> None:
        """Give the pilots that have come the places of those that have gone."""
        seated = [pilot for pilot in self._places if pilot is not None]
        for pilot in self._fleet.pilots:
            if pilot not in seated and pilot.takes_orders and None in self._places:
                self._places[self._places.index(None)] = pilot

    def _device(self, slot: int) -> Device | None:
        """What a worker on the slot would compute on now; None where none can be started."""
        pilot, lane = self._places[slot // self._n_lanes], slot % self._n_lanes
        if pilot is None or not pilot.takes_orders or not pilot.has_lane_like(lane, self.slots[slot]):
            return None
        return pilot.device(lane)

    def start(self, launches: Sequence[Launch]) -> list[WorkerRef | None]:
        """See `Engine`."""
        return [self._start(launch) for launch in launches]

    def _start(self, launch: Launch) -> WorkerRef | None:
        pilot = self._places[launch.slot // self._n_lanes]
        if self._closed or pilot is None or not pilot.takes_orders:
            return None
        assignment = replace(launch.assignment, engine=self._fleet.cluster.engine, engine_job=pilot.job)
        order = StartOrder(
            worker=pilot.next_number(),
            lane=launch.slot % self._n_lanes,
            preload=launch.preload,
            assignment=assignment,
        )
        try:
            pilot.mailbox.order(order)
        except OSError as error:
            self._fleet.say(
                f"Orders for {self._fleet.cluster.name} job {pilot.job} cannot be written: {error.strerror}."
            )
            return None
        pilot.working[order.worker] = order
        return self._note(_Work(pilot, order.worker, order, launch.slot))

    def _note(self, work: _Work) -> WorkerRef:
        worker = WorkerRef(f"{work.pilot.mailbox.path.parent.name}/{work.pilot.mailbox.path.name}:{work.number}")
        self._working[worker] = work
        return worker

    def poll(self) -> Mapping[WorkerRef, Ended]:
        """See `Engine`; one request to the cluster now and then, for all of its jobs."""
        refs = {(id(work.pilot), work.number): ref for ref, work in self._working.items()}
        ended: dict[WorkerRef, Ended] = {}
        for said in self._fleet.look():
            if isinstance(said, Vacancy):
                ended |= self._vacate(said)
                continue
            pilot, answer, _ = said
            worker = refs.get((id(pilot), answer.worker))
            if worker is not None:
                work = self._working.pop(worker)
                self._unseen[worker] = _Unseen(work, _ended(answer), answer.results, time.monotonic())
        for pilot in {id(work.pilot): work.pilot for work in self._working.values() if _disobeys(work)}.values():
            ended |= self._vacate(self._fleet.give_up(pilot, f"did not end a worker within {OBEY_SECONDS:.0f} s"))
        return ended | dict(self._seen())

    def _vacate(self, vacancy: Vacancy) -> dict[WorkerRef, Ended]:
        """What becomes of the workers of a pilot that is no more."""
        self._places = [None if pilot is vacancy.pilot else pilot for pilot in self._places]
        mine = {ref: work for ref, work in self._working.items() if work.pilot is vacancy.pilot}
        for ref in mine:
            del self._working[ref]
        return {ref: vacancy.ended[work.number] for ref, work in mine.items()}

    def _seen(self) -> Iterator[tuple[WorkerRef, Ended]]:
        """The ends whose results can be read by now."""
        for worker, unseen in list(self._unseen.items()):
            run_dir = RunDir(unseen.work.order.assignment.job_dir)
            shown = all(run_dir.result_path(run_id).exists() for run_id in unseen.results)
            if shown or time.monotonic() - unseen.since > SHOWN_SECONDS:
                del self._unseen[worker]
                yield worker, unseen.ended

    def wait(self, seconds: float) -> None:
        """See `Engine`."""
        time.sleep(seconds)

    def tell(self, workers: Collection[WorkerRef], order: Order) -> None:
        """See `Engine`."""
        for worker in workers:
            if (work := self._working.get(worker)) is not None:
                with contextlib.suppress(OSError):  # no room: then `_disobeys` sees to its job
                    work.pilot.mailbox.order(TellOrder(worker=work.number, what=order))
                if order is Order.KILL and work.killed_at is None:
                    work.killed_at = time.monotonic()

    def find(self) -> list[Found]:
        """See `Engine`: those whose pilot lives."""
        self._seat()
        found: list[Found] = []
        for place, pilot in enumerate(self._places):
            for number, order in (pilot.working if pilot is not None else {}).items():
                slot = place * self._n_lanes + order.lane
                if pilot is not None and slot < len(self.slots):
                    worker = self._note(_Work(pilot, number, order, slot))
                    found.append(Found(worker, slot, order.assignment.job_dir, order.assignment.attempt))
        return found

    def place_of(self, worker: WorkerRef) -> Place:
        """See `Engine`."""
        work = self._working.get(worker) or self._unseen[worker].work
        pilot, lane = work.pilot, work.slot % self._n_lanes
        return Place(pilot.node, self._fleet.cluster.engine, pilot.job, pilot.device(lane), pilot.stands_still)

    def close(self, *, now: bool) -> None:
        """See `Engine`. The pilots stay the fleet's."""
        self._closed = True


def _ended(answer: EndedAnswer) -> Ended:
    code = answer.exit_code if answer.begun else int(ExitCode.CHECKPOINTED)
    lost = answer.lost or "was lost"
    return Ended(code, answer.out_of_memory, lost=lost, evicted=answer.evicted, begun=answer.begun)


def _disobeys(work: _Work) -> bool:
    return work.killed_at is not None and time.monotonic() - work.killed_at > OBEY_SECONDS


def fleet_slots(lanes: Sequence[Slot], n_pilots: int) -> tuple[Slot, ...]:
    """The slots of so many pilots with these lanes each, pilot by pilot.

    Raises:
        IsoflopError: there is no lane.
    """
    if not lanes:
        raise IsoflopError(
            "A job has no room for a single worker.", hint="Ask for as many devices as one run takes (devices_per_run)."
        )
    return tuple(
        replace(lane, visible_device=f"{place}/{lane.visible_device}") for place in range(n_pilots) for lane in lanes
    )
