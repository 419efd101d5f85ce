"""What callers may give a fit: arrays of one length, and options in range."""

import numpy as np
from numpy.typing import ArrayLike

from isoflop.fit.estimators.estimates import RESIDUALS
from isoflop.fit.types import Array

# A standard error beyond this is none, and would not have a square.
_LARGEST_ERROR = 1e100


def check_choices(level: float, window: float | None, residuals: str, counts: tuple[int, ...] = (0,)) -> None:
    """Raises ValueError where an option is none that a fit can have."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, not between 0 and 1")
    if window is not None and not 0 < window < float("inf"):
        raise ValueError(f"window is {window} decades, not finite and positive")
    if min(counts) < 0:
        raise ValueError(f"counts of runs and of frontiers asked for are {counts}, of which one is negative")
    if residuals not in RESIDUALS:
        raise ValueError(f"residuals is {residuals!r}, not one of {', '.join(RESIDUALS)}")


def check_errors(loss_se: ArrayLike | None, n: int) -> Array | None:
    """The standard errors as a float array (n,); raises ValueError unless finite and not negative."""
    if loss_se is None:
        return None
    errors = np.asarray(loss_se, dtype=np.float64)
    if errors.shape != (n,) or not ((errors >= 0) & (errors <= _LARGEST_ERROR)).all():
        raise ValueError(f"loss_se must be (n,), not negative and at most {_LARGEST_ERROR:g}")
    return errors


def check_columns(**columns: ArrayLike) -> tuple[Array, ...]:
    """The columns as float arrays (n,) of equal length; all but `loss` positive.

    Raises:
        ValueError: see `fit_sweep`.
    """
    arrays = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    if any(array.ndim != 1 for array in arrays.values()) or len({array.size for array in arrays.values()}) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"columns must all be (n,) of one length, not {shapes}")
    for name, array in arrays.items():
        good = np.isfinite(array) & ((array > 0) | (name == "loss"))
        if not good.all():
            row = int(np.argmin(good))
            raise ValueError(
                f"{name}[{row}] is {array[row]}, not {'finite' if name == 'loss' else 'finite and positive'}"
            )
    return tuple(arrays.values())
