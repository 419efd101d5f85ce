"""The numbers of a fit in words, the same in every output of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from isoflop.counting import Convention
from isoflop.wording import ABSENT, count

if TYPE_CHECKING:  # reading a source needs words and no scipy
    from isoflop.fit.lines import Line

# Powers of ten that a float holds with room to spare.
_LARGEST_LOG = 300

PARAM_COUNT: dict[Convention, str] = {
    "total": "every parameter, embedding and head included",
    "non_embedding": "parameters without embedding and head",
    "matmul": "parameters of matrix products: head included, embedding not",
    "as_given": "parameters as the file gives them",
    "mixed": "parameters as each source counts them",
}


def exponent(value: float) -> str:
    """An exponent with three decimals."""
    return f"{value:.3f}"


def nats(value: float | None) -> str:
    """A loss with four decimals: `2.0134`."""
    return ABSENT if value is None else f"{value:.4f}"


def interval(bounds: tuple[float, float] | None, form: Callable[[float], str] = count) -> str:
    """`55.0B to 70.1B`."""
    return ABSENT if bounds is None else f"{form(bounds[0])} to {form(bounds[1])}"


def percent(level: float) -> str:
    """A coverage: `90 %`."""
    return f"{100 * level:g} %"


def power_law(coefficient: float, power: float) -> str:
    """`0.299 C^0.537`."""
    return f"{coefficient:.3g} C^{exponent(power)}"


def power_law_of(line: "Line") -> str:
    """The same of a law by its logarithm; a coefficient that a float cannot hold as a power of ten."""
    log_coefficient = line.at(0.0)[0]
    if abs(log_coefficient) < _LARGEST_LOG:
        return power_law(10**log_coefficient, line.slope)
    return f"10^{log_coefficient:.1f} C^{exponent(line.slope)}"


def same_law(line: "Line", other: "Line") -> bool:
    """Whether the two read alike."""
    return power_law_of(line) == power_law_of(other)


ESTIMATOR: dict[str, str] = {
    "joint": "joint valley",
    "parabola": "parabola",
    "surface": "surface",
    "none": ABSENT,
}
