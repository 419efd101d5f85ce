"""Parabolas that a few bad runs cannot move: least quantile of squares, then a mask pooled over budgets."""

import dataclasses
import itertools
import math

import numpy as np
from scipy.special import stdtrit

from isoflop.fit.arrays import Array, Indices, Mask
from isoflop.fit.intervals import normal_spread
from isoflop.fit.rows import LARGEST_LOSS, Rows

# Budgets with fewer rows keep them all: too few to tell a bad run from the bend of the valley.
MIN_ROWS = 6
_KEPT_PER_BUDGET = 5
# First look: residuals beyond this many robust standard deviations are set aside.
_ROUGH_LIMIT = 3.0
_ROUNDS = 10
# Family-wise chance that a clean sweep loses a row to chance alone.
FALSE_ALARMS = 0.05
# So many standard deviations off are as far as can be, and still have squares.
_FARTHEST = 1e100
# All triples of 24 rows; of more, a fixed sample: of the 500 some are clean even where half the rows are bad.
_MOST_TRIPLES, _SAMPLED = 2024, 500


def rows_on_parabolas(rows: Rows) -> Mask:
    """(n,): rows that their budget's parabola, judged by the noise of the whole sweep, explains.

    Each budget starts from the parabola through three of its rows with the smallest h-th residual, h = (n + 4) // 2
    (Rousseeuw 1984, J. Am. Stat. Assoc. 79); the noise is pooled, and rows are then judged by their studentised
    residual against a Student-t quantile corrected for the number of rows (Bonferroni).
    """
    keep = np.ones(len(rows), dtype=bool)
    members = [np.arange(part.start, part.stop) for part in rows.slices]
    judged = [group for group in members if len(group) >= MIN_ROWS and len(np.unique(rows.n_params[group])) > 3]
    peak = float(np.abs(rows.loss).max(initial=0.0))
    if not judged or not 0 < peak < LARGEST_LOSS:
        return keep
    rows = dataclasses.replace(rows, loss=rows.loss / peak)
    rough = [_least_quantile(np.log10(rows.n_params[group]), rows.loss[group]) for group in judged]
    scale = normal_spread(np.concatenate([np.delete(size, basis) for size, basis in rough]))
    for group, (size, _) in zip(judged, rough, strict=True):
        near = size <= _ROUGH_LIMIT * scale
        near[np.argsort(size, kind="stable")[:_KEPT_PER_BUDGET]] = True
        keep[group] = near
    for _ in range(_ROUNDS):
        new = _judge(rows, judged, keep)
        if (new == keep).all():
            break
        keep = new
    return keep


def _least_quantile(x: Array, loss: Array) -> tuple[Array, Indices]:
    """Absolute residuals (n,) about the best parabola through three rows, and which three."""
    u = x - x.mean()
    triples = _triples(len(x))
    design = np.stack([np.ones_like(u), u, u * u], axis=1)
    bases = design[triples]
    usable = np.abs(np.linalg.det(bases)) > 1e-12 * max(float(np.ptp(u)), 1e-300) ** 3
    triples, bases = triples[usable], bases[usable]
    coefficients = np.linalg.solve(bases, loss[triples][..., None])[..., 0]
    size = np.abs(loss - coefficients @ design.T)
    rank = (len(x) + 4) // 2 - 1
    best = int(np.argmin(np.partition(size, rank, axis=1)[:, rank]))
    return size[best], triples[best]


def _triples(n: int) -> Indices:
    """All triples of n rows, (m, 3), or a fixed sample of them."""
    if n * (n - 1) * (n - 2) // 6 <= _MOST_TRIPLES:
        return np.array(list(itertools.combinations(range(n), 3)), dtype=np.intp)
    drawn = np.random.default_rng(0).integers(0, n, (2 * _SAMPLED, 3))
    distinct = (drawn[:, 0] != drawn[:, 1]) & (drawn[:, 0] != drawn[:, 2]) & (drawn[:, 1] != drawn[:, 2])
    sample: Indices = drawn[distinct][:_SAMPLED].astype(np.intp)
    return sample


def _judge(rows: Rows, members: list[Indices], keep: Mask) -> Mask:
    """One round: parabolas through the kept rows, and which rows these then explain."""
    if any(keep[group].sum() < 3 for group in members):
        return keep
    parts = [_leverages(np.log10(rows.n_params[group]), rows.loss[group], keep[group]) for group in members]
    squares = sum(
        float((residual[keep[group]] ** 2).sum()) for group, (residual, _) in zip(members, parts, strict=True)
    )
    freedom = sum(int(keep[group].sum()) - 3 for group in members)
    if freedom < 2 or not 0 < squares < math.inf:
        return keep
    limit = float(stdtrit(freedom - 1, 1 - FALSE_ALARMS / (2 * len(rows))))
    new = keep.copy()
    for group, (residual, leverage) in zip(members, parts, strict=True):
        own = keep[group]
        room = np.where(own, np.maximum(1 - leverage, 1e-12), 1 + leverage)
        t = np.minimum(np.abs(residual) / np.sqrt(squares / freedom * room), _FARTHEST)
        # a kept row had its part in the noise: judge it by the noise of the others
        t = np.where(own, t * np.sqrt((freedom - 1) / np.maximum(freedom - t**2, 1e-9)), t)
        new[group] = t <= limit
    return new


def _leverages(x: Array, loss: Array, keep: Mask) -> tuple[Array, Array]:
    """Residuals and leverages (n,) of all rows about the parabola of the kept ones."""
    u = x - x[keep].mean()
    design = np.stack([np.ones_like(u), u, u * u], axis=1)
    inverse = np.linalg.pinv(design[keep].T @ design[keep], hermitian=True)
    coefficients = inverse @ (design[keep].T @ loss[keep])
    return loss - design @ coefficients, np.einsum("ni,ij,nj->n", design, inverse, design)
