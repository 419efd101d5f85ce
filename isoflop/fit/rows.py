"""The completed runs of a sweep as sorted columns, with what else is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isoflop.fit.parabola import Array


@dataclass(frozen=True)
class Rows:
    """Columns (n,), sorted so that the order in which rows came changes no bit.

    Attributes:
        budget_flops, n_params, n_tokens, loss: as `fit_sweep` takes them.
        loss_se: standard error of each evaluation, nats; 0 where unknown.
        trunk: number of the shared trunk of each row; rows with a number of their own share nothing.
        index: where each row was in the caller's columns.
    """

    budget_flops: Array
    n_params: Array
    n_tokens: Array
    loss: Array
    loss_se: Array
    trunk: NDArray[np.intp]
    index: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.loss)

    @cached_property
    def budgets(self) -> Array:
        """(k,) distinct budgets, ascending."""
        return np.unique(self.budget_flops)

    @property
    def slices(self) -> list[slice]:
        """Where the rows of each budget are, cheapest first."""
        _, starts = np.unique(self.budget_flops, return_index=True)
        ends = [*starts[1:].tolist(), len(self)] if len(self) else []
        return [slice(start, end) for start, end in zip(starts.tolist(), ends, strict=True)]

    @cached_property
    def group(self) -> NDArray[np.intp]:
        """(n,) position of each row's budget in `budgets`."""
        return np.searchsorted(self.budgets, self.budget_flops)

    def take(self, keep: NDArray[np.bool_]) -> "Rows":
        """The rows where `keep` (n,) is true."""
        return Rows(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    def split(self) -> list["Rows"]:
        """The rows of each budget, cheapest first."""
        return [self._slice(part) for part in self.slices]

    def _slice(self, part: slice) -> "Rows":
        return Rows(*(getattr(self, name)[part] for name in self.__dataclass_fields__))


def sort_rows(
    budget_flops: Array,
    n_params: Array,
    n_tokens: Array,
    loss: Array,
    *,
    loss_se: Array | None = None,
    trunk: Sequence[str | None] | None = None,
) -> Rows:
    """The rows by budget, size, tokens and loss."""
    n = len(loss)
    errors = np.zeros(n) if loss_se is None else loss_se
    trunks = _numbered(trunk, n)
    order = np.lexsort((errors, loss, n_tokens, n_params, budget_flops))
    return Rows(budget_flops[order], n_params[order], n_tokens[order], loss[order], errors[order], trunks[order], order)


def _numbered(trunk: Sequence[str | None] | None, n: int) -> NDArray[np.intp]:
    """A number per trunk; rows without one get a number each."""
    numbers: dict[str, int] = {}
    names = [None] * n if trunk is None else trunk
    return np.array(
        [numbers.setdefault(name, n + len(numbers)) if name is not None else row for row, name in enumerate(names)],
        dtype=np.intp,
    )
