"""`isoflop evaluate`: what the models of a sweep can do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.options import (
    DEFAULT_ARTIFACTS,
    DEFAULT_DB,
    Artifacts,
    AsJson,
    Database,
    DeviceName,
    SweepFile,
    named_path,
)
from isoflop.cli.run_choice import RunBudget, RunConfirm, RunId

if TYPE_CHECKING:
    from isoflop.sweep.run_metrics import Measured


def evaluate(
    sweep: SweepFile,
    run: RunId = None,
    budget: RunBudget = None,
    confirm: RunConfirm = False,
    every: Annotated[
        bool, typer.Option("--all", help="Every completed run whose weights are on disk; the others are listed.")
    ] = False,
    text: Annotated[
        list[Path] | None,
        typer.Option(
            "--text",
            parser=named_path,
            metavar="<path>",
            help="Also measure bits per byte of this UTF-8 file, under its name; may be repeated.",
        ),
    ] = None,
    probes: Annotated[
        bool, typer.Option("--probes/--no-probes", help="Ask the built-in probes, made from the held-out text.")
    ] = True,
    device: Annotated[
        DeviceName, typer.Option("--device", help="Device to evaluate on; auto: a GPU where there is one.")
    ] = DeviceName.AUTO,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    json: AsJson = False,
) -> None:
    """Measure what trained models can do and record it: accuracy, and bits per byte of the right answer.

    What was measured before is not measured again; interrupted, the same command goes on.
    """
    from isoflop.cli.run_choice import run_choice
    from isoflop.errors import IsoflopError
    from isoflop.sweep.run_metrics import WhatToMeasure, measure_runs

    if every and (run is not None or budget is not None or confirm):
        raise IsoflopError("--all names every run, and another option one of them.", hint="Give one of them.")
    choice = None if every else run_choice(run, budget, confirm)
    what = WhatToMeasure(probes, tuple(text or ()), device.value)
    found = list(measure_runs(sweep, db, artifacts, choice, what, on_progress=_say_progress))
    _print(found, json=json)


def _say_progress(done: int, n_runs: int, run_id: str) -> None:
    from isoflop.cli.console import stderr
    from isoflop.view.drawing import text

    if run_id:
        stderr().print(text(f"[{done + 1}/{n_runs}] evaluating run {run_id}", "dim"))


def _print(found: "list[Measured]", *, json: bool) -> None:
    from isoflop.cli.console import stdout
    from isoflop.view.document import dumps
    from isoflop.view.drawing import table_block, text
    from isoflop.view.evaluation_document import evaluation_document
    from isoflop.view.metrics_view import metrics_tables, with_metrics

    if json:
        print(dumps(evaluation_document(found)))
        return
    for table in metrics_tables(with_metrics(one.run.cell, one.metrics) for one in found):
        stdout().print(table_block(table, stdout()))
    for name, reason in dict.fromkeys((left.name, left.reason) for one in found for left in one.left_out):
        stdout().print(text(f"The probe {name} is left out: {reason}."))
    lacking = [one for one in found if one.hint is not None]
    if lacking:
        ids = ", ".join(one.run.run.run_id for one in lacking)
        stdout().print(text(f"Without usable weights, and so not measured: {ids}."))
        gone = [one.hint for one in lacking if not one.run.weights.is_file()]
        wrong = [one.hint for one in lacking if one.run.weights.is_file()]
        for hint in (*gone[:1], *wrong):  # how to train again is the same for every run
            stdout().print(text(hint or "", "dim"))
