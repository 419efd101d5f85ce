"""The frontier of a surface: where it is lowest along a line of equal cost, with the errors of its parameters."""

import math

import numpy as np

from isoflop.fit.cost import TokenCost
from isoflop.fit.intervals import normal_spread
from isoflop.fit.line import Line, as_covariance
from isoflop.fit.noise import inverse_information
from isoflop.fit.parabola import Array
from isoflop.fit.rows import Rows
from isoflop.fit.surface.solve import SurfaceSolution

_LN10 = math.log(10)


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
    budget = log_c_mean * _LN10 - cost.offset
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
    gradient = np.array([np.array(on_middle) / _LN10, on_slope])
    errors = gradient @ covariance @ gradient.T
    n_line = Line(middle / _LN10, slope, as_covariance(errors), log_c_mean)
    d_line = Line((budget - r * middle) / _LN10, 1 - r * slope, as_covariance(r**2 * errors), log_c_mean)
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
