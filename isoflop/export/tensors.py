"""The weights under Hugging Face's names, as float32 or bfloat16. No torch: numpy has no bfloat16, so bits are cut."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.export.model_config import ExportDtype
from isoflop.run_spec import RunSpec
from isoflop.rundir.kept_state import holds_weights
from isoflop.wording import train_again

Weights = Mapping[str, NDArray[np.float32]]

# transformers refuses a file that does not say which framework's layout it has.
_METADATA = {"format": "pt"}
_LENGTH_BYTES = 8


def read_weights(path: Path, run: RunSpec, sweep_file: Path | None = None) -> Weights:
    """The final weights of a run by our names; `sweep_file` is named in hints.

    Raises:
        IsoflopError: the file is gone, unreadable, damaged, of another run or not of the run's shape.
    """
    hint = train_again(run.run_id, sweep_file)
    try:
        weights = load(path.read_bytes())
    except OSError as error:
        raise IsoflopError(f"Cannot read {str(path)!r}: {why_inaccessible(error, path)}.", hint=hint) from None
    except SafetensorError as error:
        raise IsoflopError(f"The weights {str(path)!r} are damaged: {error}.", hint=hint) from None
    n_params = sum(weight.size for weight in weights.values())
    if n_params != run.shape.n_params_total or any(weight.dtype != np.float32 for weight in weights.values()):
        raise IsoflopError(f"The weights {str(path)!r} are not those of a {run.shape}.", hint=hint)
    if not holds_weights(path, run):
        raise IsoflopError(f"{str(path)!r} holds the weights of another run than {run.run_id}.", hint=hint)
    return weights


def hugging_face_name(name: str) -> str:
    """The name of our weight `name` in Qwen3."""
    return name if name == "lm_head.weight" else f"model.{name}"


def serialized(weights: Weights, dtype: ExportDtype) -> bytes:
    """The content of model.safetensors."""
    tensors = {hugging_face_name(name): np.ascontiguousarray(weight, "<f4") for name, weight in weights.items()}
    if dtype == "float32":
        return save(tensors, metadata=_METADATA)
    return _declared_bfloat16(
        save({name: to_bfloat16(weight.view("<u4")) for name, weight in tensors.items()}, metadata=_METADATA)
    )


def _declared_bfloat16(content: bytes) -> bytes:
    """A safetensors file whose tensors of 16-bit numbers are called what they are.

    Format: 8 bytes of length, that much JSON padded with blanks to a multiple of 8, the data.
    """
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
    for name, tensor in header.items():
        if name != "__metadata__":
            tensor["dtype"] = "BF16"
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + content[_LENGTH_BYTES + length :]


def to_bfloat16(bits: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """The upper half of float32 bits, rounded to nearest, ties to even, as torch rounds. Weights are finite."""
    halfway = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    return ((bits + halfway) >> 16).astype("<u2")
