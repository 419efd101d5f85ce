"""CUDA's Multi-Process Service: whether its daemon runs, so that kernels of several processes run side by side.

A CUDA process finds the daemon by itself. It is never started here: it is a machine's, with one user at a time.
"""

import os
import stat
from pathlib import Path

# Where the daemon's pipes are, unless the variable says otherwise (NVIDIA, "Multi-Process Service", Environment).
DEFAULT_PIPES, VARIABLE = "/tmp/nvidia-mps", "CUDA_MPS_PIPE_DIRECTORY"  # noqa: S108


def mps_runs() -> bool:
    """Whether somebody listens where processes of this one would look for the daemon: at a socket, once a pipe."""
    control = Path(os.environ.get(VARIABLE) or DEFAULT_PIPES) / "control"
    try:
        kind = control.stat().st_mode
        if stat.S_ISSOCK(kind):
            # A connection would show up in the daemon's log: ask the kernel who is bound there.
            bound = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines())
            return any(len(fields) == 8 and fields[7] == str(control) for fields in bound)
        if not stat.S_ISFIFO(kind):
            return False
        os.close(os.open(control, os.O_WRONLY | os.O_NONBLOCK))  # fails where nobody has it open to read
    except OSError:
        return False
    return True
