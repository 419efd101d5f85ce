"""Numbers that people give."""

import math

from isoflop.errors import IsoflopError


def require_positive(value: float, what: str) -> float:
    """`value`, which is a finite positive number; `what` names it in the error.

    Raises:
        IsoflopError: zero, negative, infinite or not a number.
    """
    if not (math.isfinite(value) and value > 0):
        raise IsoflopError(f"{what} is {value:g}.", hint="Give a positive number such as 1e18, 3.5e20 or 2.5e9.")
    return value
