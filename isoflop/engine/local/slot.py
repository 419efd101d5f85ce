"""Slot: room for one worker."""

from dataclasses import dataclass

from isoflop.rundir import DeviceKind

# Of a device's memory, the share a run may plan for; the rest is the context's and the allocator's.
USABLE_MEMORY = 0.8


@dataclass(frozen=True)
class Slot:
    """Room for one worker.

    Attributes:
        kind: what a worker here computes on.
        name: for people.
        visible_device: value of CUDA_VISIBLE_DEVICES for the worker; "" hides every GPU.
        memory_bytes: what the runs on its device may use together.
        n_sharing: slots of that device.
        bfloat16: whether matrix products run in bfloat16.
    """

    kind: DeviceKind
    name: str
    visible_device: str
    memory_bytes: float
    bfloat16: bool
    n_sharing: int = 1

    @property
    def share_bytes(self) -> float:
        """What a run may fill with micro-batches while the other slots of the device work too."""
        return self.memory_bytes / self.n_sharing
