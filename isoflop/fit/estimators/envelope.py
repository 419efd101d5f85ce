"""Approach 1: the lower envelope of training curves."""

from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array, Indices
from isoflop.fit.lines import NO_ERRORS, Line
from isoflop.fit.rows import Curves, Rows

# Hoffmann et al. 2022 read 1500 compute values; of a sweep's few curves a tenth says as much.
_READINGS = 150
_MIN_READINGS = 2
# Compute values nearer to each other than this, decades, make no power law.
_NEAREST_DECADES = 1e-3


@dataclass(frozen=True)
class Envelope:
    """Which size is best at each compute, and the power laws through these.

    Attributes:
        annealed: whether the losses are those at which a run's schedule ended. A loss in the middle of a schedule is
            too high for its compute, most for the largest models, which bends the envelope: it enters no verdict.
        budget_flops, n_opt, d_opt: (k,) the readings.
        n_line, d_line: by least squares of log10 N and of log10 D on log10 C, without errors: readings are not
            independent, and sizes are steps.
    """

    annealed: bool
    budget_flops: tuple[float, ...]
    n_opt: tuple[float, ...]
    d_opt: tuple[float, ...]
    n_line: Line
    d_line: Line


def envelope_of_ends(rows: Rows) -> Envelope | None:
    """The envelope of completed runs: each that no cheaper one beats is a reading.

    None with fewer than two sizes or compute values.
    """
    ends = Curves(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss)
    return _envelope(_undominated(ends.flops, ends.loss), ends, annealed=True)


def envelope_of_curves(curves: Curves) -> Envelope | None:
    """The envelope of points on the way: the best at compute values evenly spread in log C, where it is a new low.

    Hoffmann et al. 2022 (arXiv 2203.15556), approach 1. None with fewer than two sizes or compute values.
    """
    return _envelope(_best_by_compute(curves.flops, curves.loss), curves, annealed=False)


def _undominated(flops: Array, loss: Array) -> Indices:
    """Points that no point of equal or less compute beats."""
    order = np.lexsort((loss, flops))
    lowest = np.minimum.accumulate(loss[order])
    first = np.concatenate([[True], lowest[1:] < lowest[:-1]]) if len(order) else np.zeros(0, dtype=bool)
    best: Indices = order[first]
    # of one budget, the best only
    _, last = np.unique(flops[best][::-1], return_index=True)
    return best[::-1][last]


def _best_by_compute(flops: Array, loss: Array) -> Indices:
    """The lowest loss in each of many equal intervals of log compute, where it is a new low."""
    if not len(flops):
        return np.zeros(0, dtype=np.intp)
    log_c = np.log(flops)
    low, high = float(log_c.min()), float(log_c.max())
    if high == low:
        return np.zeros(0, dtype=np.intp)
    interval = np.minimum(((log_c - low) / (high - low) * _READINGS).astype(int), _READINGS - 1)
    order = np.lexsort((loss, interval))
    firsts = order[np.unique(interval[order], return_index=True)[1]]
    return firsts[_undominated(flops[firsts], loss[firsts])]


def _envelope(readings: Indices, points: Curves, *, annealed: bool) -> Envelope | None:
    c, n, d = points.flops[readings], points.n_params[readings], points.n_tokens[readings]
    if len(np.unique(n)) < _MIN_READINGS or np.ptp(np.log10(c)) < _NEAREST_DECADES:
        return None
    log_c = np.log10(c)
    mean = float(log_c.mean())
    lever = log_c - mean
    lines = [
        Line(float(log.mean()), float(lever @ log / (lever @ lever)), NO_ERRORS, mean)
        for log in (np.log10(n), np.log10(d))
    ]
    return Envelope(annealed, tuple(c.tolist()), tuple(n.tolist()), tuple(d.tolist()), *lines)
