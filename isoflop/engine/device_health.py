"""Which devices have failed: where different runs in a row crashed, so that it is not the runs."""

import signal
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isoflop.engine.attempt import Attempt
from isoflop.engine.protocol import Device, Ended, Slot
from isoflop.run_spec import CommandRun
from isoflop.rundir import ExitCode

# So many crashes in a row, each of another run, take a device out.
MOST_CRASHES = 2
# Ends that other causes have: what is missing on the machine, what was asked for, and who sends such signals.
_NO_CRASH = {
    *(code for code in ExitCode if code is not ExitCode.DEVICE_FAILED),
    *(-number for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)),
}


@dataclass(frozen=True)
class _Crash:
    """A crash on a device: of which job, and when (monotonic)."""

    job_id: str
    at: float


class DeviceHealth:
    """Remembers the crashes on each GPU since a run last ended well there.

    Cores are one device, the machine itself, and never taken out: who kills processes there kills them anywhere.

    Attributes:
        out: devices on which nothing is started any more.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self._devices: Mapping[int, Device] = {}  # of slots whose device changes
        self._crashes: dict[Device, list[_Crash]] = defaultdict(list)
        self.out: set[Device] = set()

    def learn(self, devices: Mapping[int, Device]) -> None:
        """Take in which devices slots have now, by number, where that changes."""
        self._devices = devices

    @property
    def has_others(self) -> bool:
        """Whether other devices may come in the place of those that are out."""
        return bool(self._devices)

    def is_out(self, slot: int) -> bool:
        """Whether nothing is started on the slot of this number any more, or for now."""
        return self._devices.get(slot, self._slots[slot].device) in self.out

    def _device_of(self, attempt: Attempt) -> Device:
        return attempt.place.device or self._slots[attempt.slot].device

    def without_those_out(self, slots: frozenset[int]) -> frozenset[int]:
        """The slots, by number, of devices that are not out."""
        return frozenset(slot for slot in slots if not self.is_out(slot)) if self.out else slots

    def crashed(self, attempt: Attempt, ended: Ended) -> bool:
        """Whether a worker that left no result may have crashed by fault of its GPU: by an error, or as hung."""
        if self._slots[attempt.slot].kind == "cpu" or not attempt.missing:
            return False
        if any(isinstance(run, CommandRun) for run in attempt.missing):
            return False  # its own errors look alike, and happen in every run
        by_itself = ended.exit_code is not None and ended.exit_code not in _NO_CRASH and not ended.out_of_memory
        return attempt.hung is not None or by_itself

    def note_crash(self, attempt: Attempt) -> bool:
        """Whether the device is out with this crash.

        Runs that share a device may go down together, and one run may crash anywhere: only the first of those counts.
        """
        device = self._device_of(attempt)
        crashes = self._crashes[device]
        if crashes and (attempt.begun < crashes[-1].at or any(c.job_id == attempt.job.job_id for c in crashes)):
            return False
        crashes.append(_Crash(attempt.job.job_id, time.monotonic()))
        if len(crashes) < MOST_CRASHES or device in self.out:
            return False
        self.out.add(device)
        return True

    def crashed_jobs(self, attempt: Attempt) -> tuple[str, ...]:
        """The jobs that have crashed on the attempt's device since a run last ended well there, by id."""
        return tuple(crash.job_id for crash in self._crashes[self._device_of(attempt)])

    def note_success(self, attempt: Attempt) -> None:
        """A run has come to its end there."""
        self._crashes.pop(self._device_of(attempt), None)
