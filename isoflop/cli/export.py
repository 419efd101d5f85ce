"""`isoflop export`: a trained run for Hugging Face's tools."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from isoflop.cli.options import DEFAULT_ARTIFACTS, DEFAULT_DB, Artifacts, AsJson, Database, SweepFile, named_path
from isoflop.cli.run_choice import RunBudget, RunConfirm, RunId, run_choice


class ExportDtypeName(StrEnum):
    """How the weights are stored."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def export(
    sweep: SweepFile,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            parser=named_path,
            metavar="<folder>",
            help="Folder to write; one that exists must be empty or an earlier export of the same run.",
            show_default=False,
        ),
    ],
    run: RunId = None,
    budget: RunBudget = None,
    confirm: RunConfirm = False,
    dtype: Annotated[
        ExportDtypeName, typer.Option("--dtype", help="Type of the weights; runs are trained with float32 weights.")
    ] = ExportDtypeName.FLOAT32,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Also write model.gguf for llama.cpp (needs the extra gguf).")
    ] = False,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    json: AsJson = False,
) -> None:
    """Write a trained run as a folder that transformers loads: weights, configuration, tokenizer, model card.

    Without --run, --budget or --confirm it is the run of lowest loss at the largest budget. The model is a Qwen3:
    AutoModelForCausalLM and AutoTokenizer load the folder as it is.
    """
    from isoflop.export.model_folder import export_run
    from isoflop.sweep.trained_run import trained_run
    from isoflop.view.document import SCHEMA_VERSION, dumps

    trained = trained_run(sweep, db, artifacts, run_choice(run, budget, confirm))
    paths = [str(path) for path in export_run(trained, artifacts, out, dtype=dtype.value, gguf=gguf)]
    if json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "run_id": trained.run.run_id,
            "dtype": dtype.value,
            "paths": paths,
        }
        print(dumps(document))
    else:
        print("\n".join(paths))
