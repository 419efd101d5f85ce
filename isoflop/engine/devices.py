"""What this machine can train on: a slot per GPU, or per CPU core. No torch: asking must not start CUDA."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from isoflop.errors import IsoflopError
from isoflop.hardware import cpu_name
from isoflop.rundir import DeviceKind

DeviceChoice = Literal["auto", "cpu", "cuda"]

# Of a device's memory, the share a run may plan for; the rest is the context's and the allocator's.
USABLE_MEMORY = 0.8
# bfloat16 matrix products in hardware: NVIDIA compute capability 8.0 (Ampere).
BFLOAT16_CAPABILITY = 8.0
_SMI_FIELDS = "index,uuid,name,memory.total,compute_cap"


@dataclass(frozen=True)
class Slot:
    """Room for one worker.

    Attributes:
        kind: what a worker here computes on.
        name: for people.
        visible_device: value of CUDA_VISIBLE_DEVICES for the worker; "" hides every GPU.
        memory_bytes: what a run may use.
        bfloat16: whether matrix products run in bfloat16.
    """

    kind: DeviceKind
    name: str
    visible_device: str
    memory_bytes: float
    bfloat16: bool


def slot_options(device: DeviceChoice, workers: int | None) -> tuple[tuple[Slot, ...], ...]:
    """The sets of slots a sweep may choose between: its GPUs, where torch can use them, and its CPU cores.

    A set has at most `workers` slots, one per visible GPU or per core. `auto` gives both where there are both:
    for models of a few thousand parameters many cores may beat one GPU.

    Raises:
        IsoflopError: CUDA was asked for and there is none.
    """
    gpus = _gpus()[:workers] if device != "cpu" else ()
    if device == "cuda" and not gpus:
        raise IsoflopError(
            "No GPU that this torch can use was found.",
            hint="Check nvidia-smi, CUDA_VISIBLE_DEVICES and that torch is a CUDA build; or use --device cpu.",
        )
    if device == "cuda":
        return (gpus,)
    cores = _cores(workers or cpu_cores())
    return (gpus, cores) if gpus else (cores,)


def _cores(n_workers: int) -> tuple[Slot, ...]:
    memory = psutil.virtual_memory().total * USABLE_MEMORY / n_workers
    return tuple(Slot("cpu", cpu_name(), "", memory, bfloat16=False) for _ in range(n_workers))


def cpu_cores() -> int:
    """Cores this process may use: its affinity, and the control group's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no control group of version 2, or "max"
        return cores


def _gpus() -> tuple[Slot, ...]:
    listed = [slot for line in _nvidia_smi().splitlines() if (slot := _gpu_slot(line)) is not None]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        wanted = [entry.strip() for entry in visible.split(",") if entry.strip()]
        by_name = {name: slot for index, slot in listed for name in (index, slot.visible_device)}
        slots = tuple(by_name[entry] for entry in wanted if entry in by_name)
    else:
        slots = tuple(slot for _, slot in listed)
    return slots if slots and _torch_sees_cuda() else ()


def _gpu_slot(line: str) -> tuple[str, Slot] | None:
    """Index and slot of a line of nvidia-smi; None where it says `[N/A]`, as for a device without its own memory."""
    try:
        index, uuid, name, mebibytes, capability = (field.strip() for field in line.split(","))
        memory = float(mebibytes) * 2**20 * USABLE_MEMORY
        return index, Slot("cuda", name, uuid, memory, bfloat16=float(capability) >= BFLOAT16_CAPABILITY)
    except ValueError:
        return None


def _nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""


def _torch_sees_cuda() -> bool:
    """Asked in a process of its own, so that neither torch nor CUDA starts in this one."""
    code = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"
    try:
        return subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0  # noqa: S603
    except subprocess.SubprocessError:
        return False
