"""The joint valley shrunk towards the surface by how well the surface fits: the recommended estimate."""

import dataclasses
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
from isoflop.fit.lines import Line, Mixture
from isoflop.fit.rows import SIX, Rows, TokenCost, read_cost

MIN_BUDGETS = 2


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
    tokens: bool = True,
) -> JointFit | None:
    """The joint estimate from `rows`; None where they do not determine it.

    `weights` (n,) are inverse variances about 1; `correlation` (n, n) that of rows sharing a trunk; `surface`, where it
    is known already; `near`, the valley of nearly the same rows. Without `tokens` the second axis is spared and
    `on_tokens` is a copy of the first.
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
    starts = _starts(surface, cost, lines)
    axis = Axis(np.log10(rows.n_params), log_c - mean, rows.loss, w, rows.group, mean)
    valley = solve_valley(axis, starts[0], correlation=correlation, near=near)
    if valley is None:
        return None
    squares = float(w @ (rows.loss - np.exp(surface.log_loss(log_n, log_d))) ** 2)
    lack = lack_of_fit(squares, valley, axis.n_budgets)
    weight = max(0.0, 1 - 1 / lack) if lack > 0 else 0.0
    token_valley, ridge = valley, valley.ridge
    if tokens and cost is SIX:
        ridge = _mirrored(ridge)
    elif tokens:
        other = solve_valley(dataclasses.replace(axis, x=np.log10(rows.n_tokens)), starts[1], correlation=correlation)
        if other is None:
            return None
        token_valley, ridge = other, other.ridge
    return JointFit(
        surface=surface,
        cost=cost,
        valley=valley,
        on_params=Mixture(lines[0].plus(valley.scatter.covariance), valley.ridge, weight),
        on_tokens=Mixture(lines[1].plus(token_valley.scatter.covariance), ridge, weight),
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


def _starts(surface: SurfaceSolution, cost: TokenCost, lines: tuple[Line, Line]) -> tuple[Start, Start]:
    """Where the surface puts the valley on log10 N and on log10 D."""
    _, log_a, log_b, alpha, beta = surface.theta.tolist()
    r = cost.slope
    n_line, d_line = lines
    ln10 = math.log(10)
    of_size = math.log(alpha) + log_a - alpha * (n_line.middle * ln10 - surface.x_mean)
    of_data = math.log(beta) + log_b - beta * (d_line.middle * ln10 - surface.z_mean)
    return Start(n_line, of_size, alpha, r * beta), Start(d_line, of_data, beta, alpha / r)


def _mirrored(ridge: Line) -> Line:
    """log10 D_opt where C is exactly 6 N D: what the line of log10 N_opt leaves of the budget."""
    middle = ridge.log_c_mean - math.log10(6) - ridge.middle
    return Line(middle, 1 - ridge.slope, ridge.covariance, ridge.log_c_mean)
