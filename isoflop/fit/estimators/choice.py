"""Which estimate to act on, and everything that is read off it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Mask
from isoflop.fit.estimators.cells import is_crossed
from isoflop.fit.estimators.joint import JointFit, enough_for_joint, fit_joint
from isoflop.fit.estimators.loss_floors import LossFloors, read_loss_floors
from isoflop.fit.estimators.loss_law import DisputedLoss, LossReader, SurfaceLoss, fit_floor_law
from isoflop.fit.estimators.outliers import find_outliers
from isoflop.fit.estimators.parabola import Valley, budget_floors, find_valleys, pool_noise
from isoflop.fit.estimators.surface import (
    LEAST_SQUARES,
    SurfaceSolution,
    identified,
    parameter_covariance,
    solve_surface,
)
from isoflop.fit.estimators.surface_answer import SurfaceAnswer, answer_by_surface
from isoflop.fit.lines import BudgetFloor, Line, fit_lines
from isoflop.fit.noise import RowNoise, read_noise
from isoflop.fit.results.estimators import Estimate, law_estimate
from isoflop.fit.rows import Rows, TokenCost, in_window, read_cost
from isoflop.fit.valley import ValleyShape

JOINT, PARABOLA, SURFACE, NONE = "joint", "parabola", "surface", "none"
# Two budgets with a floor of their own: less is no sign of a frontier.
_MIN_FLOORS = 2
# A ridge less sure than this at a budget with runs, standard error in decades, is no estimate: sizes reach no farther.
_WILDEST_DECADES = 0.5
# Budgets nearer to each other than this, decades, make no power law.
_NEAREST_DECADES = 1e-3
_ALONE = "No budget has runs enough for a valley of its own: the surface"
_UNTESTED = "whose shape these runs cannot test."
_WHY_SQUARES = f"{_ALONE} by least squares of the runs that it explains, {_UNTESTED}"
_WHY_HUBER = (
    f"{_ALONE} by Huber's loss, because least squares of the same runs differ from it; the difference widens the "
    f"interval. It is a surface {_UNTESTED}"
)


@dataclass(frozen=True)
class Choice:
    """The estimate to act on, before it is read anywhere.

    Attributes:
        estimator, reason: see `results.estimators.Recommended`.
        rows: those that entered.
        outliers: positions of rows set aside, in the caller's columns.
        on_params, on_tokens: log10 optima over log10 C.
        degrees_of_freedom: of their intervals.
        loss: None where no law of the loss could be fitted.
        loss_freedom: degrees of freedom of its interval.
        loss_floors: the floors that a law of the loss goes through; None without any.
        shape: the valley along log N at any budget; None where unknown.
        residual_sd: nats, of one run about the fit.
        joint, noise: None unless `estimator` is `joint`.
        surface: None unless `estimator` is `surface`.
    """

    estimator: str
    reason: str
    rows: Rows
    outliers: tuple[int, ...]
    on_params: Line
    on_tokens: Line
    degrees_of_freedom: float
    loss: LossReader | None
    loss_freedom: float
    shape: ValleyShape | None
    residual_sd: float
    joint: JointFit | None = None
    noise: RowNoise | None = None
    loss_floors: LossFloors | None = None
    surface: SurfaceAnswer | None = None

    @property
    def fitted_budgets(self) -> tuple[float, float]:
        """The smallest and the largest budget with rows, FLOPs."""
        return float(self.rows.budget_flops[0]), float(self.rows.budget_flops[-1])

    @property
    def cost(self) -> TokenCost:
        """What a token costs, as the rows have it."""
        return self.joint.cost if self.joint else read_cost(self.rows)

    def estimate(self, budgets: Sequence[float], level: float) -> Estimate:
        """The recommended estimate: exponents, and N_opt at each of `budgets`, with intervals at `level`."""
        laws = (self.on_params, self.on_tokens)
        return law_estimate(laws, self.degrees_of_freedom, budgets, level, len(self.rows))


def choose(
    rows: Rows,
    *,
    window: float | None = None,
    huber: SurfaceSolution | None = None,
    valleys: Sequence[Valley] | None = None,
    n_runs: int | None = None,
) -> Choice | None:
    """The estimate to act on: the joint valley, else the parabola's frontier, else the surface; None without any.

    `window`: decades about each budget's best run, see `rows.in_window`; `huber` and `valleys`: the robust
    surface and the valleys of `rows`, where they are known; `n_runs`: how many runs these stand for.
    """
    used = rows if window is None else rows.take(in_window(rows, window))
    if valleys is None or len(used) < len(rows):
        valleys = find_valleys(used)
    known = huber if len(used) == len(rows) else None
    if on_surface_road(used, valleys):
        return _surface(used, n_runs or len(used), known)
    if not spread(budget_floors(valleys)):
        return _despite_bad_runs(used, known)
    if enough_for_joint(used):
        found = _joint(used, known)
        if found is not None and not _is_wild(found):
            return found
    return _parabola(used, valleys)


def _despite_bad_runs(rows: Rows, huber: SurfaceSolution | None) -> Choice | None:
    """The joint valley where valleys make no frontier with the runs that it sets aside, and do without them."""
    if not enough_for_joint(rows):
        return None
    robust = huber or solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss)
    keep, first = find_outliers(rows, robust)
    if first is None or keep.all() or not spread(budget_floors(find_valleys(rows.take(keep)))):
        return None
    found = _joint(rows, robust)
    return None if found is None or _is_wild(found) else found


def on_surface_road(rows: Rows, valleys: Sequence[Valley]) -> bool:
    """Whether the surface alone answers: no budget was meant to have a valley, those of a crossed grid included."""
    grouped = any(valley.on_params is not None for valley in valleys)
    return not grouped or is_crossed(rows)


def _is_wild(choice: Choice) -> bool:
    """Whether the joint valley does not say where the floors of its own budgets are."""
    ends = (choice.on_params.at(math.log10(budget))[1] for budget in choice.fitted_budgets)
    return math.sqrt(max(ends)) > _WILDEST_DECADES


def spread(floors: Sequence[BudgetFloor]) -> bool:
    """Whether floors lie at budgets far enough apart for a power law."""
    if len(floors) < _MIN_FLOORS:
        return False
    return math.log10(floors[-1].budget_flops / floors[0].budget_flops) > _NEAREST_DECADES


def choose_again(whole: Choice, part: Mask, near: Choice | None = None) -> Choice | None:
    """The joint estimate from the `part` (n,) of the rows of another choice: no window, no search, the same weights.

    Their floors are known to make a power law. `near`, the same of fewer rows, is where the search begins.
    """
    rows = whole.rows.take(part)
    if not enough_for_joint(rows):
        return None
    noise = whole.noise.take(part) if whole.noise else None
    weights, correlation = (noise.weights, noise.correlation) if noise else (None, None)
    if near is None or near.joint is None:
        fit = fit_joint(rows, weights=weights, correlation=correlation)
    else:
        columns = np.log(rows.n_params), np.log(rows.n_tokens), rows.loss
        surface = solve_surface(*columns, delta=LEAST_SQUARES, weights=weights, near=near.joint.surface)
        fit = fit_joint(rows, weights=weights, correlation=correlation, surface=surface, near=near.joint.valley)
    known = whole.loss_floors.up_to(float(rows.budget_flops[-1])) if whole.loss_floors else None
    return _of_joint(rows, fit, (), noise, known) if fit else None


def _joint(rows: Rows, huber: SurfaceSolution | None) -> Choice | None:
    robust = huber or solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss)
    keep, first = find_outliers(rows, robust)
    kept = rows.take(keep)
    if first is None:
        return None
    noise = read_noise(kept, first.valley.residual, first.valley.degrees_of_freedom)
    known = first.surface if noise.weights is None else None
    fit = fit_joint(kept, weights=noise.weights, correlation=noise.correlation, surface=known, near=first.valley)
    if fit is None:
        return None
    outliers = tuple(sorted(rows.index[~keep].tolist()))
    return _of_joint(kept, fit, outliers, noise, read_loss_floors(kept, noise.weights))


def _of_joint(
    rows: Rows, fit: JointFit, outliers: tuple[int, ...], noise: RowNoise | None, floors: LossFloors | None
) -> Choice | None:
    if not identified(fit.surface, rows.n_params, rows.n_tokens):
        return None
    loss, freedom = _joint_loss(rows, fit, noise, floors)
    return Choice(
        estimator=JOINT,
        reason=_why_joint(fit),
        rows=rows,
        outliers=outliers,
        on_params=fit.on_params.as_line(fit.valley.line.log_c_mean),
        on_tokens=fit.on_tokens.as_line(fit.valley.line.log_c_mean),
        degrees_of_freedom=fit.degrees_of_freedom,
        loss=loss,
        loss_freedom=freedom,
        shape=fit.valley.shape,
        residual_sd=fit.residual_sd,
        joint=fit,
        noise=noise,
        loss_floors=floors,
    )


def _why_joint(fit: JointFit) -> str:
    if fit.weight == 0:
        return (
            f"The joint valley explains the runs no better than the surface (F {fit.lack_of_fit:.2g}), so the estimate "
            "is the surface by least squares."
        )
    return (
        f"All budgets share one skewed valley, which has a weight of {fit.weight:.0%} against the surface "
        f"(lack of fit F {fit.lack_of_fit:.3g})."
    )


def _joint_loss(
    rows: Rows, fit: JointFit, noise: RowNoise | None, floors: LossFloors | None
) -> tuple[LossReader, float]:
    """The law of the loss, through floors where these determine one, else the surface's; and its degrees of freedom."""
    law = fit_floor_law(floors)
    if law is not None:
        return law, law.degrees_of_freedom
    weights = noise.weights if noise and noise.weights is not None else np.ones(len(rows))
    errors = parameter_covariance(fit.surface, rows, weights, noise.correlation if noise else None)
    return SurfaceLoss(fit.surface, errors, fit.cost), fit.valley.degrees_of_freedom


def _parabola(rows: Rows, valleys: Sequence[Valley]) -> Choice | None:
    noise, floors = pool_noise(valleys), budget_floors(valleys)
    lines = fit_lines(floors, noise)
    if lines is None or noise is None:
        return None
    bends = [valley.on_params.coefficients[2] for valley in valleys if valley.floors and valley.on_params]
    used = rows.take(np.isin(rows.budget_flops, [floor.budget_flops for floor in floors]))
    loss_floors = read_loss_floors(used)
    law = fit_floor_law(loss_floors)
    return Choice(
        estimator=PARABOLA,
        reason="Parabola by budget: the runs do not determine one valley for all budgets (too few runs, losses that "
        "have no logarithm, no ridge, or a fit at the edge of its search range).",
        rows=used,
        outliers=(),
        on_params=lines[0],
        on_tokens=lines[1],
        degrees_of_freedom=noise.degrees_of_freedom,
        loss=law,
        loss_freedom=law.degrees_of_freedom if law else 0,
        shape=ValleyShape.of_parabola(float(np.median(bends))),
        residual_sd=noise.on_params,
        loss_floors=loss_floors,
    )


def _surface(rows: Rows, n_runs: int, huber: SurfaceSolution | None) -> Choice | None:
    found = answer_by_surface(rows, n_runs, huber)
    if found is None:
        return None
    screened, chosen = found.screened, found.chosen
    kept = screened.rows
    fitted = np.exp(chosen.solution.log_loss(np.log(kept.n_params), np.log(kept.n_tokens)))
    residual, freedom = kept.loss - fitted, screened.degrees_of_freedom
    return Choice(
        estimator=SURFACE,
        reason=_WHY_HUBER if found.disagree else _WHY_SQUARES,
        rows=kept,
        outliers=tuple(sorted(rows.index[~screened.keep].tolist())),
        on_params=chosen.lines[0],
        on_tokens=chosen.lines[1],
        degrees_of_freedom=freedom,
        loss=_surface_loss(found),
        loss_freedom=freedom,
        shape=chosen.solution.law.valley(found.cost, chosen.lines[0]),
        residual_sd=float(np.sqrt(residual @ residual / freedom)),
        surface=found,
    )


def _surface_loss(found: SurfaceAnswer) -> SurfaceLoss:
    chosen, rival = found.chosen, found.rival
    if rival is None:
        return SurfaceLoss(chosen.solution, chosen.covariance, found.cost)
    other = SurfaceLoss(rival.solution, rival.covariance, found.cost)
    return DisputedLoss(chosen.solution, chosen.covariance, found.cost, other)
