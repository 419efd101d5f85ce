"""What --column may name beside a column: a number, a product of numbers and columns, or C = 6 N D solved for one."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from isoflop.sources.columns.cell_numbers import Numbers

# A column (n,), or one number of it.
_Some = TypeVar("_Some", Numbers, float)

_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE | re.ASCII)


class Formula(Enum):
    """C = 6 N D, solved for the column that is not in the table."""

    BUDGET = "6ND"
    TOKENS = "C/6N"
    PARAMS = "C/6D"

    def __str__(self) -> str:
        return self.value

    @property
    def words(self) -> str:
        """`C / (6 N)`."""
        return {Formula.BUDGET: "6 N D", Formula.TOKENS: "C / (6 N)", Formula.PARAMS: "C / (6 D)"}[self]

    def of(self, numbers: Mapping[str, _Some]) -> _Some:
        """The column, from the other two."""
        if self is Formula.BUDGET:
            return 6 * numbers["n_params"] * numbers["n_tokens"]
        return numbers["budget_flops"] / (6 * numbers["n_params" if self is Formula.TOKENS else "n_tokens"])


FORMULAS = {"budget_flops": Formula.BUDGET, "n_tokens": Formula.TOKENS, "n_params": Formula.PARAMS}


def formula_of(ours: str, text: str) -> Formula | None:
    """The formula that `text` writes for the column: `6ND`, `6*N*D`, `C/6N`, `C/(6*D)`, with blanks or without."""
    formula = FORMULAS.get(ours)
    plain = re.sub(r"[\s*()]", "", text).upper()
    return formula if formula is not None and plain in (formula.value, Formula.BUDGET.value) else None


@dataclass(frozen=True)
class Product:
    """A product of columns of the table and a number.

    Attributes:
        columns: the table's names of its factors; none for a number alone.
        factor: the number.
    """

    columns: tuple[str, ...]
    factor: float = 1.0

    @property
    def is_a_column(self) -> bool:
        """Whether it is one column as it stands."""
        return len(self.columns) == 1 and self.factor == 1


# Where a column of ours comes from.
Term = Product | Formula


def read_product(text: str, header: Collection[str]) -> Product | str:
    """The product that `text` writes, or the first piece of it that is neither a number nor a column.

    A column of that very name wins over a product of others.
    """
    if text in header:
        return Product((text,))
    columns: list[str] = []
    factor = 1.0
    for piece in map(str.strip, text.split("*")):
        read = _piece(piece, header)
        if read is None:
            return piece
        column, number = read
        columns += column
        factor *= number
    return Product(tuple(columns), factor)


def _piece(piece: str, header: Collection[str]) -> tuple[list[str], float] | None:
    """A column or a number, and what it is multiplied by: `eval/loss` may be a column, `loss/2` a quotient."""
    divisor = 1.0
    while piece not in header:
        if _NUMBER.fullmatch(piece):
            return [], float(piece) / divisor
        left, sign, right = (part.strip() for part in piece.rpartition("/"))
        if not (sign and _NUMBER.fullmatch(right) and float(right)):
            return None
        piece, divisor = left, divisor * float(right)
    return [piece], 1.0 / divisor
