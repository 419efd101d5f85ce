"""Every estimator on the same rows, each as plain numbers."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import fdtrc

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.choice import Choice
from isoflop.fit.estimators.cubic import cubic_floors
from isoflop.fit.estimators.envelope import Envelope
from isoflop.fit.estimators.joint import JointFit
from isoflop.fit.estimators.loss_law import FloorLaw, SurfaceLoss
from isoflop.fit.estimators.parabola import Valley, budget_floors, find_valleys, pool_noise
from isoflop.fit.estimators.robust import rows_on_parabolas
from isoflop.fit.estimators.surface import (
    RESIDUALS,
    SurfaceSolution,
    identified,
    robust_covariance,
    surface_lines,
)
from isoflop.fit.intervals import Noise, decades_beyond, log_interval, student_quantile, ten_to
from isoflop.fit.lines import BudgetFloor, Line, fit_lines
from isoflop.fit.results.estimators import (
    Estimate,
    JointEstimate,
    LossLaw,
    SurfaceEstimate,
    exponent_interval,
    law_estimate,
)
from isoflop.fit.rows import Rows, read_cost
from isoflop.fit.valley import LN10

# Curves end a little before their runs do: so far beyond its readings, decades, an envelope is still read.
ENVELOPE_REACH = 0.3


def parabola_estimate(valleys: Sequence[Valley], budgets: Sequence[float], level: float, n_used: int) -> Estimate:
    """The plain parabolas as an estimate; `budgets` are those of the listed profiles."""
    return _by_budget(budget_floors(valleys), pool_noise(valleys), budgets, level, n_used)


def robust_estimate(rows: Rows, valleys: Sequence[Valley], budgets: Sequence[float], level: float) -> Estimate:
    """Parabolas without the rows that no parabola explains; `valleys` are those of all rows."""
    keep = rows_on_parabolas(rows)
    if not keep.all():
        valleys = find_valleys(rows.take(keep))
    return parabola_estimate(valleys, budgets, level, int(keep.sum()))


def cubic_estimate(rows: Rows, budgets: Sequence[float], level: float) -> Estimate:
    """Cubics by budget."""
    floors, noise = cubic_floors(rows)
    return _by_budget(floors, noise, budgets, level, len(rows))


def _by_budget(
    floors: Sequence[BudgetFloor], noise: Noise | None, budgets: Sequence[float], level: float, n_used: int
) -> Estimate:
    lines = fit_lines(floors, noise)
    found = {floor.budget_flops: floor.on_params for floor in floors}
    own = [found.get(budget) for budget in budgets]
    quantile = student_quantile(level, noise.degrees_of_freedom) if noise else 0.0
    sd = noise.on_params if noise else 0.0
    (a, a_ci), (b, b_ci) = (
        (exponent_interval(line, quantile) for line in lines) if lines else ((None, None), (None, None))
    )
    return Estimate(
        exponent_a=a,
        exponent_a_ci=a_ci,
        exponent_b=b,
        exponent_b_ci=b_ci,
        n_opt=tuple(ten_to(floor.x) if floor else None for floor in own),
        n_opt_ci=tuple(log_interval(floor.x, quantile * sd * floor.spread) if floor else None for floor in own),
        n_used=n_used,
    )


def envelope_estimate(envelope: Envelope | None, budgets: Sequence[float]) -> Estimate | None:
    """An envelope as an estimate, without intervals, read no farther than it reaches; `n_used` are its readings."""
    if envelope is None:
        return None
    ends = min(envelope.budget_flops), max(envelope.budget_flops)
    near = [decades_beyond(ends, math.log10(budget)) <= ENVELOPE_REACH for budget in budgets]
    read = [ten_to(envelope.n_line.at(math.log10(budget))[0]) for budget in budgets]
    return Estimate(
        exponent_a=envelope.n_line.slope,
        exponent_a_ci=None,
        exponent_b=envelope.d_line.slope,
        exponent_b_ci=None,
        n_opt=tuple(value if reached else None for value, reached in zip(read, near, strict=True)),
        n_opt_ci=(None,) * len(budgets),
        n_used=len(envelope.budget_flops),
    )


def surface_estimate(
    rows: Rows, solution: SurfaceSolution, joint: JointFit | None, budgets: Sequence[float], level: float
) -> SurfaceEstimate | None:
    """The surface as plain numbers; None where the rows leave its parameters open.

    `joint`, the joint fit of the same rows, is what its fit is judged against.
    """
    if not identified(solution, rows.n_params, rows.n_tokens) and not solution.at_bound:
        return None
    log_n, log_d = np.log(rows.n_params), np.log(rows.n_tokens)
    covariance = robust_covariance(solution, log_n, log_d, rows.loss)
    lines = surface_lines(solution, read_cost(rows), covariance, float(np.log10(rows.budget_flops).mean()))
    if lines is None:
        return None
    return _described(solution, covariance, lines, budgets, level, n_used=len(rows), joint=joint)


def squares_estimate(choice: Choice | None, budgets: Sequence[float], level: float) -> SurfaceEstimate | None:
    """The surface by least squares of the rows that it explains; None where no surface answers alone."""
    found = choice.surface if choice else None
    if found is None:
        return None
    one, n_used = found.squares, len(found.screened.rows)
    return _described(one.solution, one.covariance, one.lines, budgets, level, n_used=n_used, joint=None)


def _described(
    solution: SurfaceSolution,
    covariance: Array,
    lines: tuple[Line, Line],
    budgets: Sequence[float],
    level: float,
    *,
    n_used: int,
    joint: JointFit | None,
) -> SurfaceEstimate:
    freedom = n_used - len(solution.theta)
    e, a, b, alpha, beta = _constants(solution, covariance, student_quantile(level, freedom))
    return SurfaceEstimate(
        estimate=law_estimate(lines, freedom, budgets, level, n_used),
        law=solution.law,
        residuals=next(name for name, delta in RESIDUALS.items() if delta == solution.delta),
        objective=solution.objective,
        lack_of_fit_f=joint.lack_of_fit if joint else None,
        lack_of_fit_p=lack_of_fit_p(joint) if joint else None,
        at_bound=solution.at_bound,
        e_ci=log_interval(*e),
        a_ci=log_interval(*a),
        b_ci=log_interval(*b),
        alpha_ci=(alpha[0] - alpha[1], alpha[0] + alpha[1]),
        beta_ci=(beta[0] - beta[1], beta[0] + beta[1]),
    )


def _constants(solution: SurfaceSolution, covariance: Array, quantile: float) -> list[tuple[float, float]]:
    """log10 E, log10 A, log10 B, alpha and beta, each with its half-width, by the delta method.

    The parameters of the solution are about mean logarithms: ln A = ln A' + alpha mean ln N, ln B likewise.
    """
    unscale = np.eye(len(solution.theta))
    unscale[1, 3], unscale[2, 4] = solution.x_mean, solution.z_mean
    values = unscale @ solution.theta
    halves = quantile * np.sqrt(np.maximum(np.diag(unscale @ covariance @ unscale.T), 0.0))
    in_decades = np.array([1 / LN10] * 3 + [1.0] * 2)
    return list(zip((values * in_decades).tolist(), (halves * in_decades).tolist(), strict=True))


def lack_of_fit_p(joint: JointFit) -> float:
    """Chance of so large an F where the surface is right."""
    n_budgets = len(joint.valley.floors)
    return float(fdtrc(n_budgets + 1, joint.valley.degrees_of_freedom, joint.lack_of_fit))


def joint_estimate(joint: JointFit, budgets: Sequence[float], level: float, n_used: int) -> JointEstimate:
    """The joint fit as plain numbers."""
    below, above = np.exp(joint.valley.theta[4:]).tolist()
    return JointEstimate(
        estimate=law_estimate((joint.on_params, joint.on_tokens), joint.degrees_of_freedom, budgets, level, n_used),
        valley_weight=joint.weight,
        exponent_a_valley=joint.on_params.valley.exponent[0],
        exponent_a_surface=joint.on_params.surface.exponent[0],
        below=below,
        above=above,
        floor_scatter=joint.valley.scatter.sd,
        residual_sd=joint.residual_sd,
    )


def loss_law(choice: Choice, level: float) -> LossLaw | None:
    """The law that losses are read from, as its constants."""
    quantile = student_quantile(level, choice.loss_freedom) if choice.loss_freedom else 0.0
    floors = choice.loss
    if isinstance(floors, FloorLaw):
        half = quantile * math.sqrt(max(float(floors.covariance[2, 2]), 0.0))
        interval = (floors.gamma - half, floors.gamma + half) if math.isfinite(half) else None
        return LossLaw(floors.e, floors.log_k, floors.gamma, interval, "floors")
    if not isinstance(choice.loss, SurfaceLoss):
        return None
    e, log_k, gamma, gradient = choice.loss.constants()
    half = quantile * math.sqrt(max(float(gradient @ choice.loss.covariance @ gradient), 0.0))
    return LossLaw(e, log_k, gamma, (gamma - half, gamma + half), "surface")
