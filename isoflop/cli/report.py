"""`isoflop report`: the fit as a page, a figure and tables."""

from pathlib import Path
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
    target: Targets = None,
    level: Level = DEFAULT_LEVEL,
    window: Window = None,
    surface_loss: SurfaceLoss = SurfaceLossName.HUBER,
    json: AsJson = False,
) -> None:
    """Write the fit as index.html, report.md, report.json, frontier.csv, figure.svg and figure.png."""
    from isoflop.cli.summary import read_and_fit
    from isoflop.report.write import write_report
    from isoflop.view.document import SCHEMA_VERSION, dumps

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
    paths = [str(path) for path in write_report(summary, out)]
    if json:
        print(dumps({"schema_version": SCHEMA_VERSION, "simulated": summary.simulated, "paths": paths}))
    else:
        print("\n".join(paths))
