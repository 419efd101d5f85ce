"""Findings on noise: valleys that it could have made, budgets that differ in it, rows that err together."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from isoflop.finding import Finding, Severity
from isoflop.fit.estimators.parabola import Valley
from isoflop.fit.findings.evidence import Evidence, flops, per_budget
from isoflop.fit.intervals import student_quantile


def on_noise(seen: Evidence) -> Iterator[Finding]:
    """Valleys that noise could have made, unequal noise, and rows that err together."""
    yield from _on_flat_valleys(seen)
    yield from _on_replicates(seen)
    noise = seen.choice.noise if seen.choice else None
    if noise is None or seen.choice is None:
        return
    if noise.unequal:
        budgets = seen.choice.rows.budgets
        worst, best = int(np.argmax(noise.budget_sd)), int(np.argmin(noise.budget_sd))
        yield Finding(
            "unequal_noise",
            Severity.INFO,
            f"Runs scatter by {noise.budget_sd[worst]:.2g} nats at {flops(budgets[worst])} FLOPs and by "
            f"{noise.budget_sd[best]:.2g} at {flops(budgets[best])}; the recommended estimate weighs runs accordingly.",
            "If the noise changes steadily, do nothing; otherwise look at the noisiest budget for runs that did not "
            "train well.",
            {
                "budgets": budgets.tolist(),
                "residual_sd": noise.budget_sd.tolist(),
                "p_value": noise.unequal_p,
                "trend_per_decade": math.exp(noise.trend.slope / 2),
                "trend_p_value": noise.trend.p_value,
            },
        )
    yield from on_trunks(seen)


def on_trunks(seen: Evidence) -> Iterator[Finding]:
    """Runs that err together because they were one training at first."""
    choice = seen.choice
    shared = choice.noise or choice.surface if choice else None
    if shared is not None and shared.trunk_correlation is not None:
        yield Finding(
            "shared_trunks",
            Severity.INFO,
            f"Errors of runs that share a trunk have a correlation of {shared.trunk_correlation:.2f}; intervals allow "
            "for it.",
            "Train one of the branched runs from scratch to see whether branching moves the loss.",
            {"correlation": shared.trunk_correlation},
        )


def _on_flat_valleys(seen: Evidence) -> Iterator[Finding]:
    """Valleys whose bend the noise could have made; the delta method needs it to be well clear of zero."""
    if seen.noise is None:
        return
    limit = student_quantile(seen.question.level, seen.noise.degrees_of_freedom) * seen.noise.on_params
    flat = [
        valley.budget_flops
        for valley in seen.valleys
        if valley.floors
        and valley.on_params
        and valley.on_params.coefficients[2] <= limit * valley.on_params.curvature_spread
    ]
    outliers = seen.choice.outliers if seen.choice else ()
    bad = set(seen.rows.budget_flops[np.isin(seen.rows.index, outliers)].tolist())
    yield from per_budget(
        "flat_valley",
        Severity.WARNING,
        flat,
        f"Given the noise of the whole sweep, the curvature may be zero (level {seen.question.level:g}), so floor and "
        "interval cannot be trusted, at",
        "Look first at the runs that the recommended estimate sets aside there: they bend this parabola."
        if bad.intersection(flat)
        else "Widen the range of sizes to some 0.6 decades on either side, or repeat runs with other seeds.",
    )


def _on_replicates(seen: Evidence) -> Iterator[Finding]:
    """Valleys no deeper than what a new seed moves a loss by."""
    if seen.replicates is None:
        return
    shallow = [valley for valley in seen.valleys if valley.floors and _depth(valley) < seen.replicates.sd]
    one_sided = bool(shallow) and all(_depth(valley, max) >= seen.replicates.sd for valley in shallow)
    yield from per_budget(
        "noise_fills_valley",
        Severity.ERROR,
        [valley.budget_flops for valley in shallow],
        f"Runs that differ only in seed scatter by {seen.replicates.sd:.2g} nats, more than the depth of the valley, "
        "at",
        "The floor lies next to the end of its sizes: add sizes on that side."
        if one_sided
        else "Widen the range of sizes, evaluate on more tokens, or average several seeds per size.",
        replicate_sd=seen.replicates.sd,
        degrees_of_freedom=seen.replicates.degrees_of_freedom,
    )


def _depth(valley: Valley, end: Callable[[float, float], float] = min) -> float:
    """How far the parabola rises from its floor to the nearer end of the sizes (`max`: the farther), nats."""
    parabola = valley.on_params
    assert parabola and parabola.floor
    reached = end(parabola.floor.x - parabola.low, parabola.high - parabola.floor.x)
    return parabola.coefficients[2] * reached**2 if math.isfinite(reached) else 0.0
