"""CUDA's Multi-Process Service: whether its daemon runs, so that kernels of several processes run side by side.

A CUDA process finds the daemon by itself. It is never started here: it is a machine's, with one user at a time.
"""

import os
import stat
from pathlib import Path

# Where the daemon's pipes are, unless the variable says otherwise (NVIDIA, "Multi-Process Service", Environment).
DEFAULT_PIPES, VARIABLE = "/tmp/nvidia-mps", "CUDA_MPS_PIPE_DIRECTORY"  # noqa: S108


def mps_runs() -> bool:
    """Whether the daemon that processes of this one would use has its pipe, and somebody listens there."""
    control = Path(os.environ.get(VARIABLE) or DEFAULT_PIPES) / "control"
    try:
        if not stat.S_ISFIFO(control.stat().st_mode):
            return False
        os.close(os.open(control, os.O_WRONLY | os.O_NONBLOCK))  # fails where nobody has it open to read
    except OSError:
        return False
    return True
