"""A report as plain data: what every renderer shows, each in its own way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isoflop.finding import Finding
from isoflop.fit.types import SweepFit, Target
from isoflop.report.answer import answer_sentences
from isoflop.report.conventions import ConventionFit, convention_matrix, convention_table
from isoflop.report.fit_tables import band_table, frontier_table, profile_table, scorecard_table, target_table
from isoflop.report.run_tables import provenance_table, run_table, totals
from isoflop.report.source import FitInput
from isoflop.store import Standing
from isoflop.view.table import Table
from isoflop.view.wording import runs


@dataclass(frozen=True)
class Summary:
    """Everything a report says.

    Attributes:
        title: what this is a report of.
        scope: how many runs at how many budgets, and what is missing.
        source, fit: where the rows come from and what the fit made of them.
        answer: the answer first, one sentence each.
        targets: the frontier where it was asked for; where nothing was, at its largest budget and ten times that.
        findings: of the source, then of the fit.
        frontier, readings, bands, profiles, scorecard, conventions, runs, provenance: tables; None where empty.
        convention_fits: what `conventions` shows.
        totals: cells by what they are to the fit; empty for CSV.
        generated_at: UTC, ISO 8601.
    """

    title: str
    scope: str
    source: FitInput
    fit: SweepFit
    answer: tuple[str, ...]
    targets: tuple[Target, ...]
    findings: tuple[Finding, ...]
    frontier: Table | None
    readings: Table | None
    bands: Table | None
    profiles: Table
    scorecard: Table | None
    conventions: Table | None
    convention_fits: tuple[ConventionFit, ...]
    runs: Table | None
    provenance: Table
    totals: Mapping[Standing, int]
    generated_at: str

    @property
    def simulated(self) -> bool:
        """Whether any fitted row is simulated; every output says so."""
        return self.source.simulated

    @property
    def _tables(self) -> tuple[Table | None, ...]:
        return self.frontier, self.readings, self.bands, self.profiles, self.scorecard, self.conventions

    @property
    def fit_tables(self) -> tuple[Table, ...]:
        """The tables of the fit that are there, in reading order."""
        return tuple(table for table in self._tables if table is not None)


def summarize(source: FitInput, fit: SweepFit, *, generated_at: str, commands: Sequence[str] = ()) -> Summary:
    """The summary of `fit`, which is of the rows of `source`; `commands` are those that give it again."""
    targets = fit.targets or fit.outlook
    n_budgets = len(set(source.budget_flops))
    matrix = convention_matrix(source, fit.level)
    return Summary(
        title=f"IsoFLOP fit of {source.label}",
        scope=_scope(source, n_budgets),
        source=source,
        fit=fit,
        answer=answer_sentences(fit, targets, n_budgets),
        targets=targets,
        findings=source.findings + fit.findings,
        frontier=frontier_table(fit, source.param_count) if fit.estimators.recommended else None,
        readings=target_table(targets, fit, asked=bool(fit.targets)) if targets else None,
        bands=band_table(targets),
        profiles=profile_table(fit, n_budgets),
        scorecard=scorecard_table(fit),
        conventions=convention_table(matrix, fit.level),
        convention_fits=matrix,
        runs=run_table(source.cells) if source.cells else None,
        provenance=provenance_table(source, commands, generated_at),
        totals=totals(source.cells),
        generated_at=generated_at,
    )


def _scope(source: FitInput, n_budgets: int) -> str:
    budgets = "1 budget" if n_budgets == 1 else f"{n_budgets} budgets"
    others = [f"{number} {kind.words}" for kind, number in totals(source.cells).items() if kind is not Standing.USED]
    return f"{runs(len(source.points))} at {budgets}" + (f"; not fitted: {', '.join(others)}" if others else "")
