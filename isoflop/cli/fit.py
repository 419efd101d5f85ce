"""`isoflop fit`: the compute-optimal frontier of sweeps, databases and tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.options import (
    DEFAULT_DB,
    DEFAULT_LEVEL,
    DEFAULT_UTILISATION,
    AsJson,
    Budgets,
    BudgetTolerance,
    Columns,
    CorpusTokens,
    Database,
    Flops,
    FlopsName,
    Group,
    HigherIsBetter,
    InferenceTokens,
    Laws,
    Level,
    Loss,
    LossUnitOption,
    MaxHours,
    Metric,
    NDevices,
    NoUnitCheck,
    Params,
    Peak,
    Price,
    Sources,
    Suggest,
    SurfaceLoss,
    SurfaceLossName,
    SweepName,
    Targets,
    Utilisation,
    Where,
    Window,
)

if TYPE_CHECKING:
    from isoflop.cli.request import Request
    from isoflop.report.summary import Summary


def fit(
    sources: Sources,
    db: Database = DEFAULT_DB,
    sweep: SweepName = None,
    column: Columns = None,
    budget_tolerance: BudgetTolerance = None,
    budgets: Budgets = None,
    where: Where = None,
    group: Group = None,
    loss_unit: LossUnitOption = None,
    loss: Loss = None,
    metric: Metric = None,
    higher_is_better: HigherIsBetter = False,
    no_unit_check: NoUnitCheck = False,
    target: Targets = None,
    level: Level = DEFAULT_LEVEL,
    window: Window = None,
    surface_loss: SurfaceLoss = SurfaceLossName.HUBER,
    suggest: Suggest = 0,
    max_hours: MaxHours = None,
    params: Params = None,
    flops: Flops = FlopsName.EXACT,
    law: Laws = None,
    peak: Peak = None,
    utilisation: Utilisation = DEFAULT_UTILISATION,
    price: Price = 0.0,
    devices: NDevices = 1,
    corpus_tokens: CorpusTokens = None,
    inference_tokens: InferenceTokens = None,
    compare: Annotated[bool, typer.Option("--compare", help="Fit each source alone and show the differences.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 if there is a finding of severity error.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Find the frontier by every estimator: N_opt and D_opt as power laws of C, with intervals and findings.

    Each target comes with shapes that can be built, smaller models trained longer, costs, and repeats of the corpus.
    """
    from isoflop.cli.boundary import EXIT_FINDINGS
    from isoflop.cli.console import stdout
    from isoflop.cli.request import Request, read_and_fit
    from isoflop.counting import FlopCount
    from isoflop.finding import Severity
    from isoflop.report.fit_document import fit_document
    from isoflop.report.terminal import print_summary
    from isoflop.view.document import dumps

    request = Request(
        db=db,
        sweep=sweep,
        columns=column or [],
        budget_tolerance=budget_tolerance,
        budgets=budgets,
        where=where or [],
        group=group,
        loss_unit=loss_unit.value if loss_unit else None,
        loss=loss.value if loss else None,
        metric=metric,
        higher_is_better=higher_is_better,
        unit_check=not no_unit_check,
        targets=target or [],
        level=level,
        window=window,
        surface_loss=surface_loss,
        suggest=suggest,
        max_hours=max_hours,
        params=params.value if params else None,
        flops=FlopCount(flops.value),
        laws=law or [],
        peak=peak,
        utilisation=utilisation,
        price=price,
        devices=devices,
        corpus_tokens=corpus_tokens,
        inference_tokens=inference_tokens,
    )
    if compare:
        summaries = _compare(sources, request, json=json)
    elif group is not None:
        summaries = _each(sources, request, json=json)
    else:
        summaries = [read_and_fit(sources, request)]
        if json:
            print(dumps(fit_document(summaries[0])))
        else:
            print_summary(summaries[0], stdout())
    errors = (finding for summary in summaries for finding in summary.findings if finding.severity is Severity.ERROR)
    if strict and any(errors):
        raise typer.Exit(EXIT_FINDINGS)


def _compare(sources: Sequence[str], request: "Request", *, json: bool) -> "list[Summary]":
    """Every source by itself, and by how much each differs from the first."""
    from isoflop.cli.console import stdout
    from isoflop.cli.request import read_and_compare, target_budgets
    from isoflop.report.comparison import compare_summaries, comparison_document, print_comparison
    from isoflop.view.document import dumps

    summaries = read_and_compare(sources, request)
    against = compare_summaries(summaries, target_budgets(request))
    if json:
        print(dumps(comparison_document(summaries, against)))
    else:
        print_comparison(summaries, against, stdout())
    return summaries


def _each(sources: Sequence[str], request: "Request", *, json: bool) -> "list[Summary]":
    """Every group of rows by itself, one after the other."""
    from isoflop.cli.console import stdout
    from isoflop.cli.request import read_and_fit_each
    from isoflop.report.comparison import comparison_document
    from isoflop.report.terminal import print_summary
    from isoflop.view.document import dumps

    summaries = read_and_fit_each(sources, request)
    if json:
        print(dumps(comparison_document(summaries, ())))
        return summaries
    for number, summary in enumerate(summaries):
        if number:
            print()
        print_summary(summary, stdout())
    return summaries
