"""Findings on how the fitted runs were trained: steps, epochs, and what probes of the recipe say."""

import math
from collections.abc import Iterator, Sequence

from isoflop.finding import Finding, Severity
from isoflop.fit.intervals import FIVE_PERCENT
from isoflop.fit.results.profile import Profile
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.plan.types import Role
from isoflop.sources.measure import IN_NATS, Measure
from isoflop.store import RunCell, SweepCell, run_cells
from isoflop.units import format_flops

# Of fewer steps a warm-up and a cooldown are the larger part, whatever the recipe.
FEWEST_STEPS = 200
# Up to here a token seen again is worth nearly a fresh one (Muennighoff et al. 2023, arXiv 2305.16264).
MOST_EPOCHS = 4.0
# A recipe that moves a floor by more than this, decades, is one to look at.
TILT_DECADES = FIVE_PERCENT
# Standard errors that a tilt must exceed: one false alarm in twenty budgets.
_NOISE_LIMIT = 2.0
_NAMED = 6


def training_findings(cells: Sequence[SweepCell], fit: SweepFit, measure: Measure = IN_NATS) -> Iterator[Finding]:
    """One finding per kind of trouble; none for rows from tables. `measure` is what of the runs is fitted."""
    planned = run_cells(cells)
    used = [cell for cell in planned if cell.used]
    yield from _on_budgets(
        ("few_steps", Severity.WARNING),
        [cell for cell in used if cell.n_steps is not None and cell.n_steps < FEWEST_STEPS],
        f"Runs of fewer than {FEWEST_STEPS} optimizer steps are in the fit, at",
        "Their losses depend on warm-up and cooldown more than on size and data: raise recipe.min_steps, or lower the "
        "batch.",
    )
    yield from _on_budgets(
        ("many_epochs", Severity.WARNING),
        [cell for cell in used if cell.epochs > MOST_EPOCHS],
        f"Runs that see their corpus more than {MOST_EPOCHS:g} times are in the fit, at",
        "Repeated tokens are worth less than fresh ones, and small models repeat most: use a larger corpus.",
    )
    yield from _on_probes(planned, fit, measure)


def _on_budgets(kind: tuple[str, Severity], cells: Sequence[RunCell], what: str, hint: str) -> Iterator[Finding]:
    if cells:
        budgets = sorted({cell.budget_flops for cell in cells})
        named = ", ".join(format_flops(budget) for budget in budgets[:_NAMED])
        more = f" and {len(budgets) - _NAMED} more" if len(budgets) > _NAMED else ""
        values = {"n_runs": len(cells), "budgets": budgets, "run_ids": [cell.run_id for cell in cells]}
        yield Finding(*kind, f"{what} {named}{more} FLOPs.", hint, values)


def _on_probes(cells: Sequence[RunCell], fit: SweepFit, measure: Measure) -> Iterator[Finding]:
    """Budgets whose probes gain more at one end of the sizes than at the other: their floor would move."""
    profiles = {profile.budget_flops: profile for profile in fit.profiles}
    noise = _noise(fit)
    moved = {
        budget: shift
        for budget, gains in _gains(cells, measure).items()
        if (shift := _shift(profiles.get(budget), gains, noise)) is not None
    }
    tilted = {budget: shift for budget, (shift, half) in moved.items() if abs(shift) > max(TILT_DECADES, half)}
    if tilted:
        named = ", ".join(f"{shift:+.2f} decades at {format_flops(budget)} FLOPs" for budget, shift in tilted.items())
        yield Finding(
            "recipe_tilts",
            Severity.WARNING,
            "Probes lower the loss more at one end of the sizes than at the other, which would move the floor by "
            f"{named}.",
            "With rates that are not tuned at each size, the exponent is not that of the architecture: scale the rate "
            "as the probes say and train the sweep again.",
            {
                "budgets": list(tilted),
                "shift_decades": list(tilted.values()),
                "half_widths": [moved[budget][1] for budget in tilted],
            },
        )


def _noise(fit: SweepFit) -> float:
    """Standard deviation of a run, nats: about the parabolas or about the joint valley, whichever fits better."""
    known = [(profile.n_points - 3, profile.rmse) for profile in fit.profiles if profile.rmse is not None]
    freedom = sum(free for free, _ in known)
    about_parabolas = math.sqrt(math.fsum(free * rmse**2 for free, rmse in known) / freedom) if freedom else 0.0
    joint = fit.estimators.joint
    return min(about_parabolas, joint.residual_sd) if joint else about_parabolas


def _gains(cells: Sequence[RunCell], measure: Measure) -> dict[float, dict[int, float]]:
    """By budget and N, what the best probe of a size gains over the grid's run, as measured; at least zero."""
    if not any(cell.role is Role.PROBE for cell in cells):
        return {}
    grid: dict[tuple[float, int], float] = {}
    for cell in cells:
        if cell.used and (found := measure.of(cell)):
            place = (cell.budget_flops, cell.n_params_total)
            grid[place] = min(found[0], grid.get(place, math.inf))
    gains: dict[float, dict[int, float]] = {}
    for cell in cells:
        place = (cell.budget_flops, cell.n_params_total)
        found = measure.of(cell)
        if cell.role is Role.PROBE and found and cell.excluded is None and place in grid:
            sizes = gains.setdefault(cell.budget_flops, {})
            gain = grid[place] - found[0]
            sizes[cell.n_params_total] = max(gain, sizes.get(cell.n_params_total, 0.0))
    return gains


def _shift(profile: Profile | None, gains: dict[int, float], sd: float) -> tuple[float, float] | None:
    """Decades of N that the floor would move by if every size gained as the probed ones do, and what noise alone does.

    A gain that is linear in log N, g x, takes the floor of a parabola of curvature c to g / (2 c). Each gain is a
    difference of two runs that scatter by `sd` nats.
    """
    if profile is None or not profile.curvature or profile.curvature <= 0 or len(gains) < 2:
        return None
    x = [math.log10(n_params) for n_params in gains]
    middle, mean = math.fsum(x) / len(x), math.fsum(gains.values()) / len(x)
    spread = math.fsum((one - middle) ** 2 for one in x)
    slope = math.fsum((one - middle) * (gain - mean) for one, gain in zip(x, gains.values(), strict=True)) / spread
    half = _NOISE_LIMIT * math.sqrt(2 / spread) * sd
    return slope / (2 * profile.curvature), half / (2 * profile.curvature)
