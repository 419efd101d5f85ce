"""What the control group (Linux, version 2) allows this process: container, batch job or service."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def memory_limit() -> float | None:
    """Bytes this process and its kin may use; None without a limit."""
    limits = [int(limit) for limit in _settings("memory.max") if limit.isdecimal()]
    return float(min(limits)) if limits else None


def cpu_limit() -> float | None:
    """Cores' worth of time they may use; None without a limit."""
    quotas = (setting.partition(" ") for setting in _settings("cpu.max"))
    limits = [int(quota) / int(period) for quota, _, period in quotas if quota.isdecimal() and period.isdecimal()]
    return min(limits) if limits else None


def _settings(name: str) -> Iterator[str]:
    """The setting in the process's group and in every group around it, each of which binds."""
    for folder in _groups():
        try:
            yield (folder / name).read_text(encoding="ascii").strip()
        except OSError:
            continue  # the root group has no limits, nor has a group whose controller is off


def _groups() -> Iterator[Path]:
    """Folders of the process's group and those around it. A container may show its own group as the root."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
    group = ROOT / path.lstrip("/")
    yield group
    while group != ROOT:
        group = group.parent
        yield group
