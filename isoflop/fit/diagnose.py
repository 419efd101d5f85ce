"""Findings: what a reader should know before believing a fit."""

from collections.abc import Iterator, Sequence

from isoflop.finding import Finding, Severity
from isoflop.fit.frontier import MIN_PROFILES
from isoflop.fit.intervals import Noise, student_quantile
from isoflop.fit.profile import MIN_POINTS, Valley
from isoflop.fit.types import Frontier, Profile, Target, Vertex

# With 5 sizes or fewer a parabola leaves too little to see a bad run or a skew by. All but one of the published
# budgets in tests/data have 6 rows or more.
RECOMMENDED_SIZES = 6
# Two points always lie on a line: the third is the first that tests the power law.
RECOMMENDED_PROFILES = 3
# Later budgets of published sweeps were missed by about 0.1 decades up to here and 0.2 to 0.3 beyond
# (measured on published sweeps, see docs/decisions.md).
FAR_DECADES = 1.0
# A floor outside the middle of its sizes is where a skewed valley biases a parabola most (docs/decisions.md).
CENTRAL_SHARE = 0.6
# As many budgets as a message still names; the values of a finding name more.
_MAX_NAMED = 6
_MAX_LISTED = 50


def diagnose(
    *,
    valleys: Sequence[Valley],
    profiles: Sequence[Profile],
    noise: Noise | None,
    frontier: Frontier | None,
    targets: Sequence[Target],
    level: float,
) -> tuple[Finding, ...]:
    """All findings of a fit; `profiles` are those listed of `valleys`, in the same order."""
    if all(valley.vertex is Vertex.TOO_FEW for valley in valleys):
        return (_no_profiles(len(valleys), len(profiles)), *_on_targets(targets, frontier))
    return (
        *_on_coverage(valleys),
        *_on_shape(valleys),
        *_on_noise(valleys, noise, level),
        *_on_frontier(valleys, frontier),
        *_on_targets(targets, frontier),
        *_on_intervals(profiles, targets),
    )


def _no_profiles(n_budgets: int, n_listed: int) -> Finding:
    return Finding(
        "no_profiles",
        Severity.ERROR,
        f"No budget of {n_budgets} has {MIN_POINTS} runs of 3 sizes and 3 token counts, as its parabolas need.",
        "Train more sizes per budget; rows of a table belong together where their budget_flops are exactly equal.",
        {"n_budgets": n_budgets, "n_listed": n_listed},
    )


def _on_coverage(valleys: Sequence[Valley]) -> Iterator[Finding]:
    """Budgets with too few runs or sizes."""
    yield from _per_budget(
        "too_few_runs",
        Severity.WARNING,
        [valley for valley in valleys if valley.vertex is Vertex.TOO_FEW],
        f"Fewer than {MIN_POINTS} runs, or fewer than 3 sizes or token counts, at",
        "These budgets are left out of the frontier: complete their runs or add sizes.",
    )
    yield from _per_budget(
        "few_sizes",
        Severity.WARNING,
        [valley for valley in valleys if valley.vertex is not Vertex.TOO_FEW and valley.n_sizes < RECOMMENDED_SIZES],
        f"Fewer than {RECOMMENDED_SIZES} sizes, too few to see a bad run or a skewed valley, at",
        f"Add sizes until there are {RECOMMENDED_SIZES} or more.",
    )


def _on_shape(valleys: Sequence[Valley]) -> Iterator[Finding]:
    """Valleys whose floor is not inside, or inside and far from the middle."""
    for vertex, side, more in (
        (Vertex.BELOW, "smaller models (more tokens)", "smaller"),
        (Vertex.ABOVE, "larger models (fewer tokens)", "larger"),
    ):
        yield from _per_budget(
            "unbracketed",
            Severity.WARNING,
            [valley for valley in valleys if valley.vertex is vertex],
            f"The floor lies outside the runs, towards {side}, at",
            f"These budgets are left out of the frontier: add {more} models.",
            side=str(vertex),
        )
    yield from _per_budget(
        "concave",
        Severity.WARNING,
        [valley for valley in valleys if valley.vertex is Vertex.CONCAVE],
        "The parabola has no minimum at",
        "These budgets are left out of the frontier: look for runs that did not train well, and widen the sizes.",
    )
    yield from _per_budget(
        "off_centre",
        Severity.INFO,
        [valley for valley in valleys if _is_off_centre(valley)],
        f"The floor lies outside the middle {CENTRAL_SHARE:.0%} of the sizes, in log N, at",
        "A skewed valley biases such a floor most: centre the sizes of a further run of these budgets on it.",
    )


def _is_off_centre(valley: Valley) -> bool:
    if valley.floors is None or valley.on_params is None:
        return False
    low, high = valley.on_params.low, valley.on_params.high
    return abs(valley.floors[0].x - (low + high) / 2) > CENTRAL_SHARE * (high - low) / 2


def _on_noise(valleys: Sequence[Valley], noise: Noise | None, level: float) -> Iterator[Finding]:
    """Valleys whose bend the noise could have made; the delta method needs it to be well clear of zero."""
    if noise is None:
        return
    limit = student_quantile(level, noise.degrees_of_freedom) * noise.on_params
    yield from _per_budget(
        "flat_valley",
        Severity.WARNING,
        [
            valley
            for valley in valleys
            if valley.floors
            and valley.on_params
            and valley.on_params.coefficients[2] <= limit * valley.on_params.curvature_spread
        ],
        f"Against the noise of the whole sweep the curvature is not clear of zero (level {level:g}), so floor and "
        "interval mean little, at",
        "Widen the sizes or repeat runs with other seeds.",
    )


def _on_frontier(valleys: Sequence[Valley], frontier: Frontier | None) -> Iterator[Finding]:
    """No frontier, or one through too few budgets to be tested."""
    n_inside = sum(valley.vertex is Vertex.INSIDE for valley in valleys)
    values = {"n_inside": n_inside, "n_budgets": len(valleys)}
    if n_inside < RECOMMENDED_PROFILES:
        yield Finding(
            "few_budgets",
            Severity.ERROR if n_inside < MIN_PROFILES else Severity.WARNING,
            f"{n_inside} of {len(valleys)} budgets have their floor inside their sizes; "
            f"a frontier needs {MIN_PROFILES} and is tested only by {RECOMMENDED_PROFILES} or more.",
            "Add budgets, or sizes on the side where the floor is missing.",
            values,
        )
    if frontier is None and n_inside >= MIN_PROFILES:
        yield Finding(
            "no_frontier",
            Severity.ERROR,
            f"The {n_inside} budgets with a floor lie too close together for a power law.",
            "Spread the budgets over at least a decade; rows of a table belong together where their budget_flops are "
            "exactly equal.",
            values,
        )


def _on_targets(targets: Sequence[Target], frontier: Frontier | None) -> Iterator[Finding]:
    """Targets without an answer, far away, or answered without a loss."""
    for target in targets:
        beyond = target.extrapolation_decades
        if target.n_opt is None or target.d_opt is None:
            yield Finding(
                "no_target",
                Severity.ERROR,
                f"Nothing can be said about {_flops(target.budget_flops)} FLOPs: "
                + ("there is no frontier." if frontier is None else "the frontier leaves the range of a float there."),
                "See the other findings." if frontier is None else "Ask for a budget nearer to the fitted ones.",
                {"budget_flops": target.budget_flops},
            )
        elif beyond is not None and beyond > FAR_DECADES:
            yield Finding(
                "far_extrapolation",
                Severity.WARNING,
                f"{_flops(target.budget_flops)} FLOPs is {beyond:.1f} decades beyond the fitted budgets.",
                f"Add a budget within {FAR_DECADES:g} decade of it: farther floors of published sweeps were missed by "
                "0.2 decades or more.",
                {"budget_flops": target.budget_flops, "extrapolation_decades": beyond},
            )
    if any(target.n_opt is not None for target in targets):
        yield Finding(
            "loss_not_fitted",
            Severity.INFO,
            "The loss at a target is left empty: no law of the loss is fitted.",
            "Compare the floors of the fitted budgets instead.",
        )


def _on_intervals(profiles: Sequence[Profile], targets: Sequence[Target]) -> Iterator[Finding]:
    """Answers whose interval is wider than a float can say."""
    answers: tuple[Profile | Target, ...] = (*profiles, *targets)
    unbounded = [
        answer.budget_flops
        for answer in answers
        if answer.n_opt is not None and answer.d_opt is not None and None in (answer.n_opt_ci, answer.d_opt_ci)
    ]
    if unbounded:
        yield Finding(
            "no_interval",
            Severity.WARNING,
            f"An interval is left empty, its ends being beyond the range of a float, at {_name_budgets(unbounded)}.",
            "The valleys are too flat for their noise: widen the sizes or repeat runs with other seeds.",
            {"budgets": unbounded[:_MAX_LISTED], "n_budgets": len(unbounded)},
        )


def _per_budget(
    code: str, severity: Severity, valleys: Sequence[Valley], message: str, hint: str, **values: object
) -> Iterator[Finding]:
    """One finding for all budgets it applies to, if any; `message` is finished with their names."""
    if valleys:
        budgets = [valley.budget_flops for valley in valleys]
        yield Finding(
            code,
            severity,
            f"{message} {_name_budgets(budgets)}.",
            hint,
            {**values, "budgets": budgets[:_MAX_LISTED], "n_budgets": len(budgets)},
        )


def _name_budgets(budgets: Sequence[float]) -> str:
    names = ", ".join(_flops(budget) for budget in budgets[:_MAX_NAMED])
    more = f" and {len(budgets) - _MAX_NAMED} more" if len(budgets) > _MAX_NAMED else ""
    return f"{names}{more} FLOPs"


def _flops(budget_flops: float) -> str:
    """As everywhere in isoflop: `1.00e19`."""
    mantissa, exponent = f"{budget_flops:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"
