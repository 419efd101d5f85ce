"""`isoflop report`: the fit as a page, a figure and tables."""

from pathlib import Path
from typing import Annotated

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
    named_path,
)


def report(
    sources: Sources,
    out: Annotated[Path, typer.Option("--out", parser=named_path, metavar="<path>", help="Folder to write to.")] = Path(
        "report"
    ),
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
    bootstrap: Annotated[
        int,
        typer.Option(
            "--bootstrap",
            min=0,
            max=1000,
            metavar="<R>",
            help="Draw into the figure R frontiers of the surface, each fitted to resampled runs.",
        ),
    ] = 0,
    json: AsJson = False,
) -> None:
    """Write the fit as index.html, report.md, report.json, frontier.csv, figure.svg and figure.png.

    With --group each group has a folder of its own in --out.
    """
    from isoflop.cli.request import Request, read_and_fit, read_and_fit_each
    from isoflop.counting import FlopCount
    from isoflop.report.write import folder_names, write_report
    from isoflop.view.document import SCHEMA_VERSION, dumps

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
        bootstrap=bootstrap,
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
    if group is None:
        summaries = {out: read_and_fit(sources, request)}
    else:
        each = read_and_fit_each(sources, request)
        names = folder_names([summary.source.label for summary in each])
        summaries = {out / name: summary for name, summary in zip(names, each, strict=True)}
    paths = [str(path) for folder, summary in summaries.items() for path in write_report(summary, folder)]
    if json:
        simulated = any(summary.simulated for summary in summaries.values())
        print(dumps({"schema_version": SCHEMA_VERSION, "simulated": simulated, "paths": paths}))
    else:
        print("\n".join(paths))
