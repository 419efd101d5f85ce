"""What a reader should know before believing a fit, one module per subject."""

from isoflop.finding import Finding
from isoflop.fit.findings.agreement import on_agreement
from isoflop.fit.findings.coverage import no_profiles, on_coverage, on_losses, on_near_budgets, on_noise, on_rows
from isoflop.fit.findings.evidence import Evidence
from isoflop.fit.findings.floors import on_floors
from isoflop.fit.findings.loss_forecasts import on_loss_forecasts
from isoflop.fit.findings.targets import on_intervals, on_scorecard, on_suggestions, on_targets


def diagnose(seen: Evidence) -> tuple[Finding, ...]:
    """What a reader should know before believing the fit, from the runs to the answers."""
    if seen.ungrouped:
        return (no_profiles(seen), *on_near_budgets(seen), *on_losses(seen), *on_targets(seen), *on_suggestions(seen))
    return (
        *on_coverage(seen),
        *on_near_budgets(seen),
        *on_rows(seen),
        *on_losses(seen),
        *on_floors(seen),
        *on_noise(seen),
        *on_agreement(seen),
        *on_scorecard(seen),
        *on_loss_forecasts(seen),
        *on_targets(seen),
        *on_intervals(seen),
        *on_suggestions(seen),
    )
