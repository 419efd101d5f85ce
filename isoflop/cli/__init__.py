"""The command line: the only place that imports typer.

sweeps/x.toml -> SweepSpec -> Plan -> RunResult rows -> SweepFit -> Report
    load_spec      make_plan   engine + record   fit_sweep   write_report
"""

from typing import Annotated

import typer

from isoflop import __version__
from isoflop.cli.boundary import Boundary
from isoflop.cli.clean import clean
from isoflop.cli.evaluation import evaluate
from isoflop.cli.exclude import exclude, include
from isoflop.cli.export import export
from isoflop.cli.fit import fit
from isoflop.cli.plan import plan
from isoflop.cli.report import report
from isoflop.cli.run import run
from isoflop.cli.sample import sample
from isoflop.cli.status import status

app = typer.Typer(
    cls=Boundary,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="IsoFLOP sweeps on your own hardware: for this budget, how big a model on how many tokens?",
)
app.command()(plan)
app.command()(run)
app.command()(status)
app.command()(fit)
app.command()(report)
app.command()(evaluate)
app.command()(export)
app.command()(sample)
app.command()(exclude)
app.command()(include)
app.command()(clean)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"isoflop {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """IsoFLOP sweeps on your own hardware: for this budget, how big a model on how many tokens?"""
