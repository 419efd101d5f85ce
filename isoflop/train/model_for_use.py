"""A trained model ready to be measured, in float32, as equal from process to process as its training was."""

from pathlib import Path
from typing import Literal

import torch

from isoflop.corpus import Corpus, heldout_sequences
from isoflop.errors import IsoflopError
from isoflop.run_spec import RunSpec
from isoflop.rundir import Execution
from isoflop.train.checkpoint import UnusableWeightsError, load_weights
from isoflop.train.model import Decoder
from isoflop.train.precision import configure
from isoflop.train.score import window_losses
from isoflop.wording import train_again

# Nats. Arithmetic moves a loss by a thousandth, another machine's training of the same run by a few hundredths.
_LOSS_TOLERANCE = 0.1
# Held-out tokens that tell weights of one run from others: as many as a run's loss is of by default.
_CHECK_TOKENS = 131_072


def model_for_use(
    weights: Path, run: RunSpec, device: Literal["auto", "cpu", "cuda"], sweep_file: Path | None = None
) -> Decoder:
    """The model of `run` with its weights on the device; auto: a GPU where there is one.

    On a CPU one thread computes, as in a worker: another number of them may move the last bit. `sweep_file` is named in
    hints.

    Raises:
        IsoflopError: no GPU.
        UnusableWeightsError: no usable weights.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise IsoflopError("There is no GPU here that torch can use.", hint="Leave out --device cuda.")
    kind: Literal["cpu", "cuda"] = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    place = configure(Execution(device_kind=kind, dtype="float32", n_threads=1, micro_batch_sequences=1))
    return load_weights(weights, run, sweep_file).to(place)


def refuse_other_weights(
    model: Decoder, weights: Path, run: RunSpec, corpus: Corpus, *, recorded: float, sweep_file: Path | None = None
) -> None:
    """Nothing, where the model has about the held-out loss that was recorded of its run, in nats per token.

    `sweep_file` is named in hints.

    Raises:
        UnusableWeightsError: it has another, as after the file was altered.
    """
    length = run.shape.context_length
    n_tokens = min(run.eval_tokens, _CHECK_TOKENS)
    windows = torch.from_numpy(heldout_sequences(corpus, n_tokens=n_tokens, context_length=length))
    losses = window_losses(model, windows) / length
    # Of a part of the text the loss is another by as much as parts differ.
    sampling = 6 * float(losses.std()) / len(losses) ** 0.5 if n_tokens < run.eval_tokens else 0.0
    loss = float(losses.mean())
    if not abs(loss - recorded) <= _LOSS_TOLERANCE + sampling:  # also not a number
        problem = f"have a held-out loss of {loss:.4f} nats where {recorded:.4f} was recorded: the file was altered"
        again = train_again(run.run_id, sweep_file)
        raise UnusableWeightsError(f"The weights {str(weights)!r} {problem}.", hint=f"Delete that file; then {again}")
