"""Names of this machine's parts."""

import platform
from functools import cache
from pathlib import Path


@cache
def cpu_name() -> str:
    """The processor's model name as the system gives it."""
    return _of_first_core("model name") or platform.processor() or platform.machine()


def devices_name(name: str, number: int) -> str:
    """The name of what one run trains on: `name`, or `name (2 together)` for several such devices or cores."""
    return name if number == 1 else f"{name} ({number} together)"


@cache
def cpu_flags() -> frozenset[str]:
    """What the processor can do, in Linux's names; empty where the system does not say."""
    return frozenset(_of_first_core("flags").split())


def _of_first_core(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(values, "")
