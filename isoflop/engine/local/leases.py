"""A GPU trains for one sweep at a time: a lock per device, in a folder that all processes of a user share.

Locks are flock(2): freed by the system when their holder dies, whatever is left of the files.
"""

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from isoflop.engine.notices import DeviceHeld
from isoflop.engine.protocol import Capacity, Slot

# The name of a lock for every core: cores are shared by whatever runs, so a second sweep is told and does not wait.
_CORES = "cpu"


class DeviceLeases:
    """The devices of some slots, each held by this process or by another."""

    def __init__(self, slots: Sequence[Slot], folder: Path) -> None:
        self._slots, self._folder = tuple(slots), folder
        self._held: dict[str, int | None] = {}

    def capacity(self) -> Capacity:
        """The slots whose devices are held by now; those that another process has are asked for again each time."""
        groups = {_lock_names(slot): slot for slot in self._slots}
        busy = {names: holder for names in groups if (holder := self._group_taken_by(names)) is not None}
        usable = frozenset(
            n for n, slot in enumerate(self._slots) if slot.kind == "cpu" or _lock_names(slot) not in busy
        )
        held = (DeviceHeld(groups[names].name, pid, waits=names != (_CORES,)) for names, pid in busy.items())
        return Capacity(usable, tuple(held))

    def _group_taken_by(self, names: Sequence[str]) -> int | None:
        """As `_taken_by`, of the first of them that another process has. All of a group are held, or none.

        Two processes with half a group each would wait for each other for ever.
        """
        for number, name in enumerate(names):
            if (holder := self._taken_by(name)) is not None:
                for taken in names[:number]:
                    self._let_go(taken)
                return holder
        return None

    def _let_go(self, name: str) -> None:
        descriptor = self._held.pop(name)
        if descriptor is not None:
            os.close(descriptor)

    def _taken_by(self, name: str) -> int | None:
        """The id of the process that has the device, 0 where it does not say; None where this one has it by now."""
        if name in self._held:
            return None
        path = self._folder / f"{name}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            self._held[name] = None  # where no lock can be made, nobody waits for one
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            said = os.pread(descriptor, 20, 0).strip()
            os.close(descriptor)
            return int(said) if said.isdigit() else 0
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # who holds it is a courtesy
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._held[name] = descriptor
        return None

    def release(self) -> None:
        """Let others have the devices."""
        for name in list(self._held):
            self._let_go(name)


@contextlib.contextmanager
def device_leases(slots: Sequence[Slot], *, share: bool) -> Iterator[DeviceLeases | None]:
    """Leases of the slots' devices for the time of the block; None where they are shared, or no lock can be made."""
    folder = None if share else _user_folder()
    if folder is None:
        yield None
        return
    leases = DeviceLeases(slots, folder)
    try:
        yield leases
    finally:
        leases.release()


def is_leased(slot: Slot) -> bool:
    """Whether another isoflop of this user trains on a device of the slot; takes nothing."""
    folder = _user_folder()
    if folder is None:
        return False
    leases = DeviceLeases([slot], folder)
    try:
        return bool(leases.capacity().held)
    finally:
        leases.release()


def _user_folder() -> Path | None:
    """A folder for this user's locks that no other user can have made; None where there is none."""
    folder = Path(tempfile.gettempdir()) / f"isoflop-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    return folder if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() else None


def _lock_names(slot: Slot) -> tuple[str, ...]:
    """A name for the lock of each of its devices."""
    if slot.kind == "cpu":
        return (_CORES,)
    return tuple(re.sub(r"[^\w.-]", "_", device) for device in slot.visible_device.split(","))
