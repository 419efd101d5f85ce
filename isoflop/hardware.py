"""Names of this machine's parts."""

import platform
import re
from functools import cache
from pathlib import Path

_SHARED = re.compile(r", 1 of (\d+) runs at once$")


@cache
def cpu_name() -> str:
    """The processor's model name as the system gives it."""
    return _of_first_core("model name") or platform.processor() or platform.machine()


def devices_name(name: str, number: int) -> str:
    """The name of what one run trains on: `name`, or `name (2 together)` for several such devices or cores."""
    return name if number == 1 else f"{name} ({number} together)"


def shared_name(name: str, number: int) -> str:
    """The name of a device that trains `number` runs at once: time, and share of the peak, are of one of them."""
    return f"{name}, 1 of {number} runs at once" if number > 1 else name


def n_sharing(name: str) -> int:
    """Runs at once on a device that `shared_name` named."""
    found = _SHARED.search(name)
    return int(found[1]) if found else 1


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
