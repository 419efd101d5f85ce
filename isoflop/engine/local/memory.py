"""What the kernel says about memory that ran out."""

from pathlib import Path


def kernel_kills() -> int:
    """Processes the kernel has killed for want of memory since boot, in any control group; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError):
        return 0
