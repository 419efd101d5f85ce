"""From the arrays of a sweep to its fit, in one call.

The recommended estimate comes first, by a road of its own: columns, rows, `choose`, `Choice.estimate`. All else is read
off it, tests it or stands beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike

from isoflop.fit.design.advice import LITTLE_GAIN, Advice, advise, narrowed_by
from isoflop.fit.design.suggest import Allowance, suggest_runs
from isoflop.fit.estimators.bootstrap import bootstrap_frontiers
from isoflop.fit.estimators.choice import JOINT, SURFACE, Choice, choose
from isoflop.fit.estimators.envelope import envelope_of_curves, envelope_of_ends
from isoflop.fit.estimators.estimates import (
    cubic_estimate,
    envelope_estimate,
    joint_estimate,
    loss_law,
    parabola_estimate,
    robust_estimate,
    squares_estimate,
    surface_estimate,
)
from isoflop.fit.estimators.fitted_rows import select
from isoflop.fit.estimators.joint import JointFit, fit_joint
from isoflop.fit.estimators.parabola import (
    Valley,
    budget_floors,
    describe_valley,
    find_valleys,
    fit_frontier,
    pool_noise,
)
from isoflop.fit.estimators.surface import HUBER, SurfaceSolution, find_surface
from isoflop.fit.findings import diagnose
from isoflop.fit.findings.evidence import Evidence
from isoflop.fit.noise import without_bad_repeats
from isoflop.fit.question import Options, Question, read_call
from isoflop.fit.reading.narrow import within_window
from isoflop.fit.reading.scorecard import credible_decades, loss_credible_decades, loss_widening, make_scorecard
from isoflop.fit.reading.target_reader import Reach, TargetReader
from isoflop.fit.results.estimators import Estimate, Estimators, Recommended, SurfaceEstimate
from isoflop.fit.results.profile import Vertex
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Suggestion
from isoflop.fit.rows import SIX, Columns, Rows, read_cost

# A sweep is run to decide on a larger training; where no budget is asked for, one decade is a modest step.
OUTLOOK_STEP = 10.0
# Rows that were never grouped by budget make one profile each; nobody reads more of them.
MAX_UNFITTED_PROFILES = 50


@overload
def fit_sweep(columns: Columns, question: Question | None = None) -> SweepFit: ...
@overload
def fit_sweep(
    budget_flops: ArrayLike, n_params: ArrayLike, n_tokens: ArrayLike, loss: ArrayLike, **options: Unpack[Options]
) -> SweepFit: ...
def fit_sweep(*given: Any, **named: Any) -> SweepFit:
    """Profiles, every estimator, targets, scorecard and findings of the completed runs of one sweep.

    Called as `fit_sweep(columns, question)` with `Columns` and `Question`, whose attributes say what each holds; or as
    `fit_sweep(budget_flops, n_params, n_tokens, loss, targets=..., loss_se=...)`: the same, given one by one.

    Raises:
        ValueError: see `Columns.rows` and `Question`. What the data cannot answer is a finding, never an exception.
    """
    columns, question = read_call(given, named)
    selected, level = select(columns), question.level
    rows = selected.rows
    valleys, surface = find_valleys(rows), find_surface(rows, question.residuals)
    listed = _listed(valleys)
    budgets = [valley.budget_flops for valley in listed]
    huber = surface if question.residuals == HUBER else None
    choice = choose(rows, window=question.window, huber=huber, valleys=valleys, n_runs=selected.n_runs)
    estimate = choice.estimate(budgets, level) if choice else None
    scorecard = make_scorecard(choice, valleys, level) if choice else ()
    reach = Reach(
        credible_decades(scorecard, level), loss_credible_decades(scorecard, level), loss_widening(scorecard, level)
    )
    reader = TargetReader(_kept(rows, choice), choice, level, reach)
    recommended = _recommended(choice, estimate, reader, question) if choice and estimate else None
    joint, noise = _joint_of_all(rows, choice), pool_noise(valleys)
    suggested = _suggest(choice, question)
    seen = Evidence(
        rows=rows,
        valleys=valleys,
        profiles=tuple(describe_valley(valley, noise, level) for valley in listed),
        noise=noise,
        frontier=fit_frontier(budget_floors(valleys), noise, level),
        estimators=_estimators(
            rows,
            valleys,
            question,
            budgets,
            surface=surface,
            joint=joint,
            squares=squares_estimate(choice, budgets, level),
            recommended=recommended,
        ),
        joint=joint,
        choice=choice,
        replicates=reader.replicates,
        targets=tuple(reader.read(target) for target in question.targets),
        scorecard=scorecard,
        credible_decades=reach.decades,
        question=question,
        suggested=suggested,
        advice=_advice(choice, suggested, question),
        loss_credible_decades=reach.loss_decades,
        narrow=within_window(choice) if choice else None,
        outlook=_outlook(choice),
        selected=selected,
    )
    return SweepFit(
        level=level,
        profiles=seen.profiles,
        frontier=seen.frontier,
        estimators=seen.estimators,
        targets=seen.targets,
        outlook=tuple(reader.read(budget) for budget in seen.outlook),
        scorecard=scorecard,
        credible_decades=reach.decades,
        loss_credible_decades=reach.loss_decades,
        suggested=seen.suggested,
        cloud=bootstrap_frontiers(rows, surface, read_cost(rows), question.bootstrap) if surface else None,
        findings=diagnose(seen),
        n_budgets=len(valleys),
        cost=choice.cost if choice else SIX,
        valley=choice.shape if choice else None,
        noise_sd=reader.noise_sd,
    )


@overload
def fit_exponents(columns: Columns, question: Question | None = None) -> tuple[Estimate, Estimate | None]: ...
@overload
def fit_exponents(
    budget_flops: ArrayLike, n_params: ArrayLike, n_tokens: ArrayLike, loss: ArrayLike, **options: Unpack[Options]
) -> tuple[Estimate, Estimate | None]: ...
def fit_exponents(*given: Any, **named: Any) -> tuple[Estimate, Estimate | None]:
    """The parabola's frontier and the recommended one, None where there is none, without all that is read off them.

    Called as `fit_sweep` is, and raises as it does; of a question only `level` and `window` change anything here.
    """
    columns, question = read_call(given, named)
    selected = select(columns)
    rows = selected.rows
    valleys = find_valleys(rows)
    budgets = rows.budgets.tolist()
    choice = choose(rows, window=question.window, valleys=valleys, n_runs=selected.n_runs)
    recommended = choice.estimate(budgets, question.level) if choice else None
    return parabola_estimate(valleys, budgets, question.level, len(rows)), recommended


def _kept(rows: Rows, choice: Choice | None) -> Rows:
    """The rows that the recommended estimate does not set aside: a bad run says nothing of what a new seed does.

    Where it has no mask of its own, repeats are judged by each other.
    """
    if choice is None or choice.estimator not in (JOINT, SURFACE):
        return without_bad_repeats(rows)
    return rows.take(~np.isin(rows.index, choice.outliers))


def _listed(valleys: Sequence[Valley]) -> Sequence[Valley]:
    """The valleys that make a profile each: all, but for rows that were never grouped by budget."""
    ungrouped = all(valley.vertex is Vertex.TOO_FEW for valley in valleys)
    return valleys[:MAX_UNFITTED_PROFILES] if ungrouped else valleys


def _outlook(choice: Choice | None) -> tuple[float, ...]:
    """Where to read the frontier when nothing is asked for."""
    if choice is None:
        return ()
    largest = choice.fitted_budgets[1]
    return tuple(budget for budget in (largest, OUTLOOK_STEP * largest) if math.isfinite(budget))


def _suggest(choice: Choice | None, question: Question) -> tuple[Suggestion, ...]:
    if choice is None or question.suggest < 1:
        return ()
    allowances = []
    if question.hours is not None and question.max_hours is not None:
        allowances = [Allowance(question.hours, question.max_hours)]
    found = suggest_runs(
        choice,
        _suggested_for(choice, question),
        question.suggest,
        question.level,
        planned=question.planned,
        trainable=question.trainable,
        allowances=allowances,
    )
    if question.hours is None:
        return found
    return tuple(replace(one, device_hours=question.hours(one.budget_flops, one.n_params)) for one in found)


def _suggested_for(choice: Choice, question: Question) -> float:
    """The target that suggested runs are to tell of."""
    return [*question.targets, *_outlook(choice)[-1:]][0]


def _advice(choice: Choice | None, suggested: Sequence[Suggestion], question: Question) -> Advice | None:
    """What would narrow the interval more; None where the suggested runs do."""
    if choice is None or not suggested or narrowed_by(suggested) >= LITTLE_GAIN:
        return None
    return advise(choice, _suggested_for(choice, question), question)


def _recommended(choice: Choice, estimate: Estimate, reader: TargetReader, question: Question) -> Recommended:
    """The recommended estimate with what is read off it."""
    return Recommended(
        estimator=choice.estimator,
        reason=choice.reason,
        estimate=estimate,
        window_decades=question.window,
        outliers=choice.outliers,
        n_line=choice.on_params,
        d_line=choice.on_tokens,
        degrees_of_freedom=choice.degrees_of_freedom,
        fitted_budgets=choice.fitted_budgets,
        readings=tuple(reader.read(budget) for budget in choice.rows.budgets[:MAX_UNFITTED_PROFILES].tolist()),
        loss_law=loss_law(choice, question.level),
    )


def _estimators(
    rows: Rows,
    valleys: Sequence[Valley],
    question: Question,
    budgets: Sequence[float],
    *,
    surface: SurfaceSolution | None,
    joint: JointFit | None,
    squares: SurfaceEstimate | None,
    recommended: Recommended | None,
) -> Estimators:
    """The recommended estimate and all others on the same rows."""
    level, curves = question.level, question.curves
    return Estimators(
        parabola=parabola_estimate(valleys, budgets, level, len(rows)),
        robust=robust_estimate(rows, valleys, budgets, level),
        cubic=cubic_estimate(rows, budgets, level),
        surface=surface_estimate(rows, surface, joint, budgets, level) if surface else None,
        joint=joint_estimate(joint, budgets, level, len(rows)) if joint else None,
        recommended=recommended,
        envelope=envelope_estimate(envelope_of_ends(rows), budgets) if curves else None,
        envelope_unannealed=envelope_estimate(envelope_of_curves(curves), budgets) if curves else None,
        surface_squares=squares,
    )


def _joint_of_all(rows: Rows, choice: Choice | None) -> JointFit | None:
    """The joint fit of all rows weighing alike, which may be the chosen estimate's."""
    if choice and choice.joint and len(choice.rows) == len(rows) and choice.noise and choice.noise.is_plain:
        return choice.joint
    return fit_joint(rows, near=choice.joint.valley) if choice and choice.joint else None
