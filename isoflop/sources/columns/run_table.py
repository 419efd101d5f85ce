"""The columns of a table by our names."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.sources.columns.cell_numbers import counts_of
from isoflop.sources.columns.expression import Formula, Product
from isoflop.sources.columns.header import TableColumns
from isoflop.sources.raw_table import RawTable

# Decimals of a product beyond these are the rounding of its factors: 0.956 x 1e18 is 9.56e17.
_DIGITS = 15


@dataclass(frozen=True)
class RunTable:
    """The columns of a table that are read, one value per row.

    Attributes:
        raw: the table.
        columns: which of its columns are read.
        values: those columns by our names, but for those that a formula gives.
    """

    raw: RawTable
    columns: TableColumns
    values: Mapping[str, Sequence[object]]

    def __len__(self) -> int:
        return len(self.raw.places)

    def place(self, index: int) -> str:
        """Where the row is: `'runs.csv', line 4`."""
        return self.raw.place(index)

    def take(self, rows: Sequence[int]) -> "RunTable":
        """The table with these of its rows alone."""
        values = {ours: [column[row] for row in rows] for ours, column in self.values.items()}
        return RunTable(self.raw.take(rows), self.columns, values)


def choose(raw: RawTable, columns: TableColumns) -> RunTable:
    """The chosen `columns` of a table."""
    meant = {ours: term for ours, term in columns.terms.items() if not isinstance(term, Formula)}
    return RunTable(raw, columns, {ours: _values(raw, ours, term) for ours, term in meant.items()})


def _values(raw: RawTable, ours: str, product: Product) -> Sequence[object]:
    """The product in every row; where a factor is no number, that factor as the table has it."""
    if product.is_a_column:
        return raw.column(product.columns[0])
    columns = [raw.column(name) for name in product.columns]
    numbers = [counts_of(column, ours) for column in columns]
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.prod([np.full(len(raw.places), product.factor), *numbers], axis=0)
    values: list[object] = [float(f"{value:.{_DIGITS}g}") for value in found.tolist()]
    for row in np.flatnonzero(np.isnan(found)).tolist():
        odd = (column[row] for column, read in zip(columns, numbers, strict=True) if not math.isfinite(read[row]))
        values[row] = next(odd, math.nan)
    return values
