"""A report as plain data: what every renderer shows, each in its own way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isoflop.decision.confirmation import Confirmation, judge
from isoflop.decision.confirmation_findings import confirmation_findings
from isoflop.decision.cost import CostRates
from isoflop.decision.decide import Decision, decide
from isoflop.finding import Finding
from isoflop.fit.findings import unless_wrong
from isoflop.fit.findings.agreement import REJECTED_P_VALUE
from isoflop.fit.laws import PublishedLaw
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Target
from isoflop.report.answer import Answer, answer
from isoflop.report.confirmation_table import confirmation_table
from isoflop.report.confirmation_words import told
from isoflop.report.convention_table import convention_table
from isoflop.report.decision_tables import decision_tables
from isoflop.report.fit_tables import (
    band_table,
    estimator_table,
    profile_table,
    scorecard_table,
    target_table,
)
from isoflop.report.law_table import law_table
from isoflop.report.loss_words import finding_in_unit, scale_of_losses, table_in_unit
from isoflop.report.metric_table import MeasureFit, measure_table
from isoflop.report.run_tables import provenance_table, run_table, totals, totals_in_words
from isoflop.report.suggestion_table import suggestion_table
from isoflop.sources.columns.loss_scale import LossScale
from isoflop.sources.findings.clusters import MIXED_GROUPS
from isoflop.sources.findings.run_places import with_places
from isoflop.sources.findings.training import training_findings
from isoflop.sources.recount import ConventionFit
from isoflop.sources.source import Pool, Source, SweepSource
from isoflop.store import Standing, SteeringRound, run_cells
from isoflop.view.metrics_view import metrics_tables
from isoflop.view.table import Table
from isoflop.wording import runs

# What a fit says of runs that it takes for replicates.
_OF_REPLICATES = ("noise_fills_valley",)
# What a fit says of rows that are alike. Accuracies of as many questions are often equal, of runs that differ.
_OF_COPIES = "identical_rows"


@dataclass(frozen=True)
class Summary:
    """Everything a report says.

    Attributes:
        title: what this is a report of.
        scope: how many runs at how many budgets, and what is missing.
        source, fit: where the rows come from and what the fit made of them.
        answer: the answer first.
        targets: the recommended frontier where it was asked for, else at its largest budget and ten times that.
        findings: of the source, of how its runs were trained, then of the fit.
        confirmations: confirm runs against what was predicted for them.
        estimators, readings, bands, profiles, scorecard, suggestions, conventions, runs, provenance: tables, or None.
        metrics: tables of what the models can do, as far as that was measured.
        commands: those that gave this report, each in words.
        convention_fits: what `conventions` shows.
        measure_fits: the fits on loss and on the metric; empty where the loss is fitted.
        laws, law_readings: published laws shown beside the fit.
        decisions: one per target that was asked for (or stands in for one) and has an answer.
        totals: cells by what they are to the fit; empty for CSV.
        generated_at: UTC, ISO 8601.
        rounds: how a sweep that steered itself grew; empty for several sources.
    """

    title: str
    scope: str
    source: Source | Pool
    fit: SweepFit
    answer: Answer
    targets: tuple[Target, ...]
    findings: tuple[Finding, ...]
    estimators: Table | None
    readings: Table | None
    bands: Table | None
    profiles: Table
    scorecard: Table | None
    suggestions: Table | None
    conventions: Table | None
    convention_fits: tuple[ConventionFit, ...]
    measure_fits: tuple[MeasureFit, ...]
    laws: tuple[PublishedLaw, ...]
    law_readings: Table | None
    decisions: tuple[Decision, ...]
    runs: Table | None
    metrics: tuple[Table, ...]
    provenance: Table
    commands: tuple[tuple[str, ...], ...]
    totals: Mapping[Standing, int]
    generated_at: str
    confirmations: tuple[Confirmation, ...] = ()
    rounds: tuple[SteeringRound, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether any fitted row is simulated; every output says so."""
        return self.source.simulated

    @property
    def _tables(self) -> tuple[Table | None, ...]:
        decisions = (table for decision in self.decisions for table in decision_tables(decision))
        confirmed = confirmation_table(self.confirmations)
        first = self.estimators, self.readings, confirmed, self.law_readings, self.bands, *decisions
        return *first, self.suggestions, self.profiles, self.scorecard, self.conventions

    @property
    def fit_tables(self) -> tuple[Table, ...]:
        """The tables of the fit that are there, in reading order."""
        scale = scale_of_losses(self.source)
        beside = measure_table(self.measure_fits, self.fit.level)
        fitted = tuple(table_in_unit(table, scale) for table in self._tables if table is not None)
        return (beside, *fitted) if beside else fitted

    @property
    def run_tables(self) -> tuple[Table, ...]:
        """The tables of the runs that are there: what they are, and what their models can do."""
        return (*((self.runs,) if self.runs else ()), *self.metrics)


@dataclass(frozen=True)
class Questions:
    """What else a reader asks of a fit.

    Attributes:
        laws: published ones to be shown beside it.
        rates: what devices do and cost; None for no bill.
        corpus_tokens: unique tokens at hand; None if there are enough.
        inference_tokens: that the model will read and write in use; None if that does not matter.
    """

    laws: tuple[PublishedLaw, ...] = ()
    rates: CostRates | None = None
    corpus_tokens: float | None = None
    inference_tokens: float | None = None

    @property
    def need_a_target(self) -> bool:
        """Whether there is anything to be answered at a budget."""
        return (self.rates, self.corpus_tokens, self.inference_tokens) != (None, None, None)


def summarize(
    source: Source | Pool,
    fit: SweepFit,
    *,
    generated_at: str,
    commands: Sequence[Sequence[str]] = (),
    questions: Questions = Questions(),
    convention_fits: Sequence[ConventionFit] = (),
    measure_fits: Sequence[MeasureFit] = (),
) -> Summary:
    """The summary of `fit`, which is of the rows of `source`; `commands` are those that give it again, in words.

    Targets that were asked for come with a decision: shapes, costs and alternatives; where questions were asked and no
    target, ten times the largest budget does. `convention_fits` are of the same runs counted otherwise, `measure_fits`
    of their losses beside the metric that is fitted.

    Raises:
        IsoflopError: a question with a number that makes no sense.
    """
    targets = fit.targets or fit.outlook
    n_budgets = len({row.budget_flops for row in source.rows})
    scale = scale_of_losses(source)
    confirmations = _confirmations(source)
    return Summary(
        title=f"IsoFLOP fit of {source.label}{_on(source)}",
        scope=_scope(source, n_budgets),
        source=source,
        fit=fit,
        answer=answer(fit, targets, n_budgets, loss=scale.what).and_then(told(confirmations)),
        targets=targets,
        findings=unless_wrong(
            (
                *source.findings,
                *training_findings(source.cells, fit, source.fitted),
                *_of_fit(source, fit, scale),
                *confirmation_findings(confirmations),
            )
        ),
        estimators=estimator_table(fit, source.param_count) if fit.estimators.recommended else None,
        readings=target_table(targets, fit, asked=bool(fit.targets)) if targets else None,
        bands=band_table(targets),
        profiles=profile_table(fit, n_budgets),
        scorecard=scorecard_table(fit),
        suggestions=suggestion_table(fit.suggested, fit.level) if fit.suggested else None,
        conventions=convention_table(convention_fits, fit.level),
        convention_fits=tuple(convention_fits),
        measure_fits=tuple(measure_fits),
        laws=questions.laws,
        law_readings=law_table(questions.laws, targets),
        decisions=tuple(_decisions(source, fit, questions)),
        runs=run_table(source.cells) if source.cells else None,
        metrics=metrics_tables(run_cells(source.cells)),
        provenance=provenance_table(source, commands, generated_at),
        commands=tuple(map(tuple, commands)),
        totals=totals(source.cells),
        generated_at=generated_at,
        confirmations=confirmations,
        rounds=source.rounds if isinstance(source, SweepSource) else (),
    )


def _confirmations(source: Source | Pool) -> tuple[Confirmation, ...]:
    """The confirm runs of all sweeps, one that several sources have once."""
    found: dict[str, Confirmation] = {}
    for part in source.sweeps:
        for one in judge(part.predictions, part.cells):
            found.setdefault(one.prediction.run_id, one)
    return tuple(found.values())


def _of_fit(source: Source | Pool, fit: SweepFit, scale: LossScale) -> Iterator[Finding]:
    """The findings of the fit in the words of its source, without those that the rows' findings show to be false.

    Runs alike in budget, size and tokens count as replicates in a fit; where a column tells them apart they are none.
    """
    mixed = any(finding.code == MIXED_GROUPS for finding in source.findings)
    untrue = {*(_OF_REPLICATES if mixed else ()), *([_OF_COPIES] if source.fitted.metric else [])}
    for finding in fit.findings:
        if finding.code not in untrue:
            yield finding_in_unit(with_places(finding, source), scale)


def _on(source: Source | Pool) -> str:
    """What is fitted, where that is not the loss in nats of sweeps."""
    if source.fitted.metric is not None:
        return f" on {source.fitted.scale.axis}"
    return " in bits per byte" if source.fitted.per_byte else ""


def _scope(source: Source | Pool, n_budgets: int) -> str:
    budgets = "1 budget" if n_budgets == 1 else f"{n_budgets} budgets"
    others = [said for kind, said in totals_in_words(source.cells).items() if kind is not Standing.USED]
    return f"{runs(len(source.rows))} at {budgets}" + (f"; not fitted: {', '.join(others)}" if others else "")


def _decisions(source: Source | Pool, fit: SweepFit, questions: Questions) -> Iterator[Decision]:
    surface = fit.estimators.surface
    law = surface.law if surface and not surface.at_bound else None
    rejected = surface is not None and surface.lack_of_fit_p is not None and surface.lack_of_fit_p < REJECTED_P_VALUE
    sweep = source if isinstance(source, SweepSource) else None
    for target in fit.targets or (fit.outlook[-1:] if questions.need_a_target else ()):
        if target.n_opt is not None and target.d_opt is not None:
            yield decide(
                budget_flops=target.budget_flops,
                n_opt=target.n_opt,
                d_opt=target.d_opt,
                cost=fit.cost,
                loss=target.loss,
                surface=law,
                surface_rejected=rejected,
                spec=sweep.spec if sweep else None,
                vocab_size=sweep.vocab_size if sweep else None,
                param_count=source.param_count,
                flop_count=source.flop_count,
                corpus_tokens=questions.corpus_tokens,
                rates=questions.rates,
                inference_tokens=questions.inference_tokens,
            )
