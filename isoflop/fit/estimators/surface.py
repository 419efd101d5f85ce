"""The surface fitted (approach 3): from rows to the optimum, its errors, and its frontier."""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.surface_objective import (
    HIGHEST_EXPONENT,
    LOWEST_EXPONENT,
    N_PARAMETERS,
    SurfaceObjective,
    grid_starts,
    log_jacobian,
    predict,
)
from isoflop.fit.intervals import normal_spread
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.lines import Line, as_covariance
from isoflop.fit.newton import minimise
from isoflop.fit.noise import inverse_information
from isoflop.fit.rows import LARGEST_LOSS, SMALLEST_LOSS, Rows, TokenCost
from isoflop.fit.valley import LN10

# Residuals of log loss beyond this count by their size, not its square (Hoffmann et al. 2022, section D.2).
HUBER_DELTA = 1e-3
LEAST_SQUARES = 1e3
# What of the residuals of log loss a surface minimises, and the width of Huber's middle that asks for it.
HUBER = "huber"
RESIDUALS = {HUBER: HUBER_DELTA, "squares": LEAST_SQUARES, "absolute": 0.0}
# Absolute deviations are approached by Huber's loss with ever narrower middles, then finished exactly.
NARROWING = (1e-3, 1e-4, 1e-5, 1e-6)
MIN_ROWS = N_PARAMETERS + 1

# Of the 24 grid points with the smallest squared error, ranked by the objective itself, the first and the ninth start
# a descent, and so does the best of squared error. None of 300 random starts per published sweep ended lower.
_RANKED, _RANKS = 24, (0, 8)
# Of more rows evenly spaced ones are enough to find a start.
ROWS_FOR_STARTS = 1000
# Columns of the Jacobian this near to dependence leave a parameter to rounding.
_INDEPENDENT = 1e-7


@dataclass(frozen=True)
class SurfaceSolution:
    """L = E + A N^-alpha + B D^-beta at an optimum, in the scaled parameters of `SurfaceObjective`.

    Attributes:
        theta: (5,) (ln E, ln A', ln B', alpha, beta), about `x_mean` = mean ln N and `z_mean` = mean ln D.
        objective: at the optimum, sum over rows.
        delta: of Huber's loss; 0 for absolute deviations, 1e3 for squares.
        at_bound: whether an exponent ends at a bound, so that the law is not what the rows ask for.
    """

    theta: Array
    x_mean: float
    z_mean: float
    objective: float
    delta: float

    @property
    def law(self) -> SurfaceLaw:
        """The same surface, unscaled."""
        log_e, log_a, log_b, alpha, beta = self.theta.tolist()
        return SurfaceLaw(log_e, log_a + alpha * self.x_mean, log_b + beta * self.z_mean, alpha, beta)

    @property
    def at_bound(self) -> bool:
        """See the class."""
        exponents = self.theta[3:]
        return bool(((exponents <= LOWEST_EXPONENT) | (exponents >= HIGHEST_EXPONENT)).any())

    def log_loss(self, log_n: Array, log_d: Array) -> Array:
        """ln loss (n,) at natural logarithms of N and D (n,)."""
        log_loss: Array = predict(self.theta[None], log_n - self.x_mean, log_d - self.z_mean)[0][0]
        return log_loss

    def jacobian(self, log_n: Array, log_d: Array) -> Array:
        """d ln loss / d theta (n, 5)."""
        x, z = log_n - self.x_mean, log_d - self.z_mean
        jacobian: Array = log_jacobian(predict(self.theta[None], x, z)[1], x, z)[0].T
        return jacobian


def has_logarithms(rows: Rows) -> bool:
    """Whether there are rows enough for a surface, with losses that have logarithms and squares."""
    if len(rows) < MIN_ROWS:
        return False
    return bool(((rows.loss > SMALLEST_LOSS) & (rows.loss < LARGEST_LOSS)).all())


def find_surface(rows: Rows, residuals: str) -> SurfaceSolution | None:
    """The surface on all rows, by a name of `RESIDUALS`; None where these are not enough."""
    if not has_logarithms(rows):
        return None
    return solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss, delta=RESIDUALS[residuals])


def solve_surface(
    log_n: Array,
    log_d: Array,
    loss: Array,
    *,
    delta: float = HUBER_DELTA,
    weights: Array | None = None,
    near: SurfaceSolution | None = None,
) -> SurfaceSolution:
    """The optimum over rows (n,) of natural log N, natural log D and loss > 0 (nats).

    `delta` 0 asks for least absolute deviations. `weights` (n,) default to one per row. With `near`, a solution of
    nearly the same rows, one descent from there takes the place of several from a grid.
    """
    data = _Centred(log_n, log_d, loss)
    row_weights = np.ones(len(loss)) if weights is None else weights
    narrowest = delta or NARROWING[0]
    objective = SurfaceObjective(data.x, data.z, data.log_loss, row_weights[None], narrowest)
    starts = _starts(data, row_weights, objective) if near is None else data.scale(near)[None]
    thetas, values = minimise(objective, starts)
    best = int(np.argmin(values))
    theta, value = thetas[best], float(values[best])
    if not delta:
        theta, value = _absolute_deviations(data, row_weights, theta)
    return SurfaceSolution(theta, data.x_mean, data.z_mean, value, delta)


def identified(solution: SurfaceSolution, n_params: Array, n_tokens: Array) -> bool:
    """Whether the rows (n,) determine all five parameters: the columns of the Jacobian are clearly independent."""
    jacobian = solution.jacobian(np.log(n_params), np.log(n_tokens))
    lengths = np.linalg.norm(jacobian, axis=0)
    if solution.at_bound or not np.isfinite(lengths).all() or (lengths == 0).any():
        return False
    values = np.linalg.svd(jacobian / lengths, compute_uv=False)
    return bool(values[-1] > _INDEPENDENT * values[0])


class _Centred:
    """The rows about their means, as `SurfaceObjective` takes them."""

    def __init__(self, log_n: Array, log_d: Array, loss: Array) -> None:
        self.x_mean, self.z_mean = float(log_n.mean()), float(log_d.mean())
        self.x, self.z, self.loss, self.log_loss = log_n - self.x_mean, log_d - self.z_mean, loss, np.log(loss)

    def scale(self, solution: SurfaceSolution) -> Array:
        """The parameters (5,) of `solution` about the means of these rows."""
        theta = solution.theta.copy()
        theta[1] += theta[3] * (solution.x_mean - self.x_mean)
        theta[2] += theta[4] * (solution.z_mean - self.z_mean)
        return theta


def _starts(data: _Centred, weights: Array, objective: SurfaceObjective) -> Array:
    some = slice(None, None, -(-len(data.x) // ROWS_FOR_STARTS))
    grid, squares = grid_starts(data.x[some], data.z[some], data.loss[some], weights[some])
    nearest = np.argsort(squares, kind="stable")[:_RANKED]
    values, _ = objective.evaluate(grid[nearest], nearest)
    ranked = nearest[np.argsort(values, kind="stable")]
    return grid[[*(ranked[rank] for rank in _RANKS), nearest[0]]]


def _absolute_deviations(data: _Centred, weights: Array, theta: Array) -> tuple[Array, float]:
    """The least absolute deviations reached from the Huber optimum `theta`."""
    for delta in NARROWING[1:]:
        problem = SurfaceObjective(data.x, data.z, data.log_loss, weights[None], delta)
        theta = minimise(problem, theta[None])[0][0]
    return _through_nearest(data, weights, theta)


def _through_nearest(data: _Centred, weights: Array, theta: Array) -> tuple[Array, float]:
    """`theta`, or the law through its five nearest rows if that is better: an optimum passes through five."""

    def deviations(at: Array) -> Array:
        residual: Array = data.log_loss - predict(at[None], data.x, data.z)[0][0]
        return residual

    value = float(weights @ np.abs(deviations(theta)))
    nearest = np.argsort(np.abs(deviations(theta)), kind="stable")[:N_PARAMETERS]
    exact = theta.copy()
    for _ in range(20):
        jacobian = log_jacobian(predict(exact[None], data.x, data.z)[1], data.x, data.z)[0].T
        step, *_ = np.linalg.lstsq(jacobian[nearest], deviations(exact)[nearest], rcond=None)
        exact = exact + np.clip(step, -1.0, 1.0)
    if ((exact[3:] < LOWEST_EXPONENT) | (exact[3:] > HIGHEST_EXPONENT)).any():
        return theta, value
    reached = float(weights @ np.abs(deviations(exact)))
    return (exact, reached) if reached < value else (theta, value)


def surface_lines(
    solution: SurfaceSolution, cost: TokenCost, covariance: Array, log_c_mean: float
) -> tuple[Line, Line] | None:
    """log10 N_opt and log10 D_opt of the surface; None where cost does not rise with size.

    `covariance` (5, 5) is that of `solution.theta`; `log_c_mean` the log10 budget that the lines are centred on.
    With FLOPs per token e^k N^r: (alpha + r beta) ln N_opt = ln(alpha A / (r beta B)) + beta (ln C - k), which for
    C = 6 N D is Hoffmann et al. 2022 (arXiv 2203.15556), equation 4.
    """
    if cost.slope <= 0:
        return None
    _, log_a, log_b, alpha, beta = solution.theta.tolist()
    r, total = cost.slope, alpha + cost.slope * beta
    budget = log_c_mean * LN10 - cost.offset
    numerator = (
        math.log(alpha / (r * beta)) + log_a + alpha * solution.x_mean - log_b - beta * solution.z_mean + beta * budget
    )
    middle, slope = numerator / total, beta / total
    on_middle = [
        0.0,
        1 / total,
        -1 / total,
        (1 / alpha + solution.x_mean - middle) / total,
        (budget - solution.z_mean - 1 / beta - r * middle) / total,
    ]
    on_slope = [0.0, 0.0, 0.0, -slope / total, alpha / total**2]
    gradient = np.array([np.array(on_middle) / LN10, on_slope])
    errors = gradient @ covariance @ gradient.T
    n_line = Line(middle / LN10, slope, as_covariance(errors), log_c_mean)
    d_line = Line((budget - r * middle) / LN10, 1 - r * slope, as_covariance(r**2 * errors), log_c_mean)
    return n_line, d_line


def parameter_covariance(
    solution: SurfaceSolution, rows: Rows, weights: Array, correlation: Array | None = None
) -> Array:
    """Covariance (5, 5) of `theta` by the delta method: residual variance of log loss over J' W J.

    `weights` (n,) are inverse variances about 1, `correlation` (n, n) that of the errors of rows that share a trunk.
    """
    log_n, log_d = np.log(rows.n_params), np.log(rows.n_tokens)
    residual = np.log(rows.loss) - solution.log_loss(log_n, log_d)
    variance = float(weights @ residual**2) / (len(rows) - len(solution.theta))
    return variance * inverse_information(solution.jacobian(log_n, log_d).T * np.sqrt(weights), correlation)


def robust_covariance(solution: SurfaceSolution, log_n: Array, log_d: Array, loss: Array) -> Array:
    """Covariance (5, 5) of `theta` of an M-estimate, rows being independent and alike.

    K^2 E psi^2 / (E psi')^2 over J'J (Huber 1981, Robust Statistics, section 7.6), which for squares is
    `parameter_covariance`. For absolute deviations psi is the sign and E psi' twice the density at zero, as the
    residuals within half their spread have it, less those that the fit passes through.
    """
    jacobian = solution.jacobian(log_n, log_d)
    residual = np.log(loss) - solution.log_loss(log_n, log_d)
    n, p = jacobian.shape
    if solution.delta:
        inside = max(float((np.abs(residual) <= solution.delta).mean()), 1 / n)
        psi = np.clip(residual, -solution.delta, solution.delta)
        correction = 1 + p / n * (1 - inside) / inside
        variance = correction**2 * float(psi @ psi) / (n - p) / inside**2
    else:
        strays = np.sort(np.abs(residual))[p:]
        half_spread = normal_spread(strays) / 2
        inside = max(float((strays <= half_spread).mean()), 1 / n)
        variance = n / (n - p) * (half_spread / inside) ** 2
    return np.asarray(variance * np.linalg.pinv(jacobian.T @ jacobian, hermitian=True), dtype=np.float64)
