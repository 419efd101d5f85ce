"""The answer to the sweep's question, in sentences."""

from collections.abc import Sequence

from isoflop.fit.choice import PARABOLA
from isoflop.fit.results.profile import Profile, Vertex
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Target
from isoflop.report.wording import ESTIMATOR, interval, nats, percent, power_law, power_law_of
from isoflop.units import format_flops
from isoflop.view.wording import count, ratio, runs


def answer_sentences(fit: SweepFit, targets: Sequence[Target], n_budgets: int) -> tuple[str, ...]:
    """The recommended frontier with the parabola's beside it, and its reading at each target; without one, why not.

    `n_budgets` counts the budgets of the data, of which the fit may list fewer.
    """
    found = fit.estimators.recommended
    if found is None:
        return _no_frontier(len(_inside(fit)), n_budgets), *(_floor(profile, fit.level) for profile in _inside(fit))
    readings = [_reading(target, fit) for target in targets]
    if found.estimator == PARABOLA:
        return _parabola_law(fit, n_budgets, "Compute-optimal"), *readings
    law = (
        f"Compute-optimal: N_opt = {power_law_of(found.n_line)} parameters, D_opt = {power_law_of(found.d_line)} "
        f"tokens (C in training FLOPs), by the {ESTIMATOR[found.estimator]} through {runs(found.estimate.n_used)}."
    )
    beside = [_parabola_law(fit, n_budgets, "The parabola by budget says")] if fit.frontier else []
    return law, *beside, *readings


def _parabola_law(fit: SweepFit, n_budgets: int, lead: str) -> str:
    assert fit.frontier
    return (
        f"{lead}: N_opt = {power_law(fit.frontier.coef_n, fit.frontier.exponent_a)} parameters, "
        f"D_opt = {power_law(fit.frontier.coef_d, fit.frontier.exponent_b)} tokens, "
        f"through the floors of {len(_inside(fit))} of {n_budgets} budgets."
    )


def _inside(fit: SweepFit) -> list[Profile]:
    return [profile for profile in fit.profiles if profile.vertex is Vertex.INSIDE]


def _no_frontier(n_inside: int, n_budgets: int) -> str:
    return (
        f"No compute-optimal frontier: {n_inside} of {n_budgets} budgets "
        f"{'has' if n_inside == 1 else 'have'} a floor inside the sizes trained, too few for a power law."
    )


def _floor(profile: Profile, level: float) -> str:
    bounds = f" ({percent(level)} interval {interval(profile.n_opt_ci)})" if profile.n_opt_ci else ""
    return (
        f"At {format_flops(profile.budget_flops)} FLOPs alone: {count(profile.n_opt)} parameters{bounds} "
        f"on {count(profile.d_opt)} tokens."
    )


def _reading(target: Target, fit: SweepFit) -> str:
    budget = format_flops(target.budget_flops)
    if target.n_opt is None:
        return f"For {budget} FLOPs: no estimate."
    n_bounds = f" ({percent(fit.level)} interval {interval(target.n_opt_ci)})" if target.n_opt_ci else ""
    d_bounds = f" ({interval(target.d_opt_ci)})" if target.d_opt_ci else ""
    loss = f", loss {nats(target.loss)}" if target.loss is not None else ""
    return (
        f"For {budget} FLOPs: {count(target.n_opt)} parameters{n_bounds} on {count(target.d_opt)} tokens{d_bounds}, "
        f"{ratio(target.tokens_per_param)} tokens per parameter{loss}{_extrapolation(target, fit)}."
    )


def _extrapolation(target: Target, fit: SweepFit) -> str:
    found = fit.estimators.recommended
    if not target.extrapolation_decades or found is None:
        return ""
    side = "above the largest" if target.budget_flops > found.fitted_budgets[1] else "below the smallest"
    doubt = ", farther than this sweep's own forecasts held" if target.credible is False else ""
    return f"; an extrapolation, {target.extrapolation_decades:.1f} decades {side} fitted budget{doubt}"
