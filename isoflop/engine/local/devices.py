"""What this machine can train on: a slot per GPU, per CPU core, or per group of either.

No torch: asking must not start CUDA.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import psutil

from isoflop.engine.local.busy_gpus import BusyGpu, busy_gpus
from isoflop.engine.local.control_group import cpu_limit, memory_limit
from isoflop.engine.local.device_wish import ANY_DEVICE, DeviceWish, NamedDevices
from isoflop.engine.local.leases import is_leased
from isoflop.engine.local.nvidia import Gpus, find_gpus
from isoflop.engine.protocol import USABLE_MEMORY, Slot
from isoflop.errors import IsoflopError
from isoflop.hardware import cpu_name, devices_name
from isoflop.units import plural

__all__ = ["DeviceChoice", "FoundDevices", "Slot", "cpu_cores", "find_devices", "host_memory", "slot_options"]

DeviceChoice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class FoundDevices:
    """What a sweep may train on.

    Attributes:
        options: sets of slots to choose between, of one kind of device each.
        busy: GPUs that were left out because others compute on them.
    """

    options: tuple[tuple[Slot, ...], ...]
    busy: tuple[BusyGpu, ...] = ()


def slot_options(device: DeviceChoice, workers: int | None, devices_per_run: int = 1) -> tuple[tuple[Slot, ...], ...]:
    """The options of `find_devices` where nothing else is asked for."""
    return find_devices(device, workers, devices_per_run).options


def find_devices(
    device: DeviceChoice, workers: int | None, devices_per_run: int = 1, wish: DeviceWish = ANY_DEVICE
) -> FoundDevices:
    """The sets of slots a sweep may choose between: its GPUs, where torch can use them, and its CPU cores.

    A set has at most `workers` slots, one per visible GPU or per core, or per `devices_per_run` of them; on a GPU that
    is packed as many as run at once. `auto` gives both where there are both: for models of a few thousand parameters
    many cores may beat one GPU. GPUs that others compute on are left out unless the wish names or shares them.

    Raises:
        IsoflopError: CUDA was asked for and there is none, a run wants more devices than there are, or what is asked
            for is not here or contradicts itself.
    """
    refuse_contradictions(device, workers, wish)
    named, per_device = wish.named, wish.per_device or 1
    kind = named.kind if named else device
    gpus, busy = _gpu_slots(workers, devices_per_run, wish) if kind != "cpu" else ((), ())
    if (kind == "cuda" or per_device > 1) and not gpus:
        raise _no_gpu(busy, per_device)
    if kind == "cuda" or per_device > 1:
        return FoundDevices((gpus,), busy)
    cores = _core_slots(workers, devices_per_run, named.cores if named else None)
    if not cores and not gpus:
        raise _too_few(devices_per_run, cpu_cores(), "CPU core", "")
    return FoundDevices(tuple(filter(None, (gpus, cores))), busy)


def _gpu_slots(
    workers: int | None, devices_per_run: int, wish: DeviceWish
) -> tuple[tuple[Slot, ...], tuple[BusyGpu, ...]]:
    """A slot for each run at once on the GPUs, as far as workers go; and the GPUs that are busy."""
    found, busy = _gpus(wish)
    groups = tuple(_grouped(found, devices_per_run))
    if found and not groups:
        raise _too_few(devices_per_run, len(found), "GPU", "; --device cpu trains on cores")
    if devices_per_run > 1 and (wish.per_device or 1) > 1:
        raise IsoflopError(
            f"--per-device {wish.per_device} contradicts devices_per_run = {devices_per_run}.",
            hint="Leave out --per-device: GPUs that train one run together train no other.",
        )
    slots = packed(groups, wish.per_device or 1)
    if (wish.named or (wish.per_device or 1) > 1) and groups and workers not in (None, len(slots)):
        option = "--devices" if wish.named else f"--per-device {wish.per_device}"
        raise IsoflopError(
            f"{option} gives {plural(len(slots), 'worker')}, and --workers {workers} asks for another number.",
            hint="Leave out --workers; --per-device has several runs on each GPU.",
        )
    return slots[:workers], busy


def packed(slots: Sequence[Slot], number: int) -> tuple[Slot, ...]:
    """The slots so often as runs are at once on each device; the first runs go to different devices."""
    return tuple(replace(slot, n_packed=number) for slot in slots) * number if number > 1 else tuple(slots)


def _gpus(wish: DeviceWish) -> tuple[tuple[Slot, ...], tuple[BusyGpu, ...]]:
    """The GPUs to use, a slot each, and those left out as busy."""
    gpus = find_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), host_memory=host_memory())
    chosen = _named_slots(gpus, wish.named) if wish.named else gpus.visible
    if not chosen or not _torch_sees_cuda():
        return (), ()
    if wish.named or wish.share:
        return chosen, ()
    busy = {
        device: gpu
        for device, gpu in busy_gpus(chosen).items()
        if not any(is_leased(slot) for slot in chosen if slot.visible_device == device)
    }
    return tuple(slot for slot in chosen if slot.visible_device not in busy), tuple(busy.values())


def _named_slots(gpus: Gpus, named: NamedDevices) -> tuple[Slot, ...]:
    """The slots of the named GPUs, in their order.

    Raises:
        IsoflopError: there is no such GPU, or CUDA_VISIBLE_DEVICES hides it.
    """
    slots: list[Slot] = []
    for name in named.gpus:
        called = gpus.called(name)
        if not called:
            here = ", ".join(sorted(name for name in gpus.by_name if name.isdigit()))
            raise IsoflopError(
                f"--devices names GPU {name}, which this machine does not have.",
                hint=f"nvidia-smi lists {here}." if here else "nvidia-smi lists none; --devices cpu trains on cores.",
            )
        seen = [slot for slot in called if slot in gpus.visible]
        if not seen:
            raise IsoflopError(
                f"--devices names GPU {name}, which CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']} hides.",
                hint="Name GPUs that are left there, by their number in nvidia-smi or by UUID.",
            )
        slots += seen
    return tuple(dict.fromkeys(slots))


def refuse_contradictions(device: DeviceChoice, workers: int | None, wish: DeviceWish) -> None:
    """Nothing, where what is asked for can be had together.

    Raises:
        IsoflopError: it cannot.
    """
    named, per_device = wish.named, wish.per_device or 1
    if named and device not in ("auto", named.kind):
        raise IsoflopError(
            f"--device {device} contradicts --devices, which names {'GPUs' if named.gpus else 'cores'}.",
            hint="Leave out --device.",
        )
    if per_device > 1 and "cpu" in (device, named.kind if named else device):
        raise IsoflopError(
            f"--per-device {per_device} is for GPUs; a core trains one run at a time.",
            hint="Leave it out; --workers says how many runs train at once on the cores.",
        )
    if named and named.cores is not None and workers not in (None, named.cores):
        raise IsoflopError(f"--devices cpu:{named.cores} contradicts --workers {workers}.", hint="Give one of them.")
    if named and named.cores is not None and named.cores > cpu_cores():
        raise IsoflopError(
            f"--devices cpu:{named.cores}, but this process may use {plural(cpu_cores(), 'CPU core')}.",
            hint=f"Give at most cpu:{cpu_cores()}; `--device cpu --workers {named.cores}` has runs share cores.",
        )


def _no_gpu(busy: Sequence[BusyGpu], per_device: int) -> IsoflopError:
    if busy:
        return IsoflopError(
            f"Other programs compute on every GPU: {', '.join(f'{gpu.index} ({gpu.name})' for gpu in busy)}.",
            hint=f"Wait for them; or --devices {busy[0].index} or --share-devices trains there beside them.",
        )
    cores = "use --device cpu" + (" and leave out --per-device" if per_device > 1 else "")
    return IsoflopError(
        "No GPU that this torch can use was found.",
        hint=f"Check nvidia-smi, CUDA_VISIBLE_DEVICES and that torch is a CUDA build; or {cores}.",
    )


def _too_few(devices_per_run: int, number: int, device: str, otherwise: str) -> IsoflopError:
    return IsoflopError(
        f"devices_per_run = {devices_per_run}, but this machine has {plural(number, device)}.",
        hint=f"Set devices_per_run of [run], or of [command] for a program, to at most {number}{otherwise}.",
    )


def _grouped(gpus: Sequence[Slot], number: int) -> Iterator[Slot]:
    """A slot for each `number` GPUs in a row; what is left over stays idle."""
    for group in (gpus[first : first + number] for first in range(0, len(gpus) - number + 1, number)):
        yield Slot(
            "cuda",
            devices_name(group[0].name, number),
            ",".join(gpu.visible_device for gpu in group),
            min(gpu.memory_bytes for gpu in group),
            bfloat16=all(gpu.bfloat16 for gpu in group),
            n_devices=number,
        )


def _core_slots(workers: int | None, number: int, named: int | None) -> tuple[Slot, ...]:
    """A slot per worker, of `number` cores each; of the `named` cores, else of all."""
    if number == 1:
        return _cores(named or workers or cpu_cores())
    n_slots = min(workers or sys.maxsize, (named or cpu_cores()) // number)
    name, memory = devices_name(cpu_name(), number), host_memory() * USABLE_MEMORY
    return (Slot("cpu", name, "", memory, bfloat16=False, n_sharing=n_slots * number, n_devices=number),) * n_slots


def _cores(n_workers: int) -> tuple[Slot, ...]:
    memory = host_memory() * USABLE_MEMORY
    return (Slot("cpu", cpu_name(), "", memory, bfloat16=False, n_sharing=n_workers),) * n_workers


def host_memory() -> float:
    """Bytes of main memory this process may use: the machine's, or the control group's limit if that is less."""
    installed = float(psutil.virtual_memory().total)
    return min(installed, memory_limit() or installed)


def cpu_cores() -> int:
    """Cores this process may use: its affinity, and the control group's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, int(cpu_limit() or cores)))


def _torch_sees_cuda() -> bool:
    """Asked in a process of its own, so that neither torch nor CUDA starts in this one."""
    code = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"
    try:
        return subprocess.run([sys.executable, "-P", "-c", code], timeout=120, check=False).returncode == 0  # noqa: S603
    except subprocess.SubprocessError:
        return False
