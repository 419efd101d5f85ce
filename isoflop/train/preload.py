"""What the process that workers are forked from loads, so that no worker has to.

Nothing here touches CUDA, nor loads torch's compiler, which is for steps that are not taken in C++ (`Preload`).
"""

import isoflop.train.loop
import isoflop.train.peak

__all__ = ["isoflop"]
