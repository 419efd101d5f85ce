"""Which of a table's rows are fitted: runs that repeat their tokens and all but the best of a rate sweep are not."""

from dataclasses import dataclass

import numpy as np

from isoflop.fit.estimators.cells import BestOfCells, best_of_cells
from isoflop.fit.rows import Columns, Rows

# Up to here a token seen again is worth nearly a fresh one (Muennighoff et al. 2023, arXiv 2305.16264).
MOST_EPOCHS = 4.0
# Four epochs to the rounding of written counts.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Selected:
    """The rows that every estimator fits, and what was left out before.

    Attributes:
        rows: those fitted.
        repeating: those that read their tokens more than four times.
        best: what is left of a sweep of rates; None where runs of one size and token count all count.
    """

    rows: Rows
    repeating: Rows
    best: BestOfCells | None = None

    @property
    def n_runs(self) -> int:
        """Runs that the fitted rows stand for: those, and the ones that they were the best of."""
        return len(self.rows) + (len(self.best.set_aside) if self.best else 0)


def select(columns: Columns) -> Selected:
    """The rows of `columns` to fit.

    Raises:
        ValueError: see `Columns.rows`.
    """
    rows = columns.rows()
    fresh = rows.epochs <= MOST_EPOCHS * (1 + _ROUNDING)
    if not fresh.all():
        rows, repeating = rows.take(fresh), rows.take(~fresh)
    else:
        repeating = rows.take(np.zeros(len(rows), dtype=bool))
    best = best_of_cells(rows)
    return Selected(best.rows if best else rows, repeating, best)
