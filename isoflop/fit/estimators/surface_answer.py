"""The answer where no budget has a valley: the surface by least squares of the rows that it explains, or Huber's.

Both are fitted to the rows that pass the mask. Least squares answer, being the more precise, as long as Huber's
frontier of these rows or of all rows agrees with theirs; where neither does, some rows still pull, and Huber's answers,
its variance grown by the difference.
"""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.cells import FEWEST_CELLS, number_of_cells
from isoflop.fit.estimators.screened_surface import ScreenedSurface, equilibrated_inverse, screen
from isoflop.fit.estimators.surface import (
    HUBER,
    LEAST_SQUARES,
    SurfaceSolution,
    find_surface,
    has_logarithms,
    identified,
    robust_covariance,
    solve_surface,
    surface_lines,
)
from isoflop.fit.estimators.surface_objective import N_PARAMETERS
from isoflop.fit.intervals import student_quantile
from isoflop.fit.lines import Line, as_covariance
from isoflop.fit.noise import LARGEST_CORRELATION
from isoflop.fit.rows import Rows, TokenCost, read_cost

# Runs that answer by the surface alone: as many again as it has parameters, so that a bad one shows.
FEWEST_FOR_SURFACE = 2 * N_PARAMETERS
# Exponents that differ by less than this are the same to two printed digits.
_SAME_EXPONENT = 0.01
# An exponent a with a larger standard error is none: its 90 % interval is wider than all from 0 to 1.
WILDEST_EXPONENT = 0.3
# Size and tokens that vary together but for less than this (standard deviation of logarithms across their common trend)
# leave both exponents to noise: a ladder of ratios from 5 to 100 has 1, digitised or rounded counts of one ratio 0.01.
_FEWEST_APART = 0.1
# Of the intervals within which the two surfaces must agree.
_LEVEL = 0.9


@dataclass(frozen=True)
class Frontier:
    """One surface with its errors.

    Attributes:
        covariance: (5, 5) of the parameters.
        lines: log10 N_opt and log10 D_opt over log10 C.
    """

    solution: SurfaceSolution
    covariance: Array
    lines: tuple[Line, Line]

    @property
    def exponent(self) -> float:
        """Of N_opt."""
        return self.lines[0].slope


@dataclass(frozen=True)
class SurfaceAnswer:
    """Both surfaces of the rows that pass the mask.

    Attributes:
        screened: the mask, and least squares of what it keeps.
        squares, huber: their frontiers.
        disagree: whether these differ by more than their intervals, so that Huber's answers.
        trunk_correlation: of the errors of runs that share a trunk; None where none do.
        exponent_of_all: a by least squares of all rows; None where none are set aside, or these do not determine it.
    """

    screened: ScreenedSurface
    cost: TokenCost
    squares: Frontier
    huber: Frontier
    disagree: bool
    trunk_correlation: float | None
    exponent_of_all: float | None

    @property
    def chosen(self) -> Frontier:
        """The one to act on."""
        if not self.disagree:
            return self.squares
        apart = zip(self.huber.lines, self.squares.lines, strict=True)
        n_line, d_line = (_grown(one, other) for one, other in apart)
        return Frontier(self.huber.solution, self.huber.covariance, (n_line, d_line))

    @property
    def rival(self) -> Frontier | None:
        """The other one, where they disagree."""
        return self.squares if self.disagree else None


def answer_by_surface(rows: Rows, n_runs: int, huber: SurfaceSolution | None) -> SurfaceAnswer | None:
    """The surface of `rows`, which stand for `n_runs` runs; None where they do not determine one.

    `huber` is the robust surface of all `rows`, where it is known.
    """
    if n_runs < FEWEST_FOR_SURFACE or number_of_cells(rows) < FEWEST_CELLS or not has_logarithms(rows):
        return None
    if not vary_apart(rows):
        return None
    robust = huber or find_surface(rows, HUBER)
    assert robust
    screened = screen(rows, robust)
    kept = screened.rows
    if not identified(screened.solution, kept.n_params, kept.n_tokens):
        return None
    cost = read_cost(kept)
    correlation, covariance = _squares_errors(screened)
    log_n, log_d = np.log(kept.n_params), np.log(kept.n_tokens)
    squares = _frontier(screened.solution, covariance, kept, cost)
    # rows that are set aside may have held the robust surface in a valley of its own
    starts = (solve_surface(log_n, log_d, kept.loss, near=near) for near in (screened.solution, robust))
    of_kept = _robust(min(starts, key=lambda solution: solution.objective), kept, cost)
    of_all = _robust(robust, rows, cost)
    if squares is None or of_kept is None or of_all is None:
        return None
    apart = all(_differ(squares, one, screened.degrees_of_freedom) for one in (of_kept, of_all))
    disagree = (apart or screened.exhausted) and not of_kept.solution.at_bound
    of_everything = _exponent_of_all(screened, rows, cost)
    found = SurfaceAnswer(screened, cost, squares, of_kept, disagree, correlation, of_everything)
    return found if math.sqrt(max(found.chosen.lines[0].exponent[1], 0.0)) <= WILDEST_EXPONENT else None


def vary_apart(rows: Rows) -> bool:
    """Whether size and tokens vary otherwise than together, so that their effects can be told apart."""
    spread = np.cov(np.log(rows.n_params), np.log(rows.n_tokens))
    return bool(np.linalg.eigvalsh(spread)[0] > _FEWEST_APART**2)


def _exponent_of_all(screened: ScreenedSurface, rows: Rows, cost: TokenCost) -> float | None:
    if screened.keep.all():
        return None
    columns = np.log(rows.n_params), np.log(rows.n_tokens), rows.loss
    everything = solve_surface(*columns, delta=LEAST_SQUARES)
    found = _frontier(everything, np.zeros((N_PARAMETERS, N_PARAMETERS)), rows, cost)
    return found.exponent if found and identified(everything, rows.n_params, rows.n_tokens) else None


def _robust(solution: SurfaceSolution, rows: Rows, cost: TokenCost) -> Frontier | None:
    covariance = robust_covariance(solution, np.log(rows.n_params), np.log(rows.n_tokens), rows.loss)
    return _frontier(solution, covariance, rows, cost)


def _frontier(solution: SurfaceSolution, covariance: Array, rows: Rows, cost: TokenCost) -> Frontier | None:
    lines = surface_lines(solution, cost, covariance, float(np.log10(rows.budget_flops).mean()))
    return Frontier(solution, covariance, lines) if lines else None


def _differ(one: Frontier, other: Frontier, degrees_of_freedom: int) -> bool:
    """Whether the exponents differ by more than the narrower interval of the two, and visibly."""
    narrower = min(math.sqrt(max(frontier.lines[0].exponent[1], 0.0)) for frontier in (one, other))
    half = student_quantile(_LEVEL, degrees_of_freedom) * narrower
    return abs(one.exponent - other.exponent) > max(half, _SAME_EXPONENT)


def _grown(line: Line, other: Line) -> Line:
    """`line` with its distance from `other`, about one budget, counted as a standard error."""
    apart = np.array([line.middle - other.middle, line.slope - other.slope])
    return line.plus(as_covariance(np.outer(apart, apart)))


def _squares_errors(screened: ScreenedSurface) -> tuple[float | None, Array]:
    """The correlation of rows that share a trunk, and the covariance (5, 5) of the parameters, which allows for it."""
    rows, weights = screened.rows, screened.weights
    jacobian = screened.solution.jacobian(np.log(rows.n_params), np.log(rows.n_tokens))
    weighted = jacobian * np.sqrt(weights)[:, None]
    inverse = equilibrated_inverse(weighted)
    residual = screened.residual * np.sqrt(weights)
    _, trunk = np.unique(rows.trunk, return_inverse=True)
    sizes = np.bincount(trunk)
    pairs = float((sizes * (sizes - 1.0)).sum())
    if pairs == 0 or screened.variance == 0:
        return None, screened.variance * inverse
    products = float((np.bincount(trunk, residual) ** 2).sum() - residual @ residual) / pairs
    shared = min(max(products / screened.variance, 0.0), LARGEST_CORRELATION)
    sums = np.stack([np.bincount(trunk, column) for column in weighted.T], axis=1)
    excess = shared * (sums.T @ sums - weighted.T @ weighted)
    return shared, screened.variance * (inverse + inverse @ excess @ inverse)
