"""Parabolas by budget (approach 2): each budget's valley, where its floor lies, and the frontier through floors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.intervals import Interval, Noise, log_interval, student_quantile, ten_to
from isoflop.fit.lines import BudgetFloor, Floor, Line, fit_lines
from isoflop.fit.results.profile import Frontier, Profile, Vertex
from isoflop.fit.rows import LARGEST_LOSS, SMALLEST_LOSS, Rows

# A bend that moves the loss by less (relative, root mean square) is rounding of the losses, not curvature.
ROUNDING = 64 * float(np.finfo(np.float64).eps)
# Sizes whose spread leaves less than this for the quadratic column (range scaled to 2) are fewer than three sizes.
_RANK_TOLERANCE = 1e-12
# One residual degree of freedom is left; without it a profile has no error of its own.
MIN_POINTS = 4

# More tokens at equal compute is a smaller model: what lies above in tokens lies below in parameters.
_SEEN_FROM_PARAMS = {Vertex.BELOW: Vertex.ABOVE, Vertex.ABOVE: Vertex.BELOW}


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
        # at the minimum the loss does not change with the place, so the error of the place does not count
        at = offset / half
        loss_spread = math.sqrt(1 / len(x) + at**2 / norm_u + (at**2 - skew * at - width) ** 2 / norm_p)
        floor = Floor(float(mean + offset), float(c0 + c1 * offset / 2), float(spread), loss_spread)
    return Parabola(
        coefficients=(float(c0), float(c1), float(c2)),
        mean=float(mean),
        low=float(x.min()),
        high=float(x.max()),
        sse=float(residual @ residual),
        curvature_spread=float(1 / (math.sqrt(norm_p) * half**2)),
        floor=floor,
    )


@dataclass(frozen=True)
class Valley:
    """One budget's rows, fitted but not yet judged against the noise of the whole sweep.

    Attributes:
        n_sizes: distinct parameter counts among the `n_points` rows.
        on_params, on_tokens: parabolas on log10 N and on log10 D; None where undetermined.
        floors: the minima of the two, in that order; None unless `vertex` is inside.
    """

    budget_flops: float
    n_points: int
    n_sizes: int
    vertex: Vertex
    on_params: Parabola | None
    on_tokens: Parabola | None
    floors: tuple[Floor, Floor] | None


def find_valleys(rows: Rows) -> tuple[Valley, ...]:
    """The valleys of all budgets, cheapest first, of rows grouped by exactly equal budget.

    Hoffmann et al. 2022 (arXiv 2203.15556), approach 2.
    """
    return tuple(_fit_valley(budget) for budget in rows.split())


def budget_floors(valleys: Sequence[Valley]) -> list[BudgetFloor]:
    """The floors of the `inside` valleys."""
    return [BudgetFloor(valley.budget_flops, *valley.floors) for valley in valleys if valley.floors]


def _fit_valley(budget: Rows) -> Valley:
    """The valley of one budget's rows."""
    enough = len(budget) >= MIN_POINTS
    on_params = fit_parabola(np.log10(budget.n_params), budget.loss) if enough else None
    on_tokens = fit_parabola(np.log10(budget.n_tokens), budget.loss) if enough else None
    vertex, floors = _place_floor(on_params, on_tokens)
    return Valley(
        budget_flops=float(budget.budget_flops[0]),
        n_points=len(budget),
        n_sizes=len(np.unique(budget.n_params)),
        vertex=vertex,
        on_params=on_params,
        on_tokens=on_tokens,
        floors=floors,
    )


def _place_floor(on_params: Parabola | None, on_tokens: Parabola | None) -> tuple[Vertex, tuple[Floor, Floor] | None]:
    """Where the floor lies and, if inside on both axes, its two positions.

    The N-parabola decides; where it says inside, the D-parabola must agree, else its verdict stands (told from the
    side of N). N_opt and D_opt are read from the same budgets, so each needs both.
    """
    vertex, n_floor = _place(on_params)
    if n_floor is None:
        return vertex, None
    vertex, d_floor = _place(on_tokens)
    if d_floor is None:
        return _SEEN_FROM_PARAMS.get(vertex, vertex), None
    return vertex, (n_floor, d_floor)


def _place(parabola: Parabola | None) -> tuple[Vertex, Floor | None]:
    """The place of one parabola's minimum against its own data, with the minimum if strictly inside."""
    if parabola is None:
        return Vertex.TOO_FEW, None
    floor = parabola.floor
    if floor is None:
        return Vertex.CONCAVE, None
    if floor.x <= parabola.low:
        return Vertex.BELOW, None
    if floor.x >= parabola.high:
        return Vertex.ABOVE, None
    return Vertex.INSIDE, floor


def pool_noise(valleys: Sequence[Valley]) -> Noise | None:
    """The residual noise of the `inside` valleys together; None if there is none.

    Only the budgets that make the estimates say how uncertain these are.
    """
    inside = [
        (v.n_points - 3, v.on_params.sse, v.on_tokens.sse) for v in valleys if v.floors and v.on_params and v.on_tokens
    ]
    if not inside:
        return None
    degrees_of_freedom, n_sse, d_sse = (sum(column) for column in zip(*inside, strict=True))
    return Noise(
        on_params=math.sqrt(n_sse / degrees_of_freedom),
        on_tokens=math.sqrt(d_sse / degrees_of_freedom),
        degrees_of_freedom=int(degrees_of_freedom),
    )


def describe_valley(valley: Valley, noise: Noise | None, level: float) -> Profile:
    """The profile of a valley: its numbers out of the logarithm, with statistical intervals at `level`."""
    shape, mirror = valley.on_params, valley.on_tokens
    n_floor, d_floor = valley.floors or (None, None)
    return Profile(
        budget_flops=valley.budget_flops,
        n_points=valley.n_points,
        vertex=valley.vertex,
        n_opt=ten_to(n_floor.x) if n_floor else None,
        n_opt_ci=_floor_interval(n_floor, noise.on_params, noise, level) if n_floor and noise else None,
        d_opt=ten_to(d_floor.x) if d_floor else None,
        d_opt_ci=_floor_interval(d_floor, noise.on_tokens, noise, level) if d_floor and noise else None,
        loss_opt=n_floor.loss if n_floor else None,
        curvature=shape.coefficients[2] if shape else None,
        rmse=math.sqrt(shape.sse / (valley.n_points - 3)) if shape else None,
        coefficients=shape.coefficients if shape else None,
        x_mean=shape.mean if shape else None,
        d_coefficients=mirror.coefficients if mirror else None,
        d_mean=mirror.mean if mirror else None,
    )


def _floor_interval(floor: Floor, residual_sd: float, noise: Noise, level: float) -> Interval | None:
    """The t-interval of one floor; `residual_sd` in nats, on the axis of that floor."""
    return log_interval(floor.x, student_quantile(level, noise.degrees_of_freedom) * residual_sd * floor.spread)


def fit_frontier(floors: Sequence[BudgetFloor], noise: Noise | None, level: float) -> Frontier | None:
    """The frontier through `floors`, cheapest first, or None.

    Unweighted least squares of log10 N_opt, and of log10 D_opt, on log10 C (Hoffmann et al. 2022, arXiv 2203.15556,
    approach 2). None with fewer than 2 budgets, or where they lie so close together that coef_n or coef_d would leave
    the range of a float.
    """
    lines = fit_lines(floors, noise)
    if lines is None or noise is None:
        return None
    n_line, d_line = lines
    mean = n_line.log_c_mean
    coef_n, coef_d = (ten_to(line.middle - line.slope * mean) for line in lines)
    if coef_n is None or coef_d is None:
        return None
    quantile = student_quantile(level, noise.degrees_of_freedom)
    return Frontier(
        exponent_a=n_line.slope,
        exponent_a_ci=_slope_interval(n_line, quantile),
        exponent_b=d_line.slope,
        exponent_b_ci=_slope_interval(d_line, quantile),
        coef_n=coef_n,
        coef_d=coef_d,
        n_profiles=len(floors),
        log_c_mean=mean,
        log_n_covariance=n_line.covariance,
        log_d_covariance=d_line.covariance,
        degrees_of_freedom=noise.degrees_of_freedom,
    )


def _slope_interval(line: Line, quantile: float) -> Interval:
    half_width = quantile * math.sqrt(line.covariance[1][1])
    return line.slope - half_width, line.slope + half_width
