"""Findings on the answers: how far they reach, and which are missing."""

import math
from collections.abc import Iterator, Sequence

from isoflop.finding import Finding, Severity
from isoflop.fit.design.advice import LITTLE_GAIN, narrowed_by
from isoflop.fit.estimators.choice import SURFACE, Choice
from isoflop.fit.findings.evidence import MAX_LISTED, Evidence, flops, name_budgets
from isoflop.fit.reading.narrow import NARROW_DECADES
from isoflop.fit.results.profile import Profile
from isoflop.fit.results.target import Suggestion, Target

# Later budgets of published sweeps were missed by about 0.1 decades up to here and 0.2 to 0.3 beyond
# (measured on published sweeps, see docs/decisions.md).
FAR_DECADES = 1.0
# Second opinions that differ by more than this were followed by misses most often (docs/decisions.md).
NOTABLE_DECADES = 0.1


def on_targets(seen: Evidence) -> Iterator[Finding]:
    """Targets without an answer, far away, beyond what the scorecard shows, or answered without a loss."""
    for target in seen.targets:
        yield from _on_target(seen, target)
    answered = [target for target in seen.targets if target.n_opt is not None]
    if any(target.loss is None for target in answered):
        yield Finding(
            "loss_not_fitted",
            Severity.INFO,
            "The loss at a target is left empty: no law of the loss could be fitted.",
            "Compare the floors of the fitted budgets instead, or add budgets: the law has three constants.",
        )
    if seen.choice and seen.choice.estimator == SURFACE:
        yield Finding(
            "surface_only",
            Severity.WARNING,
            "The frontier is that of the surface alone, and these runs cannot test its shape.",
            "To test it, train two budgets of six sizes each, with the floor inside the sizes.",
        )


def on_window(seen: Evidence) -> Iterator[Finding]:
    """Forecasts that the runs near the floors alone would make otherwise."""
    if seen.choice is None or seen.narrow is None:
        return
    budgets = [target.budget_flops for target in seen.targets] or list(seen.outlook)
    apart = {budget: _apart(seen.choice, seen.narrow, budget) for budget in budgets}
    far = {budget: decades for budget, decades in apart.items() if abs(decades) > NOTABLE_DECADES}
    if far:
        worst = max(far, key=lambda budget: abs(far[budget]))
        yield Finding(
            "window_disagrees",
            Severity.WARNING,
            f"Runs within {NARROW_DECADES:g} decades of their budget's best give another N_opt by more than "
            f"{NOTABLE_DECADES:g} decades at {name_budgets(list(far))}: the recommended one is "
            f"{10 ** abs(far[worst]):.2f} times as {'large' if far[worst] > 0 else 'small'} at {flops(worst)}.",
            f"Compare with --window {NARROW_DECADES:g}: where the two differed that much on published sweeps, 9 of 10 "
            "forecasts from all runs were off by more than 0.1 decades, those within the window by a third as much.",
            {
                "budgets": list(far)[:MAX_LISTED],
                "decades_apart": list(far.values())[:MAX_LISTED],
                "n_budgets": len(far),
                "window_decades": NARROW_DECADES,
            },
        )


def _apart(choice: Choice, narrow: Choice, budget_flops: float) -> float:
    """By how many decades the N_opt of `choice` exceeds that of `narrow`."""
    log_c = math.log10(budget_flops)
    return choice.on_params.at(log_c)[0] - narrow.on_params.at(log_c)[0]


def on_scorecard(seen: Evidence) -> Iterator[Finding]:
    """How far ahead the sweep's earlier budgets saw its later ones."""
    if not seen.scorecard or seen.credible_decades is None:
        return
    held = sum(forecast.held for forecast in seen.scorecard)
    farthest = max(forecast.decades for forecast in seen.scorecard)
    values = {
        "credible_decades": seen.credible_decades,
        "n_forecasts": len(seen.scorecard),
        "n_held": held,
        "farthest_decades": farthest,
    }
    if seen.credible_decades < farthest:
        yield Finding(
            "scorecard_missed",
            Severity.INFO,
            f"{held} of {len(seen.scorecard)} floors fell, within their own errors, inside the interval predicted from "
            f"cheaper budgets; predictions were right up to {seen.credible_decades:.1f} decades ahead (a factor of "
            f"{10**seen.credible_decades:.1f}).",
            "Do not extrapolate farther than that on the strength of this sweep; add a budget nearer to the target.",
            values,
        )
    else:
        yield Finding(
            "credible_extrapolation",
            Severity.INFO,
            f"{held} of {len(seen.scorecard)} floors fell, within their own errors, inside the interval predicted from "
            f"cheaper budgets, up to {farthest:.1f} decades ahead (a factor of {10**farthest:.1f}).",
            "This sweep gives no evidence for extrapolations farther than that.",
            values,
        )


def on_suggestions(seen: Evidence) -> Iterator[Finding]:
    """Suggestions that were asked for and are not there, or tell next to nothing."""
    if seen.unanswered_suggestions:
        why, hint = _why_nothing(seen)
        yield Finding(
            "nothing_to_suggest",
            Severity.INFO,
            f"{seen.unanswered_suggestions} of the runs asked for cannot be suggested: {why}",
            hint,
            {"missing": seen.unanswered_suggestions},
        )
    elif seen.suggested:
        yield from _on_gain(seen, seen.suggested)


def _why_nothing(seen: Evidence) -> tuple[str, str]:
    """Why runs cannot be suggested, and what to do about it."""
    if seen.choice is None or seen.choice.joint is None:
        return (
            "the runs do not determine one valley for all budgets, from which runs are chosen.",
            "Two budgets with a floor inside six sizes each, and positive losses, are enough for a joint valley.",
        )
    if seen.question.max_hours is not None:
        return (
            f"no further run that narrows the interval at the target fits into {seen.question.max_hours:g} "
            "device-hours.",
            "Allow more hours, or ask for fewer runs.",
        )
    if seen.question.targets and seen.question.targets[0] <= seen.choice.fitted_budgets[0]:
        return (
            "runs are suggested below the target alone, and no fitted budget lies there.",
            "Ask for a target above the smallest fitted budget.",
        )
    return (
        "no further run that can be trained would narrow the interval at the target.",
        "Train the planned runs first, or ask for another target."
        if seen.question.planned
        else "Ask for a target farther from the fitted budgets, or for fewer runs.",
    )


def _on_gain(seen: Evidence, suggested: Sequence[Suggestion]) -> Iterator[Finding]:
    """Whether the suggested runs narrow the interval at the target."""
    first, last = suggested[0], suggested[-1]
    narrowed = narrowed_by(suggested)
    if narrowed >= LITTLE_GAIN:
        return
    yield Finding(
        "little_to_gain",
        Severity.INFO,
        f"The suggested runs ({len(suggested)}) narrow the interval at {flops(first.target_flops)} FLOPs by "
        f"only {narrowed:.1%}.",
        _what_would_gain(seen, first, last),
        {
            "target_flops": first.target_flops,
            "half_width_before": first.half_width_before,
            "half_width": last.half_width,
            "half_width_statistical": last.half_width_statistical,
        },
    )


def _what_would_gain(seen: Evidence, first: Suggestion, last: Suggestion) -> str:
    """What narrows the interval, which has been tried; or why nothing does."""
    advice, hours = seen.advice, seen.question.max_hours
    inside = first.target_flops <= seen.largest_planned
    cause = (
        "Noise is a large part of the remaining interval"
        if last.half_width_statistical > last.half_width / 2
        else f"Most of the remaining interval is model error{'' if inside else ' of the extrapolation'}"
    )
    if advice and advice.count:
        return f"{cause}: ask for {advice.count} runs or more{'' if hours is None else ', and allow more hours'}."
    if advice and advice.budget_flops:
        return f"{cause}: add to the sweep file a budget nearer to the target, {flops(advice.budget_flops)} FLOPs."
    return f"{cause}, which more runs of this sweep do not lessen."


def _on_target(seen: Evidence, target: Target) -> Iterator[Finding]:
    beyond = target.extrapolation_decades
    if target.n_opt is None or target.d_opt is None:
        yield Finding(
            "no_target",
            Severity.ERROR,
            f"There is no estimate for {flops(target.budget_flops)} FLOPs: "
            + (
                ("neither valleys nor the surface" if seen.without_valleys else "the valleys do not")
                + " give a frontier."
                if seen.choice is None
                else "the frontier leaves the range of floating-point numbers there."
            ),
            "See the other findings." if seen.choice is None else "Ask for a budget nearer to the fitted ones.",
            {"budget_flops": target.budget_flops},
        )
    elif beyond is not None and beyond > FAR_DECADES:
        yield Finding(
            "far_extrapolation",
            Severity.WARNING,
            f"{flops(target.budget_flops)} FLOPs is {beyond:.1f} decades beyond the fitted budgets.",
            f"Add a budget within {FAR_DECADES:g} decade of this target: on published sweeps, predictions of farther "
            "floors were off by 0.2 decades or more.",
            {"budget_flops": target.budget_flops, "extrapolation_decades": beyond},
        )


def on_intervals(seen: Evidence) -> Iterator[Finding]:
    """Answers whose interval is wider than a float can say."""
    answers: tuple[Profile | Target, ...] = (*seen.profiles, *seen.targets)
    unbounded = [
        answer.budget_flops
        for answer in answers
        if answer.n_opt is not None and answer.d_opt is not None and None in (answer.n_opt_ci, answer.d_opt_ci)
    ]
    if unbounded:
        yield Finding(
            "no_interval",
            Severity.WARNING,
            "An interval is empty because its ends leave the range of floating-point numbers, at "
            f"{name_budgets(unbounded)}.",
            "The valleys are too flat for their noise: widen the range of sizes, or repeat runs with other seeds.",
            {"budgets": unbounded[:MAX_LISTED], "n_budgets": len(unbounded)},
        )
