"""Checkpoints: tensors and counters in one safetensors file, no pickle, whole or absent."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.files import write_atomically
from isoflop.run_spec import RunSpec
from isoflop.shape import ModelShape
from isoflop.train.model import Decoder
from isoflop.train.optimizer import state_shapes
from isoflop.train.progress import Progress
from isoflop.wording import train_again

CHECKPOINT_VERSION = "1"


class UnusableWeightsError(IsoflopError):
    """What should be the final weights of a run is no file of them, or of others."""


def save_checkpoint(path: Path, run_id: str, model: nn.Module, optimizer: torch.optim.Optimizer, at: Progress) -> None:
    """Write model, optimizer state and counters to `path`."""
    tensors = {f"model.{name}": value for name, value in model_tensors(model).items()}
    for name, state in _named_state(model, optimizer).items():
        tensors |= {f"optimizer.{key}.{name}": value for key, value in state.items()}
    metadata = {"version": CHECKPOINT_VERSION, "run_id": run_id, "progress": json.dumps(asdict(at))}
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, save(_on_cpu(tensors), metadata))


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a model's state is, each tensor once under its first name: parameters and the buffers that it has kept."""
    kept = model.state_dict(keep_vars=True)
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return {name: value.detach() for name, value in (*model.named_parameters(), *buffers.items())}


def save_weights(path: Path, run_id: str, model: nn.Module) -> None:
    """Write the final weights to `path`."""
    tensors = model_tensors(model)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, save(_on_cpu(tensors), {"version": CHECKPOINT_VERSION, "run_id": run_id}))


def load_weights(path: Path, run: RunSpec, sweep_file: Path | None = None) -> Decoder:
    """The model of a completed run with its final weights, in evaluation mode, on the CPU.

    `sweep_file` is named in hints.

    Raises:
        UnusableWeightsError: the file is missing, damaged, or of another run.
    """

    def unusable(problem: str) -> UnusableWeightsError:
        return UnusableWeightsError(problem, hint=train_again(run.run_id, sweep_file))

    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("run_id") != run.run_id:
                raise unusable(f"{str(path)!r} holds the weights of another run than {run.run_id}.")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise unusable(f"There are no weights at {str(path)!r}.") from None
    except SafetensorError as error:
        raise unusable(f"The weights {str(path)!r} are damaged: {error}.") from None
    except OSError as error:
        raise unusable(f"The weights {str(path)!r} cannot be read: {why_inaccessible(error, path)}.") from None
    assert isinstance(run.shape, ModelShape), "of our decoder"
    model = Decoder(run.shape)
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise unusable(f"The weights {str(path)!r} are not of the shape {run.shape}.") from None
    return model.eval()


def load_checkpoint(path: Path, run_id: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
    """Restore model and optimizer in place and return the counters; None (nothing touched) without a usable file.

    A file that is damaged, of another run or of another version, or that has other tensors, counts as absent: the run
    starts again.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("version") != CHECKPOINT_VERSION or metadata.get("run_id") != run_id:
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (FileNotFoundError, SafetensorError):
        return None
    own = model_tensors(model)
    group_of = {weight: group for group in optimizer.param_groups for weight in group["params"]}
    names = {name: weight for name, weight in model.named_parameters() if weight in group_of}
    state = {name: state_shapes(group_of[weight], weight) for name, weight in names.items()}
    expected = {f"model.{name}": value.shape for name, value in own.items()} | {
        f"optimizer.{key}.{name}": shape for name, shapes in state.items() for key, shape in shapes.items()
    }
    if {key: tensor.shape for key, tensor in tensors.items()} != expected:
        return None
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[f"model.{name}"])
        for name, weight in names.items():
            optimizer.state[weight] = {key: tensors[f"optimizer.{key}.{name}"].to(weight.device) for key in state[name]}
    progress = Progress(**json.loads(metadata["progress"]))
    progress.curve = [(int(step), int(n_tokens), float(loss)) for step, n_tokens, loss in progress.curve]
    return progress


def _named_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Mapping[str, Any]]:
    return {name: optimizer.state[weight] for name, weight in model.named_parameters() if weight in optimizer.state}


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
