"""Findings on what was trained: budgets, sizes, widths."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from isoflop.finding import Finding, Severity
from isoflop.fit.estimators.choice import spread
from isoflop.fit.estimators.parabola import MIN_POINTS, Valley, budget_floors
from isoflop.fit.findings.evidence import Evidence, per_budget
from isoflop.fit.lines import MIN_PROFILES
from isoflop.fit.results.profile import Vertex
from isoflop.fit.rows import FEWEST_IN_WINDOW, WIDE_REACH, Rows, cost_scatter, in_window, reach, read_cost

# With 5 sizes or fewer a parabola leaves too little to see a bad run or a skew by. All but one of the published
# budgets in tests/data have 6 rows or more.
RECOMMENDED_SIZES = 6
# Digitised tables scatter by some per cent (tests/data: 4 % at most); beyond this the columns do not belong together.
UNRELATED_TOKENS = 0.3
# Neighbours within this factor may have been planned as one budget; those of published sweeps are 1.6 times apart.
NEAR_BUDGETS = 1.05
# Two points always lie on a line: the third is the first that tests the power law.
RECOMMENDED_PROFILES = 3


def on_coverage(seen: Evidence) -> Iterator[Finding]:
    """Budgets with too few runs or sizes, a sweep with too few budgets, grids that reach too far."""
    yield from per_budget(
        "too_few_runs",
        Severity.WARNING,
        [valley.budget_flops for valley in seen.valleys if valley.vertex is Vertex.TOO_FEW],
        f"Fewer than {MIN_POINTS} runs, or fewer than 3 sizes or token counts, at",
        "These budgets are left out of the frontier: complete their runs or add sizes.",
    )
    yield from per_budget(
        "few_sizes",
        Severity.WARNING,
        [valley.budget_flops for valley in seen.valleys if _has_few_sizes(valley)],
        f"Fewer than {RECOMMENDED_SIZES} sizes, too few to see a bad run or a skewed valley, at",
        f"Add sizes until there are {RECOMMENDED_SIZES} or more.",
    )
    yield from _on_frontier(seen)
    yield from _on_width(seen)


def no_profiles(seen: Evidence) -> Finding:
    """What is said of rows that no budget groups."""
    return Finding(
        "no_profiles",
        Severity.ERROR,
        f"None of {len(seen.valleys)} budgets has the {MIN_POINTS} runs, 3 sizes and 3 token counts that a parabola "
        "needs."
        + (f" Only the first {len(seen.profiles)} are listed." if len(seen.profiles) < len(seen.valleys) else ""),
        "Train more sizes per budget; where FLOPs of one budget differ, --budget-tolerance or --budgets groups them.",
        {"n_budgets": len(seen.valleys), "n_listed": len(seen.profiles)},
    )


def on_near_budgets(seen: Evidence) -> Iterator[Finding]:
    """Budgets too small to fit that would be one budget, were it not for their last digits."""
    groups = [group for group in _near(seen.valleys) if _would_be_one(group, seen.rows)]
    lone = [valley for valley in seen.valleys if _is_lone(valley)]
    joined = [valley for group in groups for valley in group if _is_lone(valley)]
    if _rows_of(joined) <= _rows_of(lone) / 2:
        return
    n_budgets = sum(len(group) for group in groups)
    widest = max(group[-1].budget_flops / group[0].budget_flops for group in groups)
    example = next(pair for pair in itertools.pairwise(groups[0]) if any(_is_lone(valley) for valley in pair))
    yield Finding(
        "near_budgets",
        Severity.WARNING,
        f"{n_budgets} budgets would be {len(groups)} if budgets that differ by {100 * (widest - 1):.2g} % or less "
        f"counted as one, such as {example[0].budget_flops!r} and {example[1].budget_flops!r} FLOPs.",
        "Give --budget-tolerance 0.05, name them with --budgets C1,C2,..., or write planned FLOPs into budget_flops.",
        {"n_budgets": n_budgets, "n_groups": len(groups), "largest_ratio": widest},
    )


def _near(valleys: Sequence[Valley]) -> Iterator[Sequence[Valley]]:
    """Budgets that lie close together, and apart from all others."""
    cuts = [
        place
        for place, (one, next_one) in enumerate(itertools.pairwise(valleys), 1)
        if next_one.budget_flops > NEAR_BUDGETS * one.budget_flops
    ]
    for begin, end in itertools.pairwise(sorted({0, *cuts, len(valleys)})):
        if valleys[end - 1].budget_flops <= NEAR_BUDGETS**2 * valleys[begin].budget_flops:
            yield valleys[begin:end]


def _would_be_one(group: Sequence[Valley], rows: Rows) -> bool:
    """Whether budgets, some of them too small to fit, have sizes enough for a valley together."""
    if len(group) < 2 or not any(_is_lone(valley) for valley in group):
        return False
    begin = np.searchsorted(rows.budget_flops, group[0].budget_flops)
    sizes = rows.n_params[begin : begin + _rows_of(group)]
    return len(sizes) >= MIN_POINTS and len(np.unique(sizes)) >= 3


def _is_lone(valley: Valley) -> bool:
    return valley.vertex is Vertex.TOO_FEW


def _rows_of(valleys: Iterable[Valley]) -> int:
    return sum(valley.n_points for valley in valleys)


def on_losses(seen: Evidence) -> Iterator[Finding]:
    """Losses that have no logarithm."""
    n_rows = int((seen.rows.loss <= 0).sum())
    if n_rows:
        yield Finding(
            "no_log_loss",
            Severity.WARNING,
            f"{n_rows} losses are zero or negative, so the surface and the joint valley, which take logarithms, are "
            "left out.",
            "All are: log-likelihoods have the other sign of a loss, and a score needs one that falls."
            if n_rows == len(seen.rows)
            else "Look at these rows; losses in nats per token are positive. Parabola and cubic work on any scale.",
            {"n_rows": n_rows},
        )


def on_rows(seen: Evidence) -> Iterator[Finding]:
    """Rows that are copies of each other, and tokens that have nothing to do with budget and size."""
    rows = seen.rows
    columns = np.stack([rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss])
    copies = len(rows) - np.unique(columns, axis=1).shape[1]
    if copies:
        yield Finding(
            "identical_rows",
            Severity.WARNING,
            f"{copies} rows equal another row in budget, size, tokens and loss to the last digit; every row counts, so "
            "copies make intervals too narrow.",
            "Remove copies; runs with another seed end with the same loss only where losses are rounded to few digits.",
            {"n_copies": copies},
        )
    scatter = cost_scatter(rows, read_cost(rows))
    if scatter > UNRELATED_TOKENS:
        yield Finding(
            "tokens_unrelated",
            Severity.WARNING,
            f"FLOPs per token scatter by {scatter:.0%} about any power of N: budget and size do not determine D.",
            "Check the columns: n_tokens must be the tokens that the run trained on, budget_flops its training FLOPs, "
            "and n_params the parameters that every token uses: of a mixture of experts the active ones.",
            {"scatter": scatter},
        )


def _has_few_sizes(valley: Valley) -> bool:
    return valley.vertex is not Vertex.TOO_FEW and valley.n_sizes < RECOMMENDED_SIZES


def _on_frontier(seen: Evidence) -> Iterator[Finding]:
    """No frontier, or one through too few budgets to be tested."""
    n_inside = sum(valley.vertex is Vertex.INSIDE for valley in seen.valleys)
    values = {"n_inside": n_inside, "n_budgets": len(seen.valleys)}
    if n_inside < RECOMMENDED_PROFILES:
        yield Finding(
            "few_budgets",
            Severity.ERROR if n_inside < MIN_PROFILES and seen.choice is None else Severity.WARNING,
            f"{n_inside} of {len(seen.valleys)} budgets have their floor inside their sizes; "
            f"a frontier needs {MIN_PROFILES}, and only {RECOMMENDED_PROFILES} or more can test it.",
            _how_to_get_floors(seen.valleys),
            values,
        )
    if n_inside >= MIN_PROFILES and seen.choice is None and not spread(budget_floors(seen.valleys)):
        yield Finding(
            "no_frontier",
            Severity.ERROR,
            f"The {n_inside} budgets with a floor lie too close together for a power law.",
            "Spread the budgets over at least a decade; rows of a table form one budget only if their budget_flops are "
            "exactly equal.",
            values,
        )


def _how_to_get_floors(valleys: Sequence[Valley]) -> str:
    """What the budgets without a floor inside need, whichever most of them need, or more budgets."""
    kinds = Counter(valley.vertex for valley in valleys if valley.vertex is not Vertex.INSIDE)
    if not kinds:
        return "Add budgets."
    most, _ = kinds.most_common(1)[0]
    if most is Vertex.CONCAVE:
        return "Find out first why valleys have no minimum (see the finding on that)."
    if most is Vertex.TOO_FEW:
        return "Complete the budgets that have too few runs."
    return "Add sizes on the side where the floor is missing, or budgets."


def _on_width(seen: Evidence) -> Iterator[Finding]:
    """Grids so wide that their far ends bias every estimator."""
    reached = zip(seen.valleys, reach(seen.rows), strict=True)
    far = [(valley.budget_flops, decades) for valley, decades in reached if valley.floors and decades > WIDE_REACH]
    window = seen.question.window
    if window is not None:
        if in_window(seen.rows, window).all():
            yield Finding(
                "window_idle",
                Severity.INFO,
                f"The window of {window:g} decades leaves out no run: it applies to budgets whose sizes reach more "
                f"than {WIDE_REACH:g} decades from the best run, and always keeps the {FEWEST_IN_WINDOW} nearest runs.",
                "Nothing needs to be done: a window matters only on wider grids.",
                {"window_decades": window},
            )
        return
    yield from per_budget(
        "wide_grid",
        Severity.INFO,
        [budget for budget, _ in far],
        f"Sizes reach more than {WIDE_REACH:g} decades from the best run, up to "
        f"{max((distance for _, distance in far), default=0.0):.2f}, at",
        "Runs that far from the floor obey other laws and bend every fit: compare with --window 0.6, which lowered the "
        "errors of predictions on published sweeps by 19 to 31 %.",
        widest_decades=max((distance for _, distance in far), default=0.0),
    )
