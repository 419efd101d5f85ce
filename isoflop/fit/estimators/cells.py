"""Which rows are runs of one size on as many tokens, whether these are seeds or a sweep of rates, and crossed grids."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtri

from isoflop.fit.arrays import Array, Indices
from isoflop.fit.estimators.screened_surface import screen
from isoflop.fit.estimators.surface import HUBER, find_surface
from isoflop.fit.estimators.surface_objective import N_PARAMETERS
from isoflop.fit.rows import Rows

# Token counts of one size within this factor are one: a run ends at a whole batch, and batches differ.
_SAME_TOKENS = 1.01
# Places (sizes and token counts) from which on a surface leaves something to judge noise by.
FEWEST_CELLS = N_PARAMETERS + 2
# Seeds are taken for a sweep of rates where their noise would look like this once in twenty tables; best of the same
# seeds would hardly move an exponent.
SWEEP_P_VALUE = 0.05
# The best of a few equal runs scatters by this share of the variance of one (of 3: 0.56, of 10: 0.34).
_BEST_VARIANCE = 0.5
# And the spread must be clearly more than the noise.
_FEWEST_TIMES = 3.0
# With too few places for a surface: published seeds differ by 0.03 to 0.5 % of the loss.
_LARGEST_SEED_SHARE = 0.02
# No evaluation is as exact as this share of the loss.
_EXACT = 1e-4
# A grid is crossed where so much of its rectangle of sizes and token counts is filled.
_FILLED = 0.6
_FEWEST_LEVELS = 3
# Runs this near in FLOPs, decades, may have been planned at one budget: 10 %.
_ONE_BUDGET = 0.041
# A budget of fewer sizes is no profile.
_FEWEST_OF_PROFILE = 4
# Sizes, tokens and ratios are equal to so many decimals of their logarithm.
_DIGITS = 3


@dataclass(frozen=True)
class BestOfCells:
    """The best run of each size and token count, the others being runs of a sweep of rates.

    Attributes:
        rows: one per cell.
        set_aside: positions, in the caller's columns, of the others.
        n_repeated: cells with several runs.
        widest: largest range of losses within a cell, nats.
        spread, noise: within cells, and of the best runs about a surface: standard deviations relative to the loss.
    """

    rows: Rows
    set_aside: tuple[int, ...]
    n_repeated: int
    widest: float
    spread: float
    noise: float | None


def number_of_cells(rows: Rows) -> int:
    """Distinct pairs of size and token count."""
    return int(cells(rows).max(initial=-1)) + 1


def best_of_cells(rows: Rows) -> BestOfCells | None:
    """The best run of each cell where runs of one cell differ far beyond noise; None where they do not, or are alone.

    Runs that differ in their seed alone scatter as the cells' best runs scatter about a surface; rates that are swept
    move losses by more, and all but the best say nothing of size and data. Compared are the median standard deviation
    within cells and the residual one of the best runs, so that one diverged seed makes no sweep.
    """
    member = cells(rows)
    counts = np.bincount(member)
    if len(counts) == len(rows) or not (rows.loss > 0).all():
        return None
    order = np.lexsort((rows.loss, member))
    starts = np.flatnonzero(np.r_[True, np.diff(member[order]) > 0])
    keep = np.zeros(len(rows), dtype=bool)
    keep[order[starts]] = True
    best, several = rows.take(keep), counts > 1
    spread, noise = _spread(rows, member, counts), _noise(best)
    if not _is_sweep(spread, noise, int((counts - 1).sum()), len(best)):
        return None
    losses = rows.loss[order]
    ranges = np.maximum.reduceat(losses, starts) - losses[starts]
    return BestOfCells(
        rows=best,
        set_aside=tuple(sorted(rows.index[~keep].tolist())),
        n_repeated=int(several.sum()),
        widest=float(ranges.max()),
        spread=spread,
        noise=noise[0] if noise else None,
    )


def cells(rows: Rows) -> Indices:
    """The number (n,) of each row's cell: rows of exactly one size, whose tokens are equal to a whole batch."""
    log_d = np.log(rows.n_tokens)
    order = np.lexsort((log_d, rows.n_params))
    size, tokens = rows.n_params[order], log_d[order]
    loose, exact = _numbered(size, tokens, math.log(_SAME_TOKENS)), _numbered(size, tokens, 0.0)
    # token counts that follow each other closely all the way are no repeats: points along a curve, for one
    starts = np.flatnonzero(np.r_[True, np.diff(loose) > 0])[: loose.max(initial=-1) + 1]
    reach = np.maximum.reduceat(tokens, starts) - tokens[starts] if len(rows) else tokens
    member = np.where(reach[loose] <= math.log(_SAME_TOKENS), loose, len(rows) + exact) if len(rows) else loose
    out = np.empty(len(rows), dtype=np.intp)
    out[order] = np.unique(member, return_inverse=True)[1].ravel()
    return out


def _numbered(size: Array, tokens: Array, gap: float) -> Indices:
    """Numbers (n,) of sorted rows, a new one at every other size and at every step of tokens above `gap`."""
    new = (np.diff(size) > 0) | (np.diff(tokens) > gap)
    return np.concatenate([np.zeros(min(len(size), 1), dtype=np.intp), np.cumsum(new, dtype=np.intp)])


def _spread(rows: Rows, member: Indices, counts: Indices) -> float:
    """The median over cells with several runs of their standard deviation of log loss."""
    log_loss = np.log(rows.loss)
    means = np.bincount(member, log_loss) / counts
    squares = np.bincount(member, (log_loss - means[member]) ** 2)[counts > 1]
    return float(np.median(np.sqrt(squares / (counts[counts > 1] - 1))))


def _noise(best: Rows) -> tuple[float, int] | None:
    """Residual standard deviation of log loss of the best runs about a surface, and its degrees of freedom."""
    surface = find_surface(best, HUBER) if len(best) >= FEWEST_CELLS else None
    if surface is None:
        return None
    found = screen(best, surface)
    return math.sqrt(found.variance), found.degrees_of_freedom


def _is_sweep(spread: float, noise: tuple[float, int] | None, freedom: int, n_cells: int) -> bool:
    if noise is None:
        return spread > _LARGEST_SEED_SHARE
    sd, freedom_of_noise = noise
    times = math.sqrt(float(fdtri(freedom, freedom_of_noise, 1 - SWEEP_P_VALUE)) / _BEST_VARIANCE)
    return spread > max(times, _FEWEST_TIMES) * max(sd, _EXACT)


def is_crossed(rows: Rows) -> bool:
    """Whether the rows are a grid of sizes times token counts (or tokens per parameter), not profiles of budgets.

    Most of the rectangle is filled, and neither the cheapest nor the dearest budget, which are corners of it, has the
    runs of a profile; budgets that rows share are then diagonals that nobody planned.
    """
    log_n, log_d = np.log10(rows.n_params), np.log10(rows.n_tokens)
    if not (_fills(log_n, log_d) or _fills(log_n, log_d - log_n)):
        return False
    # achieved FLOPs scatter about a budget that N D shows
    costs = np.log10(rows.budget_flops), log_n + log_d
    return not any(_has_profile(log_n, cost, end) for cost in costs for end in (cost.min(), cost.max()))


def _has_profile(log_n: Array, cost: Array, end: float) -> bool:
    """Whether the rows whose `cost` (n,) is near `end`, decades, have as many sizes as a profile needs."""
    return len(np.unique(log_n[np.abs(cost - end) <= _ONE_BUDGET])) >= _FEWEST_OF_PROFILE


def _fills(one: Array, other: Array) -> bool:
    """Whether rows are at most of the places in the rectangle of their levels on two axes (n,), in decades."""
    rounded = np.round(np.stack([one, other]), _DIGITS)
    levels = [len(np.unique(axis)) for axis in rounded]
    needed = _FILLED * levels[0] * levels[1]
    if min(levels) < _FEWEST_LEVELS or len(one) < needed:  # spares the pairs of 100,000 rows
        return False
    return bool(np.unique(rounded, axis=1).shape[1] >= needed)
