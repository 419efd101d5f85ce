"""Budgets of runs whose FLOPs were measured: which runs share one, and what their losses would be exactly there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoflop.fit.arrays import Array, Indices, Mask
from isoflop.fit.estimators.parabola import MIN_POINTS
from isoflop.fit.estimators.surface import has_logarithms, solve_surface
from isoflop.fit.rows import Rows, check_columns, sort_rows

# Runs of one budget lie within a tenth of its middle: so much the code of a published sweep allows, whose runs lie up
# to 6 % off (Beck et al. 2025, arXiv 2510.02228). In natural logarithms, from the least to the most FLOPs.
WIDEST = 2 * math.log1p(0.10)
# Budgets nearer to each other than this were never planned apart: isoflop's own runs are held to as much of theirs.
SAME = 0.005
# Groups are clearly apart where the gaps between them are this much wider than the widest of them.
CLEARLY_APART = 1.5
# A run this far from every budget that was named belongs to none of them.
FARTHEST_NAMED = 0.25
# Thresholds that are looked at: between gaps of FLOPs, the widest steps from one gap to the next.
_MOST_THRESHOLDS = 64
# Logarithms of FLOPs are no nearer than this: values that differ in their last digit.
_ROUNDING = 1e-14
# Of more runs evenly spaced ones have the same slope.
_ROWS_FOR_SLOPE = 2000


@dataclass(frozen=True)
class BudgetGroups:
    """Runs at the budgets that they are taken to share; rows in the caller's order.

    Attributes:
        budget_flops: (n,) the budget of each run, FLOPs; its own where it shares none.
        n_tokens: (n,) tokens that the budget buys at the run's size, at its own FLOPs per token.
        loss: (n,) what the run's loss would be there, along the slope of the surface through all runs.
        moved: (n,) whether the run lies off its budget.
        loss_moved: whether losses follow the surface; False where none could be fitted, and losses stay as they are.
    """

    budget_flops: Array
    n_tokens: Array
    loss: Array
    moved: Mask
    loss_moved: bool


def group_budgets(
    budget_flops: ArrayLike,
    n_params: ArrayLike,
    n_tokens: ArrayLike,
    loss: ArrayLike,
    *,
    tolerance: float | None = None,
    named: Sequence[float] = (),
    planned: ArrayLike | None = None,
) -> BudgetGroups | None:
    """The runs (n,) grouped by nearly equal FLOPs; None where each is as it was.

    Without `tolerance` groups are made only where they are clear: the runs of each lie within a tenth of its middle,
    the gaps between groups are at least 1.5 times as wide (in log C) as the widest group, no two budgets that have a
    valley of their own are joined (unless they are within 0.5 %), and most of the runs that had none by themselves have
    one together. With it, neighbours that differ by no more than this share are one budget; 0 groups nothing. With
    `named` budgets each run belongs to the nearest of them, if that is within `tolerance` or a quarter.

    `planned` (n,) marks runs whose budget is known and stays. A group's budget is the value that more than half of its
    runs have, else the geometric mean.

    Raises:
        ValueError: see `Columns.rows`; `tolerance` is negative; a named budget is not finite and positive.
    """
    c, n, d, losses = check_columns(budget_flops=budget_flops, n_params=n_params, n_tokens=n_tokens, loss=loss)
    fixed = np.zeros(len(c), dtype=bool) if planned is None else np.asarray(planned, dtype=bool)
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance is {tolerance}, not finite and at least 0")
    budget: Array | None
    if not len(c):
        return None
    if len(named):
        (centres,) = check_columns(named=named)
        budget = _nearest(c, centres, FARTHEST_NAMED if tolerance is None else tolerance)
    elif tolerance is not None:
        budget = _chained(c, fixed, math.log1p(tolerance))
    else:
        budget = _clearly_apart(c, n, fixed)
    if budget is None:
        return None
    budget = np.where(fixed, c, budget)
    moved = budget != c
    return _move((c, n, d, losses), budget, moved) if moved.any() else None


def _nearest(c: Array, centres: Array, farthest: float) -> Array:
    log_c, log_centres = np.log(c), np.log(np.unique(centres))
    nearest = np.abs(log_c[:, None] - log_centres).argmin(axis=1)
    near = np.abs(log_c - log_centres[nearest]) <= math.log1p(farthest)
    budget: Array = np.where(near, np.unique(centres)[nearest], c)
    return budget


def _chained(c: Array, fixed: Mask, widest_gap: float) -> Array:
    values, place = np.unique(c, return_inverse=True)
    group = np.concatenate([[0], np.cumsum(np.diff(np.log(values)) > widest_gap)])[place]
    budget: Array = _centres(c, fixed, group)[group]
    return budget


def _clearly_apart(c: Array, n_params: Array, fixed: Mask) -> Array | None:
    """The budget of each run where groups are clear, else None: see `group_budgets`."""
    values, place = np.unique(c, return_inverse=True)
    log_values = np.log(values)
    gaps = np.diff(log_values)
    own = _has_valley(place, n_params)
    lone = ~own[place]
    if not lone.any() and (gaps > SAME).all():
        return None
    best, apart = None, CLEARLY_APART
    kept = own | np.isin(values, c[fixed])
    for threshold in _thresholds(gaps):
        cut = gaps > threshold
        of_value = np.concatenate([[0], np.cumsum(cut)])
        begin, end = np.concatenate([[True], cut]), np.concatenate([cut, [True]])
        widest = max(float((log_values[end] - log_values[begin]).max()), _ROUNDING)
        between = float(gaps[cut].min()) if cut.any() else math.inf
        if widest > WIDEST or between < apart * widest or _joins(of_value[kept], log_values[kept]):
            continue
        group = of_value[place]
        joined = _has_valley(group, n_params)[group] & lone
        if not lone.any() or joined.sum() > lone.sum() / 2:
            best, apart = _centres(c, fixed, group)[group], between / widest
    return best


def _joins(group: Indices, log_c: Array) -> bool:
    """Whether budgets (k,), ascending, that are different for sure are in one group."""
    return bool(((np.diff(group) == 0) & (np.diff(log_c) > SAME)).any())


def _thresholds(gaps: Array) -> Array:
    """Where to cut: at gaps after which the next wider one is much wider, the narrowest of these first."""
    near = np.unique(np.maximum(gaps[gaps <= WIDEST], _ROUNDING))
    wider = np.append(near[1:], math.inf)
    steps = np.argsort(-wider / near, kind="stable")[:_MOST_THRESHOLDS]
    return np.sort(near[steps])


def _has_valley(group: Indices, n_params: Array) -> Mask:
    """(k,): whether the runs (n,) of each group are enough for a valley: four, of three sizes."""
    values, size = np.unique(n_params, return_inverse=True)
    pairs = np.unique(group * len(values) + size)
    sizes = np.bincount(pairs // len(values), minlength=int(group.max()) + 1)
    enough: Mask = (np.bincount(group) >= MIN_POINTS) & (sizes >= 3)
    return enough


def _centres(c: Array, fixed: Mask, group: Indices) -> Array:
    """The budget (k,) of each group, FLOPs."""
    order = np.lexsort((c, group))
    sorted_c, sorted_group = c[order], group[order]
    counts = np.bincount(group)
    firsts = np.cumsum(counts) - counts
    centres: Array = np.exp(np.add.reduceat(np.log(sorted_c), firsts) / counts)
    # where more than half of a group's runs have one value, that is the budget: the middle run has it
    middle = sorted_c[firsts + counts // 2]
    same = np.bincount(sorted_group, sorted_c == middle[sorted_group])
    centres = np.where(2 * same > counts, middle, centres)
    centres[group[fixed]] = c[fixed]
    return centres


def _move(columns: tuple[Array, Array, Array, Array], budget: Array, moved: Mask) -> BudgetGroups:
    """Each run at its budget: as many tokens more or fewer, and the loss that the surface has for them.

    At a size that is held, FLOPs are proportional to tokens. Over a few per cent of tokens the slope of the surface is
    all that counts, and a surface that fits badly has nearly the right one (docs/fitting.md).
    """
    c, _, d, loss = columns
    tokens = np.where(moved, d * (budget / c), d)
    rows = sort_rows(*columns)
    change = _change(rows, tokens[rows.index]) if has_logarithms(rows) else None
    if change is None:
        return BudgetGroups(budget, tokens, loss, moved, loss_moved=False)
    there = loss.copy()
    there[rows.index] = rows.loss * np.exp(change)
    return BudgetGroups(budget, tokens, np.where(moved, there, loss), moved, loss_moved=True)


def _change(rows: Rows, tokens: Array) -> Array | None:
    """By how much ln loss changes with `tokens` (n,) in place of the rows' own; None where a float cannot say."""
    some = slice(None, None, -(-len(rows) // _ROWS_FOR_SLOPE))
    log_n, log_d = np.log(rows.n_params), np.log(rows.n_tokens)
    surface = solve_surface(log_n[some], log_d[some], rows.loss[some])
    change = surface.log_loss(log_n, np.log(tokens)) - surface.log_loss(log_n, log_d)
    return change if np.isfinite(change).all() else None
