"""`isoflop sample`: text from a trained run."""

import math
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.options import DEFAULT_ARTIFACTS, DEFAULT_DB, Artifacts, AsJson, Database, SweepFile
from isoflop.cli.run_choice import RunBudget, RunConfirm, RunId, run_choice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isoflop.sweep.trained_run import TrainedRun

LARGEST_SEED = 2**63 - 1


def sample(
    sweep: SweepFile,
    prompt: Annotated[str, typer.Option("--prompt", help="Text to go on from.")] = "",
    run: RunId = None,
    budget: RunBudget = None,
    confirm: RunConfirm = False,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, max=100_000, metavar="<K>", help="Tokens to write at most.")
    ] = 100,
    temperature: Annotated[
        float,
        typer.Option("--temperature", min=0.0, max=100.0, help="0: always the likeliest token; 1: as the model says."),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="With a temperature: which text of many.")
    ] = 0,
    db: Database = DEFAULT_DB,
    artifacts: Artifacts = DEFAULT_ARTIFACTS,
    json: AsJson = False,
) -> None:
    """Print the prompt and how a trained model goes on, to the end of its document or --tokens further.

    Without --run, --budget or --confirm it is the run of lowest loss at the largest budget. The model sees as many
    tokens as it was trained on at once (model.context_length); from there on it sees the last half of them. stdout has
    the text alone.
    """
    from isoflop.errors import IsoflopError
    from isoflop.sweep.trained_run import trained_run
    from isoflop.view.document import SCHEMA_VERSION, dumps

    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise IsoflopError("The prompt is not UTF-8.", hint="Give --prompt text in UTF-8.") from None
    if math.isnan(temperature):  # which min and max let pass
        raise IsoflopError("--temperature is not a number.", hint="Give a number from 0 to 100, such as 0.8.")
    trained = trained_run(sweep, db, artifacts, run_choice(run, budget, confirm))
    pieces = _pieces(trained, artifacts, prompt, tokens, temperature, seed)
    if json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "run_id": trained.run.run_id,
            "prompt": prompt,
            "text": prompt + "".join(pieces),
            "temperature": temperature,
            "seed": seed,
        }
        print(dumps(document))
        return
    _write(prompt)
    for piece in pieces:
        _write(piece)
    _write("\n")


def _pieces(
    trained: "TrainedRun", artifacts: Artifacts, prompt: str, tokens: int, temperature: float, seed: int
) -> "Iterator[str]":
    from isoflop.export.model_folder import run_tokenizer
    from isoflop.train.generate import prompt_tokens, text_after, within_context
    from isoflop.train.model_for_use import model_for_use

    model = model_for_use(trained.require_weights(), trained.run, "cpu", trained.file)
    tokenizer = run_tokenizer(trained, artifacts)
    read, length = prompt_tokens(tokenizer, prompt), trained.run.shape.context_length
    if len(read) > length:
        seen = len(within_context(read, length))
        print(f"The prompt has {len(read)} tokens, the model sees {length}: it reads the last {seen}.", file=sys.stderr)
    return text_after(model, tokenizer, prompt, n_tokens=tokens, temperature=temperature, seed=seed)


def _write(text: str) -> None:
    """Print a piece at once. A terminal is not steered by what a model says; a file gets it as it is."""
    if sys.stdout.isatty():
        text = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)
    sys.stdout.write(text)
    sys.stdout.flush()
