"""The order in which an epoch visits the windows of a corpus: a permutation computed, not stored."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# Four rounds of random functions already make a pseudo-random permutation (Luby & Rackoff 1988, SIAM J. Comput.
# 17(2)); tables of a small corpus are short, so two more.
_N_ROUNDS = 6


@dataclass(frozen=True)
class WindowOrder:
    """A pseudo-random permutation of 0 .. n_windows - 1, evaluated anywhere at the same cost.

    A window number is a place in a grid of n_rows x n_columns, both about sqrt(n_windows). Rounds shift the row
    by a random function of the column and the column by one of the row, in turn: each can be undone, so the
    whole is a bijection of the grid. A number that lands beyond n_windows goes round again until it is inside,
    which makes it a bijection of the windows (Black & Rogaway 2002, "Ciphers with arbitrary finite domains").

    Attributes:
        row_shifts: one table per two rounds, (n_columns,), values 0 .. n_rows - 1.
        column_shifts: one table per two rounds, (n_rows,), values 0 .. n_columns - 1.
    """

    n_windows: int
    n_rows: int
    n_columns: int
    row_shifts: tuple[Indices, ...]
    column_shifts: tuple[Indices, ...]

    def at(self, positions: Indices) -> Indices:
        """The windows that come at `positions` (0 .. n_windows - 1) of the epoch."""
        windows = self._shuffle(positions)
        while (outside := windows >= self.n_windows).any():
            windows[outside] = self._shuffle(windows[outside])
        return windows

    def _shuffle(self, places: Indices) -> Indices:
        rows, columns = np.divmod(places, self.n_columns)
        for row_shift, column_shift in zip(self.row_shifts, self.column_shifts, strict=True):
            rows = (rows + row_shift[columns]) % self.n_rows
            columns = (columns + column_shift[rows]) % self.n_columns
        shuffled: Indices = rows * self.n_columns + columns
        return shuffled


# Making the tables costs far more than a batch; a run needs one order, two where a batch straddles epochs.
@lru_cache(maxsize=4)
def window_order(n_windows: int, *, seed: int, epoch: int) -> WindowOrder:
    """The order of `n_windows` windows in that epoch of runs with that seed, the same on every machine."""
    n_rows = math.isqrt(n_windows - 1) + 1
    n_columns = -(-n_windows // n_rows)
    rounds = range(_N_ROUNDS // 2)
    return WindowOrder(
        n_windows,
        n_rows,
        n_columns,
        row_shifts=tuple(_shifts(f"{seed}:{epoch}:{i}:rows", size=n_columns, modulus=n_rows) for i in rounds),
        column_shifts=tuple(_shifts(f"{seed}:{epoch}:{i}:columns", size=n_rows, modulus=n_columns) for i in rounds),
    )


def _shifts(key: str, *, size: int, modulus: int) -> Indices:
    # A hash with output of any length, because NumPy does not promise its generators' streams across versions.
    random = np.frombuffer(hashlib.shake_128(key.encode()).digest(8 * size), "<u8")
    return (random % modulus).astype(np.int64)
