"""What this machine can train on: a slot per GPU, per CPU core, or per group of either.

No torch: asking must not start CUDA.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Literal

import psutil

from isoflop.engine.local.control_group import cpu_limit, memory_limit
from isoflop.engine.local.nvidia import find_gpus
from isoflop.engine.protocol import USABLE_MEMORY, Slot
from isoflop.errors import IsoflopError
from isoflop.hardware import cpu_name, devices_name
from isoflop.units import plural

__all__ = ["DeviceChoice", "Slot", "cpu_cores", "host_memory", "slot_options"]

DeviceChoice = Literal["auto", "cpu", "cuda"]


def slot_options(device: DeviceChoice, workers: int | None, devices_per_run: int = 1) -> tuple[tuple[Slot, ...], ...]:
    """The sets of slots a sweep may choose between: its GPUs, where torch can use them, and its CPU cores.

    A set has at most `workers` slots, one per visible GPU or per core, or per `devices_per_run` of them. `auto` gives
    both where there are both: for models of a few thousand parameters many cores may beat one GPU.

    Raises:
        IsoflopError: CUDA was asked for and there is none, or a run wants more devices than there are.
    """
    found = _gpus() if device != "cpu" else ()
    gpus = tuple(_grouped(found, devices_per_run))[:workers]
    if found and not gpus:
        raise _too_few(devices_per_run, len(found), "GPU", "; --device cpu trains on cores")
    if device == "cuda" and not gpus:
        raise IsoflopError(
            "No GPU that this torch can use was found.",
            hint="Check nvidia-smi, CUDA_VISIBLE_DEVICES and that torch is a CUDA build; or use --device cpu.",
        )
    if device == "cuda":
        return (gpus,)
    cores = _cores(workers or cpu_cores()) if devices_per_run == 1 else _groups_of_cores(workers, devices_per_run)
    if not cores and not gpus:
        raise _too_few(devices_per_run, cpu_cores(), "CPU core", "")
    return tuple(filter(None, (gpus, cores)))


def _too_few(devices_per_run: int, number: int, device: str, otherwise: str) -> IsoflopError:
    return IsoflopError(
        f"run.devices_per_run = {devices_per_run}, but this machine has {plural(number, device)}.",
        hint=f"Set run.devices_per_run to at most {number}{otherwise}.",
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


def _groups_of_cores(workers: int | None, number: int) -> tuple[Slot, ...]:
    n_slots = min(workers or sys.maxsize, cpu_cores() // number)
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


def _gpus() -> tuple[Slot, ...]:
    slots = find_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), host_memory=host_memory())
    return slots if slots and _torch_sees_cuda() else ()


def _torch_sees_cuda() -> bool:
    """Asked in a process of its own, so that neither torch nor CUDA starts in this one."""
    code = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"
    try:
        return subprocess.run([sys.executable, "-P", "-c", code], timeout=120, check=False).returncode == 0  # noqa: S603
    except subprocess.SubprocessError:
        return False
