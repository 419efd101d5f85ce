"""From the arrays of a sweep to its fit, in one call."""

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike

from isoflop.fit.design.suggest import suggest_runs
from isoflop.fit.estimators.bootstrap import bootstrap_frontiers
from isoflop.fit.estimators.choice import Choice, choose
from isoflop.fit.estimators.envelope import envelope_of_curves, envelope_of_ends
from isoflop.fit.estimators.estimates import (
    HUBER,
    cubic_estimate,
    envelope_estimate,
    find_surface,
    joint_estimate,
    law_estimate,
    loss_law,
    parabola_estimate,
    robust_estimate,
    surface_estimate,
)
from isoflop.fit.estimators.joint import JointFit, fit_joint
from isoflop.fit.estimators.parabola import (
    Valley,
    budget_floors,
    describe_valley,
    find_valleys,
    fit_frontier,
    pool_noise,
)
from isoflop.fit.findings import diagnose
from isoflop.fit.findings.evidence import Evidence
from isoflop.fit.inputs import check_choices, check_columns, check_errors
from isoflop.fit.reading.scorecard import credible_decades, make_scorecard
from isoflop.fit.reading.targets import TargetReader
from isoflop.fit.results.estimate import Estimate, Estimators, Recommended
from isoflop.fit.results.profile import Vertex
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Suggestion
from isoflop.fit.rows import Curves, Rows, read_cost, sort_rows
from isoflop.fit.types import Trainable

# A sweep is run to decide on a larger training; where no budget is asked for, one decade is a modest step.
OUTLOOK_STEP = 10.0
# Rows that were never grouped by budget make one profile each; nobody reads more of them.
MAX_UNFITTED_PROFILES = 50


def fit_sweep(
    budget_flops: ArrayLike,
    n_params: ArrayLike,
    n_tokens: ArrayLike,
    loss: ArrayLike,
    *,
    loss_se: ArrayLike | None = None,
    trunk: Sequence[str | None] | None = None,
    level: float = 0.90,
    targets: Sequence[float] = (),
    window: float | None = None,
    residuals: str = HUBER,
    suggest: int = 0,
    planned: Sequence[tuple[float, float]] = (),
    trainable: Trainable | None = None,
    curves: Curves | None = None,
    bootstrap: int = 0,
) -> SweepFit:
    """Profiles, every estimator, targets, scorecard and findings of the completed runs of one sweep.

    Args:
        budget_flops: (n,) planned training FLOPs; rows with exactly equal values make a profile.
        n_params: (n,) parameters, under whichever convention the caller chose.
        n_tokens: (n,) training tokens; independent data, FLOPs being only about 6 N D.
        loss: (n,) held-out loss, nats per token; may be zero or negative, which leaves out what needs its logarithm.
        loss_se: (n,) standard error of each evaluation, nats, 0 where unknown: rows known worse weigh less.
        trunk: (n,) name of the trunk that a run was branched off, None for a run of its own.
        level: nominal coverage of every interval.
        targets: budgets, FLOPs, at which to read the recommended estimate; answered in this order.
        window: decades about each budget's best run beyond which the recommended estimate leaves rows out, where the
            grid reaches more than 0.9 decades; None for all rows.
        residuals: what of the residuals of log loss the surface minimises: `huber`, `squares` or `absolute`.
        suggest: how many runs to suggest, for the first target or else ten times the largest budget.
        bootstrap: how many frontiers of resampled runs to fit for a figure.
        curves: points of the runs' training curves before their ends; without them there is no envelope.
        planned: FLOPs and parameters of runs that will be trained anyway: suggestions go on from there.
        trainable: from a budget and N to the nearest size that can be suggested, None where none can; any without it.

    Raises:
        ValueError: lengths differ; a loss is not finite; another number is not finite and positive; `level` is not
            between 0 and 1; `window` is not positive. What the data cannot answer is a finding, never an exception.
    """
    columns = check_columns(budget_flops=budget_flops, n_params=n_params, n_tokens=n_tokens, loss=loss)
    (targets_flops,) = check_columns(targets=targets)
    check_choices(level, window, residuals, (suggest, bootstrap))
    check_columns(planned_flops=[c for c, _ in planned], planned_params=[n for _, n in planned])
    if curves is not None:
        check_columns(**vars(curves))
    if trunk is not None and len(trunk) != len(columns[3]):
        raise ValueError(f"trunk has {len(trunk)} names for {len(columns[3])} rows")
    rows = sort_rows(*columns, loss_se=check_errors(loss_se, len(columns[3])), trunk=trunk)
    valleys = find_valleys(rows)
    noise = pool_noise(valleys)
    frontier = fit_frontier(budget_floors(valleys), noise, level)
    listed = _listed(valleys)
    profiles = tuple(describe_valley(valley, noise, level) for valley in listed)
    surface = find_surface(rows, residuals)
    choice = choose(rows, window=window, huber=surface if residuals == HUBER else None, valleys=valleys)
    scorecard = make_scorecard(choice, valleys, level) if choice else ()
    reader = TargetReader(rows, choice, level, credible_decades(scorecard, level))
    budgets = [valley.budget_flops for valley in listed]
    joint = _joint_of_all(rows, choice)
    answers = tuple(reader.read(target) for target in targets_flops.tolist())
    estimators = Estimators(
        parabola=parabola_estimate(valleys, budgets, level, len(rows)),
        robust=robust_estimate(rows, budgets, level),
        cubic=cubic_estimate(rows, budgets, level),
        surface=surface_estimate(rows, surface, joint, budgets, level) if surface else None,
        joint=joint_estimate(joint, budgets, level, len(rows)) if joint else None,
        recommended=_recommend(choice, reader, budgets, window, level) if choice else None,
        envelope=envelope_estimate(envelope_of_ends(rows), budgets) if curves else None,
        envelope_unannealed=envelope_estimate(envelope_of_curves(curves), budgets) if curves else None,
    )
    suggested = _suggest(choice, targets_flops.tolist(), suggest, level, planned=planned, trainable=trainable)
    findings = diagnose(
        Evidence(
            rows=rows,
            valleys=valleys,
            profiles=profiles,
            noise=noise,
            frontier=frontier,
            estimators=estimators,
            joint=joint,
            choice=choice,
            replicates=reader.replicates,
            targets=answers,
            scorecard=scorecard,
            credible_decades=reader.credible_decades,
            window=window,
            level=level,
            suggested=suggested,
            planned_flops=[budget for budget, _ in planned],
            unanswered_suggestions=max(suggest - len(suggested), 0),
        )
    )
    return SweepFit(
        level=level,
        profiles=profiles,
        frontier=frontier,
        estimators=estimators,
        targets=answers,
        outlook=tuple(reader.read(budget) for budget in _outlook(choice)),
        scorecard=scorecard,
        credible_decades=reader.credible_decades,
        suggested=suggested,
        cloud=bootstrap_frontiers(rows, surface, read_cost(rows), bootstrap) if surface else None,
        findings=findings,
    )


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


def _suggest(
    choice: Choice | None,
    targets: Sequence[float],
    count: int,
    level: float,
    *,
    planned: Sequence[tuple[float, float]],
    trainable: Trainable | None,
) -> tuple[Suggestion, ...]:
    if choice is None or count < 1:
        return ()
    return suggest_runs(
        choice, [*targets, *_outlook(choice)[-1:]][0], count, level, planned=planned, trainable=trainable
    )


def _recommend(
    choice: Choice, reader: TargetReader, budgets: Sequence[float], window: float | None, level: float
) -> Recommended:
    laws = (choice.on_params, choice.on_tokens)
    return Recommended(
        estimator=choice.estimator,
        reason=choice.reason,
        estimate=law_estimate(laws, choice.degrees_of_freedom, budgets, level, len(choice.rows)),
        window_decades=window,
        outliers=choice.outliers,
        n_line=choice.on_params,
        d_line=choice.on_tokens,
        degrees_of_freedom=choice.degrees_of_freedom,
        fitted_budgets=choice.fitted_budgets,
        readings=tuple(reader.read(budget) for budget in choice.rows.budgets[:MAX_UNFITTED_PROFILES].tolist()),
        loss_law=loss_law(choice, level),
    )


def _joint_of_all(rows: Rows, choice: Choice | None) -> JointFit | None:
    """The joint fit of all rows weighing alike, which may be the chosen estimate's."""
    if choice and choice.joint and len(choice.rows) == len(rows) and choice.noise and choice.noise.is_plain:
        return choice.joint
    return fit_joint(rows, near=choice.joint.valley) if choice and choice.joint else None


def fit_exponents(
    budget_flops: ArrayLike,
    n_params: ArrayLike,
    n_tokens: ArrayLike,
    loss: ArrayLike,
    *,
    loss_se: ArrayLike | None = None,
    trunk: Sequence[str | None] | None = None,
    level: float = 0.90,
    window: float | None = None,
) -> tuple[Estimate, Estimate | None]:
    """The parabola's frontier and the recommended one, None where there is none, without all that is read off them.

    Arguments and errors as of `fit_sweep`.
    """
    columns = check_columns(budget_flops=budget_flops, n_params=n_params, n_tokens=n_tokens, loss=loss)
    check_choices(level, window, HUBER)
    rows = sort_rows(*columns, loss_se=check_errors(loss_se, len(columns[3])), trunk=trunk)
    valleys = find_valleys(rows)
    budgets = rows.budgets.tolist()
    choice = choose(rows, window=window, valleys=valleys)
    recommended = None
    if choice is not None:
        laws = (choice.on_params, choice.on_tokens)
        recommended = law_estimate(laws, choice.degrees_of_freedom, budgets, level, len(choice.rows))
    return parabola_estimate(valleys, budgets, level, len(rows)), recommended
