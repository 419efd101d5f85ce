"""Numbers and outcomes in the words of a report, the same in every output."""

from collections.abc import Callable
from typing import Literal

from isoflop.shape import ParamCount
from isoflop.units import format_count, plural

SIMULATED = "SIMULATED"
SIMULATED_SENTENCE = f"{SIMULATED}: no model was trained; the losses are drawn from a known surface."

# N in a table from elsewhere follows a convention that only its author knows.
Convention = ParamCount | Literal["as_given"]

ABSENT = "-"

PARAM_COUNT: dict[Convention, str] = {
    "total": "every parameter, embedding and head included",
    "non_embedding": "parameters without embedding and head",
    "matmul": "parameters of matrix products: head included, embedding not",
    "as_given": "parameters as the file gives them",
}


def one_line(text: str) -> str:
    """`text` on one line, control characters replaced by blanks: names and reasons come from strangers."""
    return "".join(character if character.isprintable() else " " for character in text)


def count(value: float | None) -> str:
    """Parameters or tokens: `124M`; in scientific notation where no suffix reads well."""
    if value is None:
        return ABSENT
    return format_count(value) if 0.01 <= value < 1e15 else f"{value:.2e}"


def exponent(value: float) -> str:
    """An exponent with three decimals."""
    return f"{value:.3f}"


def nats(value: float | None) -> str:
    """A loss with four decimals: `2.0134`."""
    return ABSENT if value is None else f"{value:.4f}"


def spread(value: float | None) -> str:
    """An error of a loss with two digits: `0.0026`."""
    return ABSENT if value is None else f"{value:.2g}"


def ratio(value: float | None) -> str:
    """Tokens per parameter with three digits: `22.3`."""
    return count(value)


def rate(value: float | None) -> str:
    """A learning rate with two digits: `0.0074`."""
    return ABSENT if value is None else f"{value:.2g}"


def interval(bounds: tuple[float, float] | None, form: Callable[[float], str] = count) -> str:
    """`55.0B to 70.1B`."""
    return ABSENT if bounds is None else f"{form(bounds[0])} to {form(bounds[1])}"


def percent(level: float) -> str:
    """A coverage: `90 %`."""
    return f"{100 * level:g} %"


def power_law(coefficient: float, power: float) -> str:
    """`0.299 C^0.537`."""
    return f"{coefficient:.3g} C^{exponent(power)}"


def runs(number: int) -> str:
    """`1 run`, `3 runs`."""
    return plural(number, "run")
