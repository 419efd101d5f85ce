"""Approach 1: the lower envelope of training curves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.fit.newton import Mask
from isoflop.fit.parabola import Array

# Hoffmann et al. 2022 read 1500 compute values; of a sweep's few curves a tenth says as much.
_READINGS = 150
_MIN_READINGS = 2


@dataclass(frozen=True)
class Envelope:
    """Which size is best at each compute, along curves, and the power laws through these.

    Attributes:
        annealed: whether only losses count at which a run's schedule ended. A loss in the middle of a schedule is too
            high for its compute, most for the largest models, which bends the envelope: such readings enter no verdict.
        budget_flops, n_opt, d_opt: (k,) the readings.
        exponent_a, exponent_b: by least squares of log N and of log D on log C.
    """

    annealed: bool
    budget_flops: tuple[float, ...]
    n_opt: tuple[float, ...]
    d_opt: tuple[float, ...]
    exponent_a: float
    exponent_b: float


def fit_envelope(flops: Array, n_params: Array, n_tokens: Array, loss: Array, annealed: Mask) -> tuple[Envelope, ...]:
    """The envelopes of points (n,) along curves: of annealed points, and, labelled, of all.

    Args:
        flops: training FLOPs spent so far.
        n_params, n_tokens: size of the run, and tokens so far.
        loss: nats per token.
        annealed: whether the schedule ended here.

    Of annealed points each that no cheaper point beats is a reading; of curves, the best at compute values evenly
    spread in log C. Hoffmann et al. 2022 (arXiv 2203.15556), approach 1. An envelope with fewer than two sizes or
    compute values is left out.
    """
    ended = _envelope(_undominated(flops, loss, annealed), flops, n_params, n_tokens, annealed=True)
    if annealed.all():
        return tuple(found for found in (ended,) if found)
    on_the_way = _envelope(_best_by_compute(flops, loss), flops, n_params, n_tokens, annealed=False)
    return tuple(found for found in (ended, on_the_way) if found)


def _undominated(flops: Array, loss: Array, among: Mask) -> NDArray[np.intp]:
    """Points that no point of equal or less compute beats."""
    candidates = np.flatnonzero(among)
    order = candidates[np.lexsort((loss[candidates], flops[candidates]))]
    lowest = np.minimum.accumulate(loss[order])
    first = np.concatenate([[True], lowest[1:] < lowest[:-1]]) if len(order) else np.zeros(0, dtype=bool)
    best: NDArray[np.intp] = order[first]
    # of one budget, the best only
    _, last = np.unique(flops[best][::-1], return_index=True)
    return best[::-1][last]


def _best_by_compute(flops: Array, loss: Array) -> NDArray[np.intp]:
    """The lowest loss in each of many equal intervals of log compute, where it is a new low."""
    log_c = np.log(flops)
    low, high = float(log_c.min()), float(log_c.max())
    if high == low:
        return np.zeros(0, dtype=np.intp)
    interval = np.minimum(((log_c - low) / (high - low) * _READINGS).astype(int), _READINGS - 1)
    order = np.lexsort((loss, interval))
    firsts = order[np.unique(interval[order], return_index=True)[1]]
    return firsts[_undominated(flops[firsts], loss[firsts], np.ones(len(firsts), dtype=bool))]


def _envelope(
    readings: NDArray[np.intp], flops: Array, n_params: Array, n_tokens: Array, *, annealed: bool
) -> Envelope | None:
    c, n, d = flops[readings], n_params[readings], n_tokens[readings]
    if len(np.unique(c)) < _MIN_READINGS or len(np.unique(n)) < _MIN_READINGS:
        return None
    lever = np.log(c) - np.log(c).mean()
    slopes = [float(lever @ np.log(optimum) / (lever @ lever)) for optimum in (n, d)]
    return Envelope(annealed, tuple(c.tolist()), tuple(n.tolist()), tuple(d.tolist()), *slopes)
