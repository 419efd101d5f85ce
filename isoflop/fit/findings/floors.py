"""Findings on the valleys: where floors lie among the sizes, and what skew and drift do to the parabola."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from isoflop.finding import Finding, Severity
from isoflop.fit.estimators.joint import JointFit
from isoflop.fit.estimators.parabola import Valley, budget_floors, find_valleys
from isoflop.fit.findings.evidence import Evidence, flops, per_budget
from isoflop.fit.intervals import FIVE_PERCENT, Noise, student_quantile
from isoflop.fit.lines import fit_lines
from isoflop.fit.results.profile import Vertex
from isoflop.fit.rows import Rows

# A floor outside the middle of its sizes is where a skewed valley biases a parabola most (docs/fitting.md).
CENTRAL_SHARE = 0.6
# A grid that moves by this much of a decade against its floors per decade of compute bends the exponent of a skewed
# valley by about 0.01 (arXiv 2603.22339, and measured on simulated sweeps, docs/fitting.md).
DRIFT_PER_DECADE = 0.1
# A bias of N_opt below this is less than a size step of any grid: 5 % of N.
SMALL_BIAS_DECADES = FIVE_PERCENT
# A floor that would take more sizes than a whole grid has is not bracketed by adding some.
MOST_TO_ADD = 10
# Of an exponent, what shows in its second digit.
NOTABLE_BIAS = 0.005


def on_floors(seen: Evidence) -> Iterator[Finding]:
    """Valleys whose floor is not inside, or inside and far from the middle; centres that drift; skew."""
    for vertex, side, more in (
        (Vertex.BELOW, "smaller models (more tokens)", "smaller"),
        (Vertex.ABOVE, "larger models (fewer tokens)", "larger"),
    ):
        outside = [valley for valley in seen.valleys if valley.vertex is vertex]
        to_add = [_sizes_to_add(valley, seen) for valley in outside]
        yield from per_budget(
            "unbracketed",
            Severity.WARNING,
            [valley.budget_flops for valley in outside],
            f"The floor lies outside the runs, towards {side}, at",
            f"These budgets are left out of the frontier: {_how_to_bracket(to_add, more)}",
            side=str(vertex),
            sizes_to_add=to_add,
        )
    yield from per_budget(
        "concave",
        Severity.WARNING,
        [valley.budget_flops for valley in seen.valleys if valley.vertex is Vertex.CONCAVE],
        "The parabola has no minimum at",
        "These budgets are left out of the frontier: look for runs that did not train well, and widen the range of "
        "sizes.",
    )
    yield from per_budget(
        "off_centre",
        Severity.INFO,
        [valley.budget_flops for valley in seen.valleys if _is_off_centre(valley)],
        f"The floor lies outside the middle {CENTRAL_SHARE:.0%} of the sizes, in log N, at",
        "A skewed valley biases such a floor most: centre the sizes of further runs at these budgets on the floor.",
    )
    yield from _on_bias(seen)


def _how_to_bracket(to_add: Sequence[int | None], more: str) -> str:
    """How many sizes to add, as far as that is known and not absurd."""
    known = [number for number in to_add if number is not None]
    if not known:
        return f"add {more} models."
    if max(known) > MOST_TO_ADD:
        return (
            f"their sizes are far from the floor; move the grid towards {more} models, or check how these runs trained."
        )
    return f"add {max(known)} {more} model{'s' if max(known) > 1 else ''}, with the spacing of the other sizes."


def _sizes_to_add(valley: Valley, seen: Evidence) -> int | None:
    """How many sizes, spaced as the budget's others, bracket the floor with one to spare; None where it is unknown.

    The recommended frontier says where the floor is; where it too lies inside the sizes, one more size is asked for.
    """
    parabola = valley.on_params
    if seen.choice is None or parabola is None or valley.n_sizes < 2:
        return None
    floor, _ = seen.choice.on_params.at(math.log10(valley.budget_flops))
    spacing = (parabola.high - parabola.low) / (valley.n_sizes - 1)
    missing = parabola.low - floor if valley.vertex is Vertex.BELOW else floor - parabola.high
    return max(1, min(math.ceil(missing / spacing), 50) + 1)


def _is_off_centre(valley: Valley) -> bool:
    if valley.floors is None or valley.on_params is None:
        return False
    low, high = valley.on_params.low, valley.on_params.high
    return abs(valley.floors[0].x - (low + high) / 2) > CENTRAL_SHARE * (high - low) / 2


def _on_bias(seen: Evidence) -> Iterator[Finding]:
    """What the parabola would make of the joint valley itself, free of noise: its bias, by skew and by drift."""
    if seen.joint is None or seen.frontier is None or seen.choice is None or seen.choice.joint is None:
        return
    drift, drift_half = _drift(seen) or (None, None)
    bias = parabola_bias(seen.rows, seen.choice.joint)
    if bias is None:
        return
    on_exponent, at_largest, largest = bias
    below, above = np.exp(seen.choice.joint.valley.theta[4:]).tolist()
    values = {
        "bias_exponent_a": on_exponent,
        "bias_log10_n_opt_at_largest": at_largest,
        "exponent_below": below,
        "exponent_above": above,
        "drift_per_decade": drift,
        "drift_half_width": drift_half,
    }
    if drift is not None and drift_half is not None and abs(drift) > max(DRIFT_PER_DECADE, drift_half):
        yield Finding(
            "drifting_centre",
            Severity.WARNING if abs(on_exponent) > NOTABLE_BIAS else Severity.INFO,
            f"The centres of the grids drift from the floors by {drift:+.2f} ± {drift_half:.2f} decades per decade of "
            f"compute; with the skew of this valley the drift moves the parabola's exponent a by {on_exponent:+.3f}.",
            "Centre every budget on the floors found so far (`fit --suggest`), or quote the recommended exponent, "
            "which allows for the skew.",
            values,
        )
    half = _interval_half(seen)
    if abs(at_largest) > max(SMALL_BIAS_DECADES, half / 2):
        yield Finding(
            "skewed_valley",
            Severity.WARNING if abs(at_largest) > half else Severity.INFO,
            f"The valley is skewed (the loss rises with exponent {below:.2f} towards small and {above:.2f} towards "
            f"large models): on these sizes a parabola puts N_opt at {flops(largest)} FLOPs "
            f"{abs(10**at_largest - 1):.0%} too {'high' if at_largest > 0 else 'low'}.",
            "Quote the recommended estimate, or narrow the range of sizes: the bias falls with the square of its "
            "width.",
            values,
        )


def parabola_bias(rows: Rows, joint: JointFit) -> tuple[float, float, float] | None:
    """What parabolas on noise-free losses of the joint valley at the sweep's own sizes miss: of a, and of log10 N_opt.

    The second is at the largest budget of the parabolas' frontier, which comes third, FLOPs. None where there is none.
    """
    valley = joint.valley
    above = valley.above_floor(np.log10(rows.n_params), np.log10(rows.budget_flops))
    exact = dataclasses.replace(rows, loss=above - above.min() + 1.0)
    floors = budget_floors(find_valleys(exact))
    lines = fit_lines(floors, Noise(1.0, 1.0, 1))
    if lines is None or not np.isfinite(above).all():
        return None
    log_c = math.log10(floors[-1].budget_flops)
    true = valley.line.at(log_c)[0]
    return lines[0].slope - valley.line.slope, lines[0].at(log_c)[0] - true, floors[-1].budget_flops


def _drift(seen: Evidence) -> tuple[float, float] | None:
    """By how much the middle of the sizes moves against the floors, decades per decade, with its half-width.

    The sizes are what they are; the error is that of the floors' slope. None with fewer than three.
    """
    inside = [valley for valley in seen.valleys if valley.floors and valley.on_params]
    if len(inside) < 3:
        return None
    log_c = np.log10([valley.budget_flops for valley in inside])
    off = [(v.on_params.low + v.on_params.high) / 2 - v.floors[0].x for v in inside if v.on_params and v.floors]
    lever = log_c - log_c.mean()
    if lever @ lever <= 0 or seen.frontier is None:
        return None
    low, high = seen.frontier.exponent_a_ci
    return float(lever @ np.array(off) / (lever @ lever)), (high - low) / 2


def _interval_half(seen: Evidence) -> float:
    """Half-width of the recommended statistical interval of log10 N_opt at the largest budget, decades."""
    assert seen.choice
    _, variance = seen.choice.on_params.at(math.log10(seen.choice.fitted_budgets[1]))
    return student_quantile(seen.question.level, seen.choice.degrees_of_freedom) * math.sqrt(variance)
