"""The answer to the sweep's question, in sentences."""

import math
from collections.abc import Sequence

from isoflop.fit.types import Profile, SweepFit, Target, Vertex
from isoflop.report.wording import interval, percent, power_law
from isoflop.units import format_flops
from isoflop.view.wording import count, ratio

# A sweep is run to decide on a larger training; where no budget is asked for, one decade is a modest step.
DEFAULT_STEP = 10.0


def default_budgets(fit: SweepFit) -> tuple[float, ...]:
    """Where to read the frontier when no target is asked for: its largest budget and ten times that."""
    inside = _inside(fit)
    if fit.frontier is None:
        return ()
    largest = inside[-1].budget_flops
    return tuple(budget for budget in (largest, DEFAULT_STEP * largest) if math.isfinite(budget))


def answer_sentences(fit: SweepFit, targets: Sequence[Target], n_budgets: int) -> tuple[str, ...]:
    """The frontier and its reading at each target; without a frontier, why there is none and what is known.

    `n_budgets` counts the budgets of the data, of which the fit may list fewer.
    """
    if fit.frontier is None:
        return _no_frontier(len(_inside(fit)), n_budgets), *(_floor(profile, fit.level) for profile in _inside(fit))
    budgets = [profile.budget_flops for profile in _inside(fit)]
    law = (
        f"Compute-optimal: N_opt = {power_law(fit.frontier.coef_n, fit.frontier.exponent_a)} parameters, "
        f"D_opt = {power_law(fit.frontier.coef_d, fit.frontier.exponent_b)} tokens (C in training FLOPs), "
        f"through the floors of {len(budgets)} of {n_budgets} budgets."
    )
    return law, *(_reading(target, budgets, fit.level) for target in targets)


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


def _reading(target: Target, budgets: Sequence[float], level: float) -> str:
    budget = format_flops(target.budget_flops)
    if target.n_opt is None:
        return f"For {budget} FLOPs: no estimate."
    n_bounds = f" ({percent(level)} interval {interval(target.n_opt_ci)})" if target.n_opt_ci else ""
    d_bounds = f" ({interval(target.d_opt_ci)})" if target.d_opt_ci else ""
    return (
        f"For {budget} FLOPs: {count(target.n_opt)} parameters{n_bounds} on {count(target.d_opt)} tokens{d_bounds}, "
        f"{ratio(target.tokens_per_param)} tokens per parameter{_extrapolation(target, budgets)}."
    )


def _extrapolation(target: Target, budgets: Sequence[float]) -> str:
    if not target.extrapolation_decades:
        return ""
    side = "above the largest" if target.budget_flops > budgets[-1] else "below the smallest"
    return f"; an extrapolation, {target.extrapolation_decades:.1f} decades {side} fitted budget"
