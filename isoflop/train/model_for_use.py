"""A trained model ready to be measured, in float32, as equal from process to process as its training was."""

from pathlib import Path
from typing import Literal

import torch

from isoflop.errors import IsoflopError
from isoflop.run_spec import RunSpec
from isoflop.rundir import Execution
from isoflop.train.checkpoint import load_weights
from isoflop.train.model import Decoder
from isoflop.train.precision import configure


def model_for_use(
    weights: Path, run: RunSpec, device: Literal["auto", "cpu", "cuda"], sweep_file: Path | None = None
) -> Decoder:
    """The model of `run` with its weights on the device; auto: a GPU where there is one.

    On a CPU one thread computes, as in a worker: another number of them may move the last bit. `sweep_file` is named in
    hints.

    Raises:
        IsoflopError: no GPU, or no usable weights.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise IsoflopError("There is no GPU here that torch can use.", hint="Leave out --device cuda.")
    kind: Literal["cpu", "cuda"] = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    place = configure(Execution(device_kind=kind, dtype="float32", n_threads=1, micro_batch_sequences=1))
    return load_weights(weights, run, sweep_file).to(place)
