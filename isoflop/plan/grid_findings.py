"""What a reader should know of a plan before training it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isoflop.finding import Finding, Severity
from isoflop.plan.types import Cell
from isoflop.run_spec import OptimizerKind, OptimizerSpec, RunSpec
from isoflop.units import format_flops, plural

# With fewer sizes a fit warns of every budget (`few_sizes` of isoflop/fit/findings/coverage.py, which this must equal).
FEWEST_SIZES = 6
# Sizes wanted on each side of the centre, so that a floor off the first guess is still bracketed.
ROOM = 2
# A centre's own size is off it by up to this share.
AT_CENTRE = 0.001
# Peak rates that somebody trains with, and a wide margin: of AdamW, and of hidden matrices under SGD.
USUAL_RATES, USUAL_SGD_RATES = (1e-5, 0.3), (1e-3, 30.0)
# Held-out loss of SGD minus that of AdamW, nats, the least and the largest of 3 sizes of the quickstart, each the mean
# over 4 seeds (docs/benchmarks.md, Optimizers).
SGD_EXCESS = (-0.01, 0.04)
# As many budgets as a message still names; the values of a finding name more.
MOST_NAMED = 6
MOST_LISTED = 50


@dataclass(frozen=True)
class KeptSizes:
    """What is left of a budget's grid.

    Attributes:
        centre: N the grid is centred on.
        sizes: N of the shapes that are kept.
    """

    budget_flops: float
    centre: float
    sizes: tuple[int, ...]

    @property
    def n_below(self) -> int:
        """Sizes below the centre."""
        return sum(size < self.centre * (1 - AT_CENTRE) for size in self.sizes)

    @property
    def n_above(self) -> int:
        """Sizes above the centre."""
        return sum(size > self.centre * (1 + AT_CENTRE) for size in self.sizes)


def grid_findings(grids: Sequence[KeptSizes]) -> Iterator[Finding]:
    """At most one finding of a kind, whatever the number of budgets it applies to."""
    yield from _per_budget(
        ("few_sizes_planned", Severity.WARNING),
        f"Fewer than {FEWEST_SIZES} sizes, too few to see a bad run or a skewed valley, are planned",
        [(grid, len(grid.sizes)) for grid in grids if len(grid.sizes) < FEWEST_SIZES],
        "Raise grid.sizes, move the centre, or see the reasons of the dropped cells.",
    )
    for kind, side, beside in (
        (("no_room_below", Severity.WARNING), "below", [(grid, grid.n_below) for grid in grids]),
        (("no_room_above", Severity.WARNING), "above", [(grid, grid.n_above) for grid in grids]),
    ):
        yield from _per_budget(
            kind,
            f"Fewer than {ROOM} sizes lie {side} the centre of the grid",
            [(grid, number) for grid, number in beside if number < ROOM and grid.sizes],
            "A floor on that side would not be bracketed: move the centre, widen the grid, "
            "or see the reasons of the dropped cells.",
            side=side,
        )


def rate_findings(cells: Sequence[Cell]) -> Iterator[Finding]:
    """A finding where learning rates lie where hardly anything trains."""
    optimizers = {cell.run.run_id: cell.run.optimizer for cell in cells if isinstance(cell.run, RunSpec)}
    sgd = any(optimizer.kind == "sgd" for optimizer in optimizers.values())  # a plan has one recipe
    low, high = USUAL_SGD_RATES if sgd else USUAL_RATES
    rates = {run_id: _judged_rates(optimizer) for run_id, optimizer in optimizers.items()}
    n_runs = sum(any(not low <= rate <= high for rate in judged) for judged in rates.values())
    outside = [rate for judged in rates.values() for rate in judged if not low <= rate <= high]
    if outside:
        yield Finding(
            "unusual_rate",
            Severity.WARNING,
            f"{plural(n_runs, 'run')} of {len(rates)} would train at peak learning rates outside {_rate(low)} to "
            f"{_rate(high)}: {_rate(min(outside))} to {_rate(max(outside))}.",
            "An untuned rate gives an untuned exponent: check recipe.learning_rate (of muon also matrix_learning_rate) "
            "and the base_width and base_batch_tokens it holds for.",
            {"n_runs": n_runs, "lowest": min(outside), "highest": max(outside)},
        )


def optimizer_findings(cells: Sequence[Cell]) -> Iterator[Finding]:
    """What SGD was measured to cost, and Muon to take, where the plan trains with it."""
    muon = _trained_with("muon", cells)
    if muon:
        yield Finding(
            "muon_time_unknown",
            Severity.INFO,
            f"{plural(len(muon), 'run')} would train with Muon, whose steps take longer than the time estimate knows: "
            "on a CPU up to 15 times as long for the smallest models.",
            "Trust the estimate once some of these runs have finished.",
            {"n_runs": len(muon)},
        )
    sgd = _trained_with("sgd", cells)
    if sgd:
        least, most = SGD_EXCESS
        yield Finding(
            "sgd_excess_loss",
            Severity.INFO,
            f"{plural(len(sgd), 'run')} would train with SGD: on sizes of the quickstart it ended {-least:.2f} nats "
            f"below to {most:.2f} above AdamW, each at the best rate for them all.",
            "The floors are those of SGD; for those of AdamW, leave recipe.optimizer out.",
            {"n_runs": len(sgd), "least_excess": least, "largest_excess": most},
        )


def _trained_with(kind: OptimizerKind, cells: Sequence[Cell]) -> set[str]:
    """The runs that isoflop trains with that optimizer."""
    ours = (cell.run for cell in cells if isinstance(cell.run, RunSpec) and cell.run.trainer == "builtin")
    return {run.run_id for run in ours if run.optimizer.kind == kind}


def _judged_rates(optimizer: OptimizerSpec) -> tuple[float, ...]:
    """Peak rates: of AdamW the plain one, of SGD that of hidden matrices, of Muon with AdamW both."""
    plain, hidden = optimizer.learning_rate, optimizer.learning_rate * optimizer.hidden_rate_scale
    return {"adamw": (plain,), "sgd": (hidden,), "muon": (plain, hidden)}[optimizer.kind]


def _rate(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-")


def _per_budget(
    kind: tuple[str, Severity], message: str, found: Sequence[tuple[KeptSizes, int]], hint: str, **values: object
) -> Iterator[Finding]:
    """One finding (code, severity) for all budgets it applies to, if any; each with the number of its sizes."""
    if found:
        listed = found[:MOST_LISTED]
        yield Finding(
            *kind,
            f"{message} {_names(found)}.",
            hint,
            {
                **values,
                "budgets": [grid.budget_flops for grid, _ in listed],
                "n_sizes": [number for _, number in listed],
                "centres": [grid.centre for grid, _ in listed],
                "n_budgets": len(found),
            },
        )


def _names(found: Sequence[tuple[KeptSizes, int]]) -> str:
    """`at 1.00e10 FLOPs (1 size), 3.00e10 FLOPs (4 sizes) and 2 more budgets`."""
    named = [
        f"{format_flops(grid.budget_flops)} FLOPs ({plural(number, 'size')})" for grid, number in found[:MOST_NAMED]
    ]
    left = len(found) - len(named)
    return f"at {', '.join(named)}" + (f" and {plural(left, 'more budget')}" if left else "")
