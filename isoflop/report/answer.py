"""The answer to the sweep's question, in sentences."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isoflop.fit.estimators.choice import PARABOLA
from isoflop.fit.lines import MIN_PROFILES
from isoflop.fit.reading.narrow import PUBLISHED_EXPONENT
from isoflop.fit.results.estimators import Recommended
from isoflop.fit.results.profile import Profile, Vertex
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Target
from isoflop.report.fit_wording import ESTIMATOR, interval, nats, percent, power_law, power_law_of, same_law
from isoflop.units import format_flops
from isoflop.wording import count, ratio, runs

# A second reading that differs by less, 12 % of N, is not worth a sentence.
_NOTABLE_DECADES = 0.05


@dataclass(frozen=True)
class Answer:
    """The answer in sentences.

    Attributes:
        sentences: all of them, the law first and the targets last.
        decision: the one on the largest budget that has an estimate; the first where there is none.
    """

    sentences: tuple[str, ...]
    decision: str

    def and_then(self, more: Iterable[str]) -> "Answer":
        """The answer with further sentences after it."""
        return Answer((*self.sentences, *more), self.decision)


def answer(fit: SweepFit, targets: Sequence[Target], n_budgets: int, *, loss: str = "loss") -> Answer:
    """The recommended frontier with the parabola's beside it, and its reading at each target; without one, why not.

    `n_budgets` counts the budgets of the data, of which the fit may list fewer; `loss` is what its losses are called.
    """
    found = fit.estimators.recommended
    if found is None:
        refused = next((finding.message for finding in fit.findings if finding.code == "no_surface"), None)
        why = _no_frontier(_inside(fit), n_budgets) + (f" {refused}" if refused else "")
        return Answer((why, *(_floor(profile, fit.level) for profile in _inside(fit))), why)
    readings = [_reading(target, fit, loss) for target in targets]
    law = (
        f"Compute-optimal: N_opt = {power_law_of(found.n_line)} parameters, D_opt = {power_law_of(found.d_line)} "
        f"tokens (C in training FLOPs), by the {ESTIMATOR[found.estimator]} through {runs(found.estimate.n_used)}."
    )
    said = zip(targets, readings, strict=True)
    known = [(target.budget_flops, sentence) for target, sentence in said if target.n_opt is not None]
    second = [sentence for target in targets for sentence in _second_reading(target)]
    sentences = (law, *_parabola_law(fit, found, n_budgets), *readings, *second)
    return Answer(sentences, max(known)[1] if known else law)


def _parabola_law(fit: SweepFit, found: Recommended, n_budgets: int) -> tuple[str, ...]:
    """What the plain parabolas of all runs say, where that is something else."""
    parabola = fit.frontier
    if parabola is None or (found.estimator == PARABOLA and same_law(found.n_line, parabola.n_line)):
        return ()
    return (
        f"The parabola by budget gives: N_opt = {power_law(parabola.coef_n, parabola.exponent_a)} parameters, "
        f"D_opt = {power_law(parabola.coef_d, parabola.exponent_b)} tokens, "
        f"through the floors of {len(_inside(fit))} of {n_budgets} budgets.",
    )


def _inside(fit: SweepFit) -> list[Profile]:
    return [profile for profile in fit.profiles if profile.vertex is Vertex.INSIDE]


def _no_frontier(inside: Sequence[Profile], n_budgets: int) -> str:
    why = "too few" if len(inside) < MIN_PROFILES else "too near to each other"
    return (
        f"No compute-optimal frontier: {len(inside)} of {n_budgets} budgets "
        f"{'has' if len(inside) == 1 else 'have'} a floor inside the sizes trained, {why} for a power law."
    )


def _floor(profile: Profile, level: float) -> str:
    bounds = f" ({percent(level)} interval {interval(profile.n_opt_ci)})" if profile.n_opt_ci else ""
    return (
        f"At {format_flops(profile.budget_flops)} FLOPs alone: {count(profile.n_opt)} parameters{bounds} "
        f"on {count(profile.d_opt)} tokens."
    )


def _reading(target: Target, fit: SweepFit, loss_name: str) -> str:
    budget = format_flops(target.budget_flops)
    if target.n_opt is None:
        return f"For {budget} FLOPs: no estimate."
    n_bounds = f" ({percent(fit.level)} interval {interval(target.n_opt_ci)})" if target.n_opt_ci else ""
    d_bounds = f" ({interval(target.d_opt_ci)})" if target.d_opt_ci else ""
    loss = f", {loss_name} {nats(target.loss)}{_loss_interval(target)}" if target.loss is not None else ""
    return (
        f"For {budget} FLOPs: {count(target.n_opt)} parameters{n_bounds} on {count(target.d_opt)} tokens{d_bounds}, "
        f"{ratio(target.tokens_per_param)} tokens per parameter{loss}{_extrapolation(target, fit)}."
    )


def _loss_interval(target: Target) -> str:
    return f" ({interval(target.loss_ci, nats)})" if target.loss_ci else ""


def _second_reading(target: Target) -> tuple[str, ...]:
    """The reading by a shrunk slope, where it is notably another; never in place of the first."""
    if not target.n_opt or not target.n_opt_shrunk or not target.d_opt_shrunk:
        return ()
    if abs(math.log10(target.n_opt_shrunk / target.n_opt)) < _NOTABLE_DECADES:
        return ()
    return (
        f"A second reading for {format_flops(target.budget_flops)} FLOPs, with the exponent a shrunk towards "
        f"{PUBLISHED_EXPONENT:g} beyond the largest fitted budget: {count(target.n_opt_shrunk)} parameters on "
        f"{count(target.d_opt_shrunk)} tokens. On most published sweeps it was the nearer one.",
    )


def _extrapolation(target: Target, fit: SweepFit) -> str:
    found = fit.estimators.recommended
    if not target.extrapolation_decades or found is None:
        return ""
    side = "above the largest" if target.budget_flops > found.fitted_budgets[1] else "below the smallest"
    doubt = ""
    if target.credible is False:
        doubt = ", farther out than this sweep's own forecasts proved right"
    elif target.loss_credible is False:
        doubt = ", farther out than this sweep's own forecasts of losses proved right"
    return f"; an extrapolation, {target.extrapolation_decades:.1f} decades {side} fitted budget{doubt}"
