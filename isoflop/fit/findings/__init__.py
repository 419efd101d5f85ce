"""What a reader should know before believing a fit, one module per subject."""

from collections.abc import Sequence

from isoflop.finding import Finding, Severity
from isoflop.fit.estimators.cells import is_crossed
from isoflop.fit.findings.agreement import on_agreement
from isoflop.fit.findings.coverage import no_profiles, on_coverage, on_losses, on_near_budgets, on_rows
from isoflop.fit.findings.evidence import Evidence
from isoflop.fit.findings.floors import on_floors
from isoflop.fit.findings.lone_surface import crossed_grid, on_irreducible_loss, on_left_out, on_surface_alone
from isoflop.fit.findings.loss_forecasts import on_loss_forecasts
from isoflop.fit.findings.noisy_rows import on_noise, on_trunks
from isoflop.fit.findings.targets import on_intervals, on_scorecard, on_suggestions, on_targets, on_window

# Warnings of columns that do not belong together: nothing read off such rows has proved anything.
_BASIC = frozenset({"tokens_unrelated"})
# What reassures.
_REASSURING = frozenset({"credible_extrapolation", "credible_loss"})


def diagnose(seen: Evidence) -> tuple[Finding, ...]:
    """What a reader should know before believing the fit, from the runs to the answers."""
    if seen.without_valleys:
        return (
            no_profiles(seen) if seen.ungrouped else crossed_grid(seen),
            *(() if is_crossed(seen.rows) else on_near_budgets(seen)),
            *on_left_out(seen),
            *on_losses(seen),
            *on_surface_alone(seen),
            *on_irreducible_loss(seen),
            *on_agreement(seen),
            *on_trunks(seen),
            *on_targets(seen),
            *on_suggestions(seen),
        )
    return unless_wrong(
        (
            *on_coverage(seen),
            *on_near_budgets(seen),
            *on_rows(seen),
            *on_left_out(seen),
            *on_losses(seen),
            *on_floors(seen),
            *on_noise(seen),
            *on_agreement(seen),
            *on_irreducible_loss(seen),
            *on_scorecard(seen),
            *on_loss_forecasts(seen),
            *on_targets(seen),
            *on_window(seen),
            *on_intervals(seen),
            *on_suggestions(seen),
        )
    )


def unless_wrong(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings without those that reassure, where another says that something basic is wrong."""
    wrong = any(finding.severity is Severity.ERROR or finding.code in _BASIC for finding in findings)
    return tuple(finding for finding in findings if not (wrong and finding.code in _REASSURING))
