"""Types that every module of the fit shares."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

# From a budget, FLOPs, and N to the nearest size that can be trained there; None where none can.
Trainable = Callable[[float, float], float | None]
