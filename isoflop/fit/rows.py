"""The completed runs of a sweep as columns, which of them lie near their budget's best, and what a token costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from isoflop.fit.arrays import Array, Indices, Mask

# Beyond these, squares and reciprocals of losses would leave the range of a float; nats per token never come near.
SMALLEST_LOSS, LARGEST_LOSS = 1e-100, 1e100
# A standard error or a count beyond this is none, and would not have a square.
_LARGEST_KNOWN = 1e100
# A grid that reaches farther than this from a budget's best run, decades, holds sizes that bias every estimator:
# on published sweeps a window of 0.6 decades lowered the errors of extrapolations by 19 to 31 % (docs/fitting.md).
WIDE_REACH = 0.9
# As many rows as a parabola with two degrees of freedom; a narrower window takes the nearest.
FEWEST_IN_WINDOW = 5
# Below this spread of ln N the rows say nothing about how cost depends on size.
_FEWEST_LOGS = 1e-9
# C = 6 N D to this, relative, is exactly that: the rest is rounding of written numbers.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Columns:
    """The completed runs of a sweep as a caller has them, one entry each, in any order.

    Attributes:
        budget_flops: (n,) planned training FLOPs; runs with exactly equal values make a profile.
        n_params: (n,) parameters, under whichever convention the caller chose.
        n_tokens: (n,) training tokens; independent data, FLOPs being only about 6 N D.
        loss: (n,) held-out loss, nats per token; may be zero or negative, which leaves out what needs its logarithm.
        loss_se: (n,) standard error of each evaluation, nats, 0 where unknown: runs known worse weigh less.
        trunk: (n,) name of the trunk that a run was branched off, None for a run of its own.
        unique_tokens: (n,) distinct tokens that each run read, 0 where unknown: runs that repeat theirs more than four
            times leave the fit.
    """

    budget_flops: ArrayLike
    n_params: ArrayLike
    n_tokens: ArrayLike
    loss: ArrayLike
    loss_se: ArrayLike | None = field(default=None, kw_only=True)
    trunk: Sequence[str | None] | None = field(default=None, kw_only=True)
    unique_tokens: ArrayLike | None = field(default=None, kw_only=True)

    def rows(self) -> "Rows":
        """The runs sorted.

        Raises:
            ValueError: lengths differ; a loss is not finite; a standard error or a number of unique tokens is negative
                or beyond 1e100; another number is not finite and positive.
        """
        columns = check_columns(
            budget_flops=self.budget_flops, n_params=self.n_params, n_tokens=self.n_tokens, loss=self.loss
        )
        n = len(columns[3])
        if self.trunk is not None and len(self.trunk) != n:
            raise ValueError(f"trunk has {len(self.trunk)} names for {n} rows")
        unique = _check_known("unique_tokens", self.unique_tokens, n)
        epochs = None if unique is None else np.divide(columns[2], unique, out=np.zeros(n), where=unique > 0)
        return sort_rows(*columns, loss_se=_check_known("loss_se", self.loss_se, n), trunk=self.trunk, epochs=epochs)


@dataclass(frozen=True)
class Curves:
    """Points along training curves, (n,) each: FLOPs so far, size of the run, tokens so far, loss there (nats)."""

    flops: Array
    n_params: Array
    n_tokens: Array
    loss: Array


@dataclass(frozen=True)
class Rows:
    """Columns (n,), sorted so that the order in which rows came changes no bit.

    Attributes:
        budget_flops, n_params, n_tokens, loss: see `Columns`.
        loss_se: standard error of each evaluation, nats; 0 where unknown.
        trunk: number of the shared trunk of each row; rows with a number of their own share nothing.
        index: where each row was in the caller's columns.
        epochs: how many times each run read its tokens; 0 where unknown.
    """

    budget_flops: Array
    n_params: Array
    n_tokens: Array
    loss: Array
    loss_se: Array
    trunk: Indices
    index: Indices
    epochs: Array

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
    def group(self) -> Indices:
        """(n,) position of each row's budget in `budgets`."""
        return np.searchsorted(self.budgets, self.budget_flops)

    def take(self, keep: Mask | Indices) -> "Rows":
        """The rows where `keep` (n,) is true, or those of its numbers in their order."""
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
    epochs: Array | None = None,
) -> Rows:
    """The rows by budget, size, tokens and loss."""
    n = len(loss)
    errors = np.zeros(n) if loss_se is None else loss_se
    trunks = _numbered(trunk, n)
    order = np.lexsort((errors, loss, n_tokens, n_params, budget_flops))
    repeats = np.zeros(n) if epochs is None else epochs
    given = Rows(budget_flops, n_params, n_tokens, loss, errors, trunks, np.arange(n), repeats)
    return given.take(order)


def _numbered(trunk: Sequence[str | None] | None, n: int) -> Indices:
    """A number per trunk; rows without one get a number each."""
    numbers: dict[str, int] = {}
    names = [None] * n if trunk is None else trunk
    return np.array(
        [numbers.setdefault(name, n + len(numbers)) if name is not None else row for row, name in enumerate(names)],
        dtype=np.intp,
    )


def reach(rows: Rows) -> list[float]:
    """How far the sizes of each budget reach from that of its best run, decades."""
    return [float(_from_best(budget).max()) for budget in rows.split()]


def in_window(rows: Rows, decades: float, *, wide: float = WIDE_REACH) -> Mask:
    """(n,): rows within `decades` of the size of their budget's best run, or the 5 nearest to it if these are more.

    Budgets whose sizes reach no farther than `wide` decades from it keep all rows.
    """
    keep = np.ones(len(rows), dtype=bool)
    for part, budget in zip(rows.slices, rows.split(), strict=True):
        distance = _from_best(budget)
        if distance.max() <= wide:
            continue
        near = distance <= decades
        if near.sum() < FEWEST_IN_WINDOW:
            near = np.isin(np.arange(len(budget)), np.argsort(distance, kind="stable")[:FEWEST_IN_WINDOW])
        keep[part] = near
    return keep


def _from_best(budget: Rows) -> Array:
    """Distance (n,) of each row of one budget from the size with the lowest loss, decades."""
    log_n = np.log10(budget.n_params)
    distance: Array = np.abs(log_n - log_n[np.argmin(budget.loss)])
    return distance


@dataclass(frozen=True)
class TokenCost:
    """ln (FLOPs per token) = offset + slope ln N. For C = 6 N D: offset ln 6, slope 1.

    Counting attention, embedding or head otherwise than 6 N does makes the slope differ from 1; then a + b does too.
    """

    offset: float
    slope: float

    def per_token(self, n_params: float) -> float:
        """Training FLOPs of a token at this size."""
        return 6 * n_params if self == SIX else math.exp(self.offset + self.slope * math.log(n_params))

    def through(self, budget_flops: float, n_params: float, n_tokens: float) -> "TokenCost":
        """The cost with this slope by which `n_params` on `n_tokens` spend the budget; 6 N D stays what it is."""
        if self == SIX:
            return self
        offset = math.log(budget_flops) - math.log(n_tokens) - self.slope * math.log(n_params)
        return TokenCost(offset, self.slope)


SIX = TokenCost(float(np.log(6)), 1.0)


def read_cost(rows: Rows, weights: Array | None = None) -> TokenCost:
    """The least-squares cost of a token over the rows; 6 N where they agree with it or have one size only."""
    w = np.ones(len(rows)) if weights is None else weights
    log_n = np.log(rows.n_params)
    per_token = np.log(rows.budget_flops) - np.log(rows.n_tokens)
    if np.abs(per_token - log_n - SIX.offset).max() <= _ROUNDING:
        return SIX
    middle = float(np.average(log_n, weights=w))
    lever = w * (log_n - middle)
    spread = float(lever @ (log_n - middle))
    if spread <= float(w.sum()) * _FEWEST_LOGS**2:
        return SIX
    slope = float(lever @ per_token) / spread
    return TokenCost(float(np.average(per_token, weights=w)) - slope * middle, slope)


def cost_scatter(rows: Rows, cost: TokenCost, weights: Array | None = None) -> float:
    """Standard deviation of ln (FLOPs per token) about the cost."""
    per_token = np.log(rows.budget_flops) - np.log(rows.n_tokens)
    off = per_token - cost.offset - cost.slope * np.log(rows.n_params)
    return math.sqrt(float(np.average((off - np.average(off, weights=weights)) ** 2, weights=weights)))


def check_columns(**columns: ArrayLike) -> tuple[Array, ...]:
    """The columns as float arrays (n,) of equal length; all but `loss` positive.

    Raises:
        ValueError: see `Columns.rows`; `loss` alone may be zero or negative.
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


def _check_known(name: str, column: ArrayLike | None, n: int) -> Array | None:
    """A column that is 0 where unknown as a float array (n,); raises ValueError unless finite and not negative."""
    if column is None:
        return None
    known = np.asarray(column, dtype=np.float64)
    if known.shape != (n,) or not ((known >= 0) & (known <= _LARGEST_KNOWN)).all():
        raise ValueError(f"{name} must be (n,), not negative and at most {_LARGEST_KNOWN:g}")
    return known
