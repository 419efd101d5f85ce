"""What the process that workers are forked from loads, so that no worker has to.

torch imports its compiler (and with it sympy) at the first optimizer that is made, compiled or not: 1.3 s in every
worker (docs/benchmarks.md). Nothing here touches CUDA.
"""

import torch._dynamo

import isoflop.train.loop
import isoflop.train.peak

__all__ = ["isoflop", "torch"]
