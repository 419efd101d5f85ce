"""Telling that memory ran out from every other mistake."""

import sys

# What torch's CPU allocator says, in a plain RuntimeError.
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device, or this machine, has no more memory to give."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # without torch, nothing of torch was raised
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error)
