"""Batched damped Newton: many small problems at once, each to its own optimum."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isoflop.fit.arrays import Array, Indices, Mask

# Promised decrease, relative to the objective, below which double precision has nothing left to gain.
CONVERGED = 1e-14
MAX_STEPS = 100
_FIRST_DAMPING, _SMALLEST_DAMPING, _LARGEST_DAMPING = 0.01, 1e-12, 1e10
# A decrease above this share of the promised one earns less damping.
_GOOD_SHARE = 0.125
# No parameter (logarithms, exponents, decades) is moved farther at once.
_LONGEST_STEP = 5.0


@dataclass(frozen=True)
class Curvature:
    """The local quadratic models of a batch.

    Attributes:
        gradient: (b, p).
        hessian: (b, p, p), exact; may be indefinite.
        convex: (b, p, p), a positive definite stand-in (Gauss-Newton or a majoriser).
    """

    gradient: Array
    hessian: Array
    convex: Array


class Problem(Protocol):
    """A batch of objectives over the same parameters. States are tuples of arrays with the batch as first axis."""

    def evaluate(self, theta: Array, rows: Indices) -> tuple[Array, tuple[Array, ...]]:
        """Objectives (b,) of the problems `rows` at `theta` (b, p), and what derivatives need."""
        ...

    def curvature(self, theta: Array, state: tuple[Array, ...], rows: Indices) -> Curvature:
        """Derivatives at `theta`, whose state is given."""
        ...

    def clip(self, theta: Array) -> Array:
        """`theta` within its bounds."""
        ...

    def at_bound(self, theta: Array, gradient: Array) -> Mask:
        """(b, p): which parameters stay where they are because descent would leave the bounds."""
        ...


def minimise(problem: Problem, theta: Array) -> tuple[Array, Array]:
    """Parameters (b, p) and objectives (b,) at the local optima that are reached from the starts `theta` (b, p).

    A step solves with the exact Hessian plus damping, or with the convex stand-in where that gives no descent.
    Problems leave the batch as they converge: the cost is that of the slowest few.
    """
    theta = problem.clip(theta.copy())
    live = np.arange(len(theta))
    damping = np.full(len(theta), _FIRST_DAMPING)
    objective, state = problem.evaluate(theta, live)
    optimum = objective.copy()
    for _ in range(MAX_STEPS):
        step, promise = _step(problem, theta[live], state, live, damping[live])
        going = (promise > CONVERGED * objective) & (damping[live] < _LARGEST_DAMPING)
        if not going.all():
            live, step, promise, objective = live[going], step[going], promise[going], objective[going]
            state = tuple(part[going] for part in state)
            if not len(live):
                break
        trial = problem.clip(theta[live] + step)
        reached, new = problem.evaluate(trial, live)
        better = reached < objective
        good = better & (objective - reached > _GOOD_SHARE * promise)
        damping[live] = np.where(
            good, np.maximum(damping[live] / 10, _SMALLEST_DAMPING), np.where(better, damping[live], damping[live] * 5)
        )
        theta[live[better]] = trial[better]
        objective = np.where(better, reached, objective)
        optimum[live] = objective
        state = tuple(_choose(better, part, old) for part, old in zip(new, state, strict=True))
    return theta, optimum


def _choose(better: Mask, new: Array, old: Array) -> Array:
    if better.all():
        return new
    return np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _step(
    problem: Problem, theta: Array, state: tuple[Array, ...], rows: Indices, damping: Array
) -> tuple[Array, Array]:
    """A step (b, p) and the decrease (b,) that the quadratic model promises for it."""
    local = problem.curvature(theta, state, rows)
    gradient = local.gradient
    held = problem.at_bound(theta, gradient)
    if held.any():
        gradient = np.where(held, 0.0, gradient)
        local = Curvature(gradient, _hold(local.hessian, held), _hold(local.convex, held))
    ridge = _ridge(local.convex, damping)
    step = solve(local.hessian + ridge, -gradient)
    slope = np.einsum("bi,bi->b", step, gradient)
    uphill = ~(slope < 0)
    if uphill.any():
        step[uphill] = solve(local.convex[uphill] + ridge[uphill], -gradient[uphill])
        slope = np.einsum("bi,bi->b", step, gradient)
    lost = ~np.isfinite(slope)
    if lost.any():
        step[lost], slope[lost] = 0.0, 0.0
    return np.minimum(np.maximum(step, -_LONGEST_STEP), _LONGEST_STEP), np.maximum(-slope / 2, 0.0)


def _hold(matrix: Array, held: Mask) -> Array:
    """`matrix` with the rows and columns of held parameters replaced by those of the identity."""
    out = np.where(held[:, :, None] | held[:, None, :], 0.0, matrix)
    problem, parameter = np.nonzero(held)
    out[problem, parameter, parameter] = 1.0
    return out


def _ridge(convex: Array, damping: Array) -> Array:
    """Diagonal matrices (b, p, p): the convex diagonal, lifted off zero, times the damping."""
    diagonal = np.diagonal(convex, axis1=1, axis2=2)
    lifted = np.maximum(diagonal, 1e-10 * diagonal.max(axis=1, keepdims=True) + 1e-300)
    ridge = np.zeros_like(convex)
    every = np.arange(convex.shape[1])
    ridge[:, every, every] = damping[:, None] * lifted
    return ridge


def solve(matrix: Array, right: Array) -> Array:
    """Solutions (b, p) of the systems (b, p, p); least squares where one is singular."""
    try:
        found = np.linalg.solve(matrix, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        pairs = zip(np.nan_to_num(matrix), np.nan_to_num(right), strict=True)
        found = np.stack([np.linalg.lstsq(one, side, rcond=None)[0] for one, side in pairs])
    return np.asarray(found, dtype=np.float64)
