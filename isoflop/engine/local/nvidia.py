"""NVIDIA GPUs and their MIG instances as nvidia-smi lists them, and which of them CUDA_VISIBLE_DEVICES leaves.

A GPU cut into instances (Multi-Instance GPU) is as many slots as it has instances: a process sees one of them.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from isoflop.engine.protocol import USABLE_MEMORY, Slot

# bfloat16 matrix products in hardware: NVIDIA compute capability 8.0 (Ampere).
BFLOAT16_CAPABILITY = 8.0
_FIELDS = ("index", "uuid", "name", "memory.total", "compute_cap", "mig.mode.current")
_NOT_KNOWN = "[N/A]"
# `nvidia-smi -L`: "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-...)", then its instances:
# "  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-...)".
_GPU_LINE = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
_INSTANCE_LINE = re.compile(r"\s*MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)")
# The last part of an instance's name is its memory: 1g.5gb, 1c.3g.20gb, 1g.10gb+me.
_INSTANCE_MEMORY = re.compile(r"(\d+)gb")


@dataclass(frozen=True)
class _Gpu:
    """One line of nvidia-smi.

    Attributes:
        memory_bytes: None where the GPU has no memory of its own, or that of a MIG parent may not be read.
    """

    index: str
    uuid: str
    name: str
    memory_bytes: float | None
    bfloat16: bool
    has_instances: bool


@dataclass(frozen=True)
class Gpus:
    """The GPUs of this machine, a slot each or one per MIG instance.

    Attributes:
        visible: those that CUDA_VISIBLE_DEVICES leaves, in its order.
        by_name: of every GPU, hidden ones too, by index and by UUID: its slots; of an instance by its own UUID.
    """

    visible: tuple[Slot, ...]
    by_name: Mapping[str, tuple[Slot, ...]]

    def called(self, name: str) -> tuple[Slot, ...]:
        """The slots of the GPU with this index, or with a UUID that begins so; none where not one alone does."""
        if name in self.by_name:
            return self.by_name[name]
        found = [slots for uuid, slots in self.by_name.items() if not uuid.isdigit() and uuid.startswith(name)]
        return found[0] if len(found) == 1 and not name.isdigit() else ()


def find_gpus(visible: str | None, *, host_memory: float) -> Gpus:
    """What nvidia-smi lists.

    Args:
        visible: what CUDA_VISIBLE_DEVICES says; None = not set, every device is visible.
        host_memory: bytes that a GPU without memory of its own shares with the processor.
    """
    gpus = [gpu for line in _query() if (gpu := _parse(line)) is not None]
    instances = list(_instances()) if any(gpu.has_instances for gpu in gpus) else []
    by_index: dict[str, Slot] = {}
    by_uuid: dict[str, Slot] = {}
    by_name: dict[str, tuple[Slot, ...]] = {}
    for gpu in gpus:
        slots = tuple(_instance_slots(gpu, instances)) if gpu.has_instances else (_slot(gpu, host_memory),)
        if not slots:
            continue  # cut into instances, and none has been made
        by_uuid |= {slot.visible_device: slot for slot in slots}
        by_name |= {slot.visible_device: (slot,) for slot in slots} | {gpu.index: slots, gpu.uuid: slots}
        # CUDA takes the name of a GPU with instances for its first instance.
        by_index[gpu.index] = by_uuid[gpu.uuid] = slots[0]
    seen = by_uuid.values() if visible is None else _visible(visible, by_index, by_uuid)
    return Gpus(tuple(dict.fromkeys(seen)), by_name)


def _visible(visible: str, by_index: dict[str, Slot], by_uuid: dict[str, Slot]) -> Iterator[Slot]:
    """What CUDA would see: devices by index or by enough of their UUID, up to the first that is none.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables".
    """
    for entry in (part.strip() for part in visible.split(",")):
        named = {by_index[entry]} if entry in by_index else set()
        if entry.startswith(("GPU-", "MIG-")):
            named = {by_uuid[entry]} if entry in by_uuid else {by_uuid[u] for u in by_uuid if u.startswith(entry)}
        if len(named) != 1:
            return
        yield named.pop()


def _parse(line: str) -> _Gpu | None:
    """The GPU of a line of the query; None where nvidia-smi could not read one."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != len(_FIELDS) or not fields[1].startswith("GPU-"):
        return None
    index, uuid, name, mebibytes, capability, mig = fields
    has_instances = mig == "Enabled"
    memory = _number(mebibytes)
    if memory is None and mebibytes != _NOT_KNOWN and not has_instances:
        return None  # lost, or not ours to ask
    return _Gpu(
        index,
        uuid,
        name,
        None if memory is None else memory * 2**20,
        bfloat16=(_number(capability) or 0.0) >= BFLOAT16_CAPABILITY,
        has_instances=has_instances,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _slot(gpu: _Gpu, host_memory: float) -> Slot:
    memory = host_memory if gpu.memory_bytes is None else gpu.memory_bytes
    return Slot("cuda", gpu.name, gpu.uuid, memory * USABLE_MEMORY, gpu.bfloat16)


def _instance_slots(gpu: _Gpu, instances: list[tuple[str, str, str]]) -> Iterator[Slot]:
    for parent, profile, uuid in instances:
        gigabytes = _INSTANCE_MEMORY.search(profile)
        if parent == gpu.uuid and gigabytes is not None:
            memory = float(gigabytes[1]) * 1e9 * USABLE_MEMORY
            yield Slot("cuda", f"{gpu.name} MIG {profile}", uuid, memory, gpu.bfloat16)


def _instances() -> Iterator[tuple[str, str, str]]:
    """UUID of the GPU, profile and UUID of every MIG instance."""
    parent = ""
    for line in nvidia_smi("-L"):
        if (gpu := _GPU_LINE.match(line)) is not None:
            parent = gpu[1]
        elif (instance := _INSTANCE_LINE.match(line)) is not None:
            yield parent, instance[1], instance[2]


def _query() -> list[str]:
    return nvidia_smi(f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")


def nvidia_smi(*arguments: str) -> list[str]:
    """The lines that nvidia-smi prints; none where it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()
