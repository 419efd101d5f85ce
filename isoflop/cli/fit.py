"""`isoflop fit`: the compute-optimal frontier of sweeps, databases and tables."""

from typing import Annotated

import typer

from isoflop.cli.options import (
    DEFAULT_DB,
    DEFAULT_LEVEL,
    AsJson,
    Columns,
    Database,
    Level,
    Sources,
    SurfaceLoss,
    SurfaceLossName,
    SweepName,
    Targets,
    Window,
)


def fit(
    sources: Sources,
    db: Database = DEFAULT_DB,
    sweep: SweepName = None,
    column: Columns = None,
    target: Targets = None,
    level: Level = DEFAULT_LEVEL,
    window: Window = None,
    surface_loss: SurfaceLoss = SurfaceLossName.HUBER,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 4 when a finding of severity error stands.")] = False,
    json: AsJson = False,
) -> None:
    """Find the frontier: a parabola per budget, its floor, and N_opt and D_opt as power laws of C, with intervals."""
    from isoflop.cli.boundary import EXIT_FINDINGS
    from isoflop.cli.console import stdout
    from isoflop.cli.summary import read_and_fit
    from isoflop.finding import Severity
    from isoflop.report.json import fit_document
    from isoflop.report.terminal import print_summary
    from isoflop.view.document import dumps

    summary = read_and_fit(
        sources,
        db=db,
        sweep=sweep,
        columns=column or [],
        targets=target or [],
        level=level,
        window=window,
        surface_loss=surface_loss,
    )
    if json:
        print(dumps(fit_document(summary)))
    else:
        print_summary(summary, stdout())
    if strict and any(finding.severity is Severity.ERROR for finding in summary.findings):
        raise typer.Exit(EXIT_FINDINGS)
