"""The joint valley shrunk towards the surface by how well the surface fits: the recommended estimate."""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.joint_objective import N_PARAMETERS, Axis
from isoflop.fit.estimators.joint_valley import JointValley, Start, solve_valley
from isoflop.fit.estimators.surface import (
    LEAST_SQUARES,
    SurfaceSolution,
    has_logarithms,
    parameter_covariance,
    solve_surface,
    surface_lines,
)
from isoflop.fit.intervals import pooled_freedom
from isoflop.fit.lines import Line, Mixture, as_covariance
from isoflop.fit.rows import SIX, Rows, TokenCost, cost_scatter, read_cost
from isoflop.fit.valley import LN10

MIN_BUDGETS = 2
# Decades of size about the ridge in which runs say what a token costs there: attention and head make the cost of a
# token no power of N. Of four sweeps without their last budget, N_opt and D_opt spend that to 1 % (docs/decisions.md).
COST_REACH = 0.3


@dataclass(frozen=True)
class JointFit:
    """The joint estimate of a sweep.

    Attributes:
        surface: least squares of log loss.
        cost: what a token costs, as the rows have it.
        valley: the joint valley on log10 N.
        on_params, on_tokens: log10 N_opt and log10 D_opt over log10 C.
        lack_of_fit: F of the surface against the valley.
        weight: of the valley, 1 - 1/F; 0 where the surface explains the rows as well.
        degrees_of_freedom: of the lines' intervals (pooled, where floors scatter).
        residual_sd: nats, of the valley.
    """

    surface: SurfaceSolution
    cost: TokenCost
    valley: JointValley
    on_params: Mixture
    on_tokens: Mixture
    lack_of_fit: float
    weight: float
    degrees_of_freedom: float
    residual_sd: float


def enough_for_joint(rows: Rows) -> bool:
    """Whether the joint valley leaves a degree of freedom, and every loss has a logarithm."""
    n_budgets = len(rows.budgets)
    enough = len(rows) >= n_budgets + N_PARAMETERS + 1
    return n_budgets >= MIN_BUDGETS and enough and has_logarithms(rows)


def fit_joint(
    rows: Rows,
    *,
    weights: Array | None = None,
    correlation: Array | None = None,
    surface: SurfaceSolution | None = None,
    near: JointValley | None = None,
) -> JointFit | None:
    """The joint estimate from `rows`; None where they do not determine it.

    `weights` (n,) are inverse variances about 1; `correlation` (n, n) that of rows sharing a trunk; `surface`, where it
    is known already; `near`, the valley of nearly the same rows.
    """
    if not enough_for_joint(rows):
        return None
    w = np.ones(len(rows)) if weights is None else weights
    log_n, log_d = np.log(rows.n_params), np.log(rows.n_tokens)
    if surface is None:
        surface = solve_surface(log_n, log_d, rows.loss, delta=LEAST_SQUARES, weights=w)
    cost = read_cost(rows)
    log_c = np.log10(rows.budget_flops)
    mean = float(log_c.mean())
    lines = surface_lines(surface, cost, parameter_covariance(surface, rows, w, correlation), mean)
    if lines is None:
        return None
    axis = Axis(np.log10(rows.n_params), log_c - mean, rows.loss, w, rows.group, mean)
    valley = solve_valley(axis, _start(surface, cost, lines[0]), correlation=correlation, near=near)
    if valley is None:
        return None
    squares = float(w @ (rows.loss - np.exp(surface.log_loss(log_n, log_d))) ** 2)
    lack = lack_of_fit(squares, valley, axis.n_budgets)
    weight = max(0.0, 1 - 1 / lack) if lack > 0 else 0.0
    return JointFit(
        surface=surface,
        cost=cost,
        valley=valley,
        on_params=Mixture(lines[0].plus(valley.scatter.covariance), valley.ridge, weight),
        on_tokens=Mixture(*_token_lines(lines, valley, cost, rows), weight),
        lack_of_fit=lack,
        weight=weight,
        degrees_of_freedom=_effective_freedom(valley),
        residual_sd=math.sqrt(valley.sse / valley.degrees_of_freedom),
    )


def _effective_freedom(valley: JointValley) -> float:
    """Of the exponent's variance, which is the noise's and the scatter's."""
    noise, scatter = valley.line.covariance[1][1], valley.scatter.covariance[1][1]
    if scatter <= 0:
        return valley.degrees_of_freedom
    of_floors = max(len(valley.floors) - 2, 1)
    return pooled_freedom((noise, valley.degrees_of_freedom), (scatter, of_floors))


def lack_of_fit(surface_squares: float, valley: JointValley, n_budgets: int) -> float:
    """F of the surface: what the valley explains beyond it, per parameter it has more, over its residual variance.

    Never below 0: without noise both leave rounding alone, the surface by chance the less of it.
    """
    variance = valley.sse / valley.degrees_of_freedom
    gained = max(surface_squares - valley.sse, 0.0) / (n_budgets + 1)
    return gained / variance if variance > 0 else 0.0


def _start(surface: SurfaceSolution, cost: TokenCost, line: Line) -> Start:
    """Where the surface, whose log10 N_opt is on `line`, puts the valley."""
    _, log_a, _, alpha, beta = surface.theta.tolist()
    of_size = math.log(alpha) + log_a - alpha * (line.middle * LN10 - surface.x_mean)
    return Start(line, of_size, alpha, cost.slope * beta)


def _token_lines(surface: tuple[Line, Line], valley: JointValley, cost: TokenCost, rows: Rows) -> tuple[Line, Line]:
    """log10 D_opt by the surface and by the valley: what N_opt leaves of the budget, so that both together spend it."""
    n_line, d_line = (line.plus(valley.scatter.covariance) for line in surface)
    if cost is SIX:
        ridge = valley.ridge
        left = ridge.log_c_mean - math.log10(6) - ridge.middle
        return d_line, Line(left, 1 - ridge.slope, ridge.covariance, ridge.log_c_mean)
    near = _cost_on(valley.ridge, rows, cost)
    return _left(n_line, near), _left(valley.ridge, near)


@dataclass(frozen=True)
class _CostNear:
    """What a token costs at sizes near the ridge.

    Attributes:
        scatter: standard deviation of ln (FLOPs per token) about the cost: shapes of one size differ by so much.
        slope_error: standard error of the cost's slope.
        log_n: mean of log10 N of the runs that say so.
    """

    cost: TokenCost
    scatter: float
    slope_error: float
    log_n: float


def _cost_on(ridge: Line, rows: Rows, otherwise: TokenCost) -> _CostNear:
    """The cost near the ridge, which runs of another seed say nothing more of; `otherwise` where these are one size."""
    _, first = np.unique(np.stack([rows.budget_flops, rows.n_params, rows.n_tokens]), axis=1, return_index=True)
    rows = rows.take(np.sort(first))
    log_n = np.log10(rows.n_params)
    away = (log_n - (ridge.middle + ridge.slope * (np.log10(rows.budget_flops) - ridge.log_c_mean))) ** 2
    weights = np.exp((away.min() - away) / (2 * COST_REACH**2))
    cost, middle = read_cost(rows, weights), float(np.average(log_n, weights=weights))
    cost = otherwise if cost is SIX else cost
    scatter = cost_scatter(rows, cost, weights)
    lever = weights * (log_n - middle) * LN10
    spread = float(lever @ (log_n - middle)) * LN10
    error = scatter * math.sqrt(float(lever @ lever)) / spread if spread > 0 else 0.0
    return _CostNear(cost, scatter, error, middle)


def _left(n_line: Line, near: _CostNear) -> Line:
    """log10 D_opt where log10 N_opt is on the line, with the errors of the line and of the cost."""
    cost, away = near.cost, n_line.middle - near.log_n
    middle = n_line.log_c_mean - cost.offset / LN10 - cost.slope * n_line.middle
    of_size = np.array([away, n_line.slope]) * near.slope_error
    errors = cost.slope**2 * np.array(n_line.covariance) + np.outer(of_size, of_size)
    errors[0, 0] += (near.scatter / LN10) ** 2
    return Line(middle, 1 - cost.slope * n_line.slope, as_covariance(errors), n_line.log_c_mean)
