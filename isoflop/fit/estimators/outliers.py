"""Which rows no smooth valley explains: a mask that clean sweeps nearly always pass."""

import numpy as np
from scipy.special import stdtrit

from isoflop.fit.arrays import Array, Mask
from isoflop.fit.estimators.joint import JointFit, enough_for_joint, fit_joint
from isoflop.fit.estimators.joint_objective import N_PARAMETERS, Axis, JointObjective
from isoflop.fit.estimators.joint_valley import JointValley
from isoflop.fit.estimators.surface import LEAST_SQUARES, SurfaceSolution, solve_surface
from isoflop.fit.intervals import normal_spread
from isoflop.fit.noise import ROUNDING, relative_variance, rough_trend
from isoflop.fit.rows import Rows

# Rough first look: residuals of the Huber surface beyond this many robust standard deviations are set aside.
_ROUGH_LIMIT = 4.0
# A budget keeps as many rows as a profile needs.
_KEPT_PER_BUDGET = 4
_ROUNDS = 6
# So many standard deviations of the kept rows off, a row is bad whatever the trend of the noise.
_SURELY_BAD = 5.0
# Family-wise: the chance that a clean sweep loses any row to chance alone.
FALSE_ALARMS = 0.05


def find_outliers(rows: Rows, huber: SurfaceSolution) -> tuple[Mask, JointFit | None]:
    """Which rows (n,) to keep, and the joint fit of those (without tokens); None where rows do not determine it.

    Rows are judged as if all were equally noisy, and once more if they are not: else the runs of the noisiest
    budgets would look bad.
    """
    keep, fit = rows_on_valley(rows, huber)
    variance = _noise_of_rows(rows, keep, fit) if fit else None
    if fit is None or variance is None:
        return keep, fit
    keep, fit = rows_on_valley(rows, huber, variance)
    return keep, _fit_near(rows.take(keep), fit.surface, fit.valley) if fit else None


def _noise_of_rows(rows: Rows, keep: Mask, fit: JointFit) -> Array | None:
    """Relative variance (n,) of rows as it is stated, or as those that are not surely bad show it; None if all alike.

    With the bad runs of an end a trend would be seen that hides them; with the kept ones alone, few trends are seen.
    """
    valley, log_c = fit.valley, np.log10(rows.budget_flops)
    variance = relative_variance(rows.loss_se, float(valley.residual @ valley.residual) / valley.degrees_of_freedom)
    if np.ptp(variance) == 0:
        relative = _residuals(rows, fit, keep.astype(float)) / rows.loss
        kept = relative[keep]
        fair = keep | (np.abs(relative) <= _SURELY_BAD * np.sqrt(kept @ kept / valley.degrees_of_freedom))
        freedom = valley.degrees_of_freedom + int(fair.sum()) - len(kept)
        variance = rough_trend(relative[fair], log_c[fair], freedom).variance(log_c)
    return variance if np.ptp(variance) > 0 else None


def rows_on_valley(rows: Rows, huber: SurfaceSolution, variance: Array | None = None) -> tuple[Mask, JointFit | None]:
    """Which rows (n,) to keep, and the joint fit of those (without tokens); None where rows do not determine it.

    `variance` (n,) is how noisy rows are relative to each other; all alike without it.

    From the rows near the robust surface on, surface and joint valley are fitted to what is kept, and a row is kept
    if its studentised residual, relative to its loss, is within a Student-t quantile corrected for the number of rows
    (Bonferroni). Judging by the valley and not by the surface keeps misfit of the law from looking like bad runs.
    """
    weights = np.ones(len(rows)) if variance is None else 1 / variance
    keep, surface, valley = _near(rows, huber, weights), huber, None
    for _ in range(_ROUNDS):
        fit = _fit_near(rows.take(keep), surface, valley, weights[keep])
        if fit is None:
            break
        judged = _judge(rows, keep, fit, weights)
        if (judged == keep).all():
            return keep, fit
        keep, surface, valley = judged, fit.surface, fit.valley
    return keep, _fit_near(rows.take(keep), surface, valley, weights[keep])


def _fit_near(
    kept: Rows, surface: SurfaceSolution, valley: JointValley | None, weights: Array | None = None
) -> JointFit | None:
    """The joint fit of rows whose surface, and perhaps valley, are known to be near others."""
    if not enough_for_joint(kept):
        return None
    log_n, log_d = np.log(kept.n_params), np.log(kept.n_tokens)
    squares = solve_surface(log_n, log_d, kept.loss, delta=LEAST_SQUARES, near=surface, weights=weights)
    return fit_joint(kept, weights=weights, surface=squares, near=valley)


def _near(rows: Rows, huber: SurfaceSolution, weights: Array) -> Mask:
    residual = np.abs(np.log(rows.loss) - huber.log_loss(np.log(rows.n_params), np.log(rows.n_tokens)))
    residual = residual * np.sqrt(weights)
    scale = max(normal_spread(residual) * np.sqrt(len(rows) / max(len(rows) - 5, 1)), ROUNDING)
    keep: Mask = residual <= _ROUGH_LIMIT * scale
    return keep | _smallest_of_budget(rows, residual)


def _smallest_of_budget(rows: Rows, residual: Array) -> Mask:
    """The rows of each budget with the smallest residuals, as many as stay whatever happens."""
    keep = np.zeros(len(rows), dtype=bool)
    for part in rows.slices:
        keep[part.start + np.argsort(residual[part], kind="stable")[:_KEPT_PER_BUDGET]] = True
    return keep


def _judge(rows: Rows, keep: Mask, fit: JointFit, weights: Array) -> Mask:
    n, n_kept, n_budgets = len(rows), int(keep.sum()), len(rows.budgets)
    relative = _residuals(rows, fit, keep * weights) / rows.loss * np.sqrt(weights)
    freedom = n_kept - n_budgets - N_PARAMETERS
    if freedom < 2:
        return keep
    scale = max(np.sqrt((relative[keep] ** 2).sum() / freedom), ROUNDING)
    leverage = (n_budgets + N_PARAMETERS) / n
    t = np.abs(relative) / (scale * np.sqrt(np.where(keep, 1 - leverage, 1 + leverage)))
    # a kept row had its part in the scale: judge it by the scale of the others
    inner = np.maximum(freedom - t**2, 1e-9)
    t = np.where(keep, t * np.sqrt((freedom - 1) / inner), t)
    limit = float(stdtrit(freedom - 1, 1 - FALSE_ALARMS / (2 * n)))
    judged: Mask = t <= limit
    return judged | _smallest_of_budget(rows, t)


def _residuals(rows: Rows, fit: JointFit, weights: Array) -> Array:
    """Residuals (n,) of all rows about the valley, nats; floors are those of the rows with `weights` above 0."""
    ridge = fit.valley.ridge
    t = np.log10(rows.budget_flops) - ridge.log_c_mean
    axis = Axis(np.log10(rows.n_params), t, rows.loss, weights, rows.group, ridge.log_c_mean)
    shape = JointObjective(axis, fit.valley.theta[4:], 0.0)
    residual: Array = shape.evaluate(fit.valley.theta[None], np.arange(1))[1][0][0]
    return residual
