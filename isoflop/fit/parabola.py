"""A parabola of loss along a logarithmic axis, by ordinary least squares."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A bend that moves the loss by less (relative, root mean square) is rounding of the losses, not curvature.
ROUNDING = 64 * float(np.finfo(np.float64).eps)
# Sizes whose spread leaves less than this for the quadratic column (range scaled to 2) are fewer than three sizes.
_RANK_TOLERANCE = 1e-12
# Beyond these, squares and reciprocals of losses would leave the range of a float; nats per token never come near.
SMALLEST_LOSS, LARGEST_LOSS = 1e-100, 1e100


@dataclass(frozen=True)
class Floor:
    """The minimum of a convex parabola, wherever it lies.

    Attributes:
        x: decades.
        loss: nats.
        spread: standard error of `x` per unit of residual standard deviation, decades per nat.
    """

    x: float
    loss: float
    spread: float


@dataclass(frozen=True)
class Parabola:
    """loss = c0 + c1 (x - mean) + c2 (x - mean)^2, fitted to points between `low` and `high`.

    Attributes:
        coefficients: (c0, c1, c2) in nats, nats per decade, nats per decade^2.
        mean, low, high: of the data, decades.
        sse: sum of squared residuals, nats^2.
        curvature_spread: standard error of c2 per unit of residual standard deviation, per decade^2.
        floor: the minimum; None where c2 is not positive.
    """

    coefficients: tuple[float, float, float]
    mean: float
    low: float
    high: float
    sse: float
    curvature_spread: float
    floor: Floor | None


def fit_parabola(x: Array, loss: Array) -> Parabola | None:
    """The least-squares parabola of `loss` on `x`; None if fewer than three distinct x leave it undetermined.

    `x` (n,) in decades, `loss` (n,) in nats. Works on orthogonal columns, u = scaled x and p = u^2 - skew u - width,
    whose coefficients are uncorrelated: the delta method then gives the error of the minimum in closed form.
    """
    half = (x.max() - x.min()) / 2
    peak = np.abs(loss).max()
    if half == 0 or peak > LARGEST_LOSS:
        return None
    mean, level = x.mean(), loss.mean()
    u = (x - mean) / half
    width, norm_u = np.mean(u**2), u @ u
    skew = (u @ u**2) / norm_u
    p = u**2 - skew * u - width
    norm_p = p @ p
    if norm_p <= len(x) * _RANK_TOLERANCE**2:
        return None
    y = loss - level
    slope, bend = (u @ y) / norm_u, (p @ y) / norm_p
    residual = y - slope * u - bend * p
    c0, c1, c2 = level - bend * width, (slope - bend * skew) / half, bend / half**2
    floor = None
    if bend * np.sqrt(norm_p / len(x)) > ROUNDING * max(peak, SMALLEST_LOSS):
        offset = half * (skew - slope / bend) / 2
        spread = half / (2 * bend) * math.sqrt(1 / norm_u + (slope / bend) ** 2 / norm_p)
        floor = Floor(float(mean + offset), float(c0 + c1 * offset / 2), float(spread))
    return Parabola(
        coefficients=(float(c0), float(c1), float(c2)),
        mean=float(mean),
        low=float(x.min()),
        high=float(x.max()),
        sse=float(residual @ residual),
        curvature_spread=float(1 / (math.sqrt(norm_p) * half**2)),
        floor=floor,
    )
