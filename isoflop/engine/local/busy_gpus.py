"""GPUs whose memory other programs have taken, as nvidia-smi tells."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import psutil

from isoflop.engine.local.nvidia import nvidia_smi
from isoflop.engine.local.server_start import PARENT
from isoflop.engine.protocol import USABLE_MEMORY, Slot
from isoflop.rundir.layout import RUN_DIR_VARIABLE

# Of a GPU's memory. A context without data takes up to 0.5 GB, which is 5 % of a small card.
BUSY_SHARE = 0.05
# Where no process is listed, as in a container: windows of a desktop stay below, and so much is never planned for.
BUSY_SHARE_UNLISTED = 1.0 - USABLE_MEMORY


@dataclass(frozen=True)
class BusyGpu:
    """A GPU that others compute on.

    Attributes:
        index: as nvidia-smi counts.
        name: for people.
        taken_bytes, memory_bytes: what the others have of its memory, and all of it.
        pids: their processes, as far as they are listed.
    """

    index: str
    name: str
    taken_bytes: float
    memory_bytes: float
    pids: tuple[int, ...]


def busy_gpus(slots: Iterable[Slot]) -> dict[str, BusyGpu]:
    """Those of the `slots`, by visible device, whose GPU has programs that no isoflop of this user has started.

    Whether another sweep trains there is for leases to say. Of GPUs that are cut into instances nothing is said.
    """
    listed: dict[str, list[tuple[int, float | None]]] = defaultdict(list)
    for uuid, pid, taken in _processes():
        listed[uuid].append((pid, taken))
    names = {slot.visible_device: slot.name for slot in slots}
    return {
        uuid: BusyGpu(index, names[uuid], taken, total, pids)
        for index, uuid, used, total in _memory()
        if uuid in names
        for taken, least, pids in [_taken(listed[uuid], used)]
        if taken > least * total
    }


def _taken(processes: Sequence[tuple[int, float | None]], used: float) -> tuple[float, float, tuple[int, ...]]:
    """Bytes that others have of a GPU, the share of it from which that counts, and their processes."""
    if not processes:
        return used, BUSY_SHARE_UNLISTED, ()
    foreign = [(pid, taken) for pid, taken in processes if not _is_ours(pid)]
    known = [taken for _, taken in foreign if taken is not None]
    return (sum(known) if len(known) == len(foreign) else used), BUSY_SHARE, tuple(pid for pid, _ in foreign)


def _is_ours(pid: int) -> bool:
    """Whether an isoflop of this user has started the process: another sweep's worker, or one about to end."""
    try:
        return not {PARENT, RUN_DIR_VARIABLE}.isdisjoint(psutil.Process(pid).environ())
    except psutil.NoSuchProcess:
        return True  # it has ended meanwhile
    except (psutil.Error, OSError):
        return False


def _memory() -> Iterator[tuple[str, str, float, float]]:
    """Index, UUID, bytes in use and all bytes of every GPU that says so."""
    for line in nvidia_smi("--query-gpu=index,uuid,memory.used,memory.total", "--format=csv,noheader,nounits"):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 4 and all(field.isdigit() for field in fields[2:]):
            yield fields[0], fields[1], int(fields[2]) * 2.0**20, int(fields[3]) * 2.0**20


def _processes() -> Iterator[tuple[str, int, float | None]]:
    """UUID of the GPU, id and bytes of every process that computes on one; None for bytes that are not told."""
    for line in nvidia_smi("--query-compute-apps=gpu_uuid,pid,used_memory", "--format=csv,noheader,nounits"):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3 and fields[1].isdigit():
            yield fields[0], int(fields[1]), int(fields[2]) * 2.0**20 if fields[2].isdigit() else None
