"""What files of tensors say of themselves, read without the library that wrote them.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header, a JSON object whose
`__metadata__` holds texts and whose other keys are tensors, with shape and place in what follows
(github.com/huggingface/safetensors, "Format").
"""

import json
import math
from pathlib import Path
from typing import Any

from isoflop.run_spec import RunSpec

# The library's own limit.
LARGEST_HEADER = 100_000_000
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, RecursionError)


def kept_tokens(state: Path, run_id: str) -> int:
    """Training tokens that the state at `state` has seen; 0 where there is none, or none of this run.

    Reads the header alone: whether the tensors behind it are whole is for the trainer to see.
    """
    try:
        said = _header(state)[0][_METADATA]
        return int(json.loads(said["progress"])["n_tokens"]) if said["run_id"] == run_id else 0
    except _UNREADABLE:
        return 0


def holds_weights(path: Path, run: RunSpec) -> bool:
    """Whether a file of the run's own final weights lies there in its full length. Reads the header alone."""
    try:
        header, end_of_header = _header(path)
        said = header.pop(_METADATA)["run_id"]
        n_params = sum(math.prod(tensor["shape"]) for tensor in header.values())
        n_bytes = end_of_header + max(tensor["data_offsets"][1] for tensor in header.values())
        expected = run.shape.n_params_total
        n_params = n_params if run.factory is None else min(n_params, expected)  # a module may keep buffers beside
        return bool((said, n_params, n_bytes) == (run.run_id, expected, path.stat().st_size))
    except _UNREADABLE:
        return False


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of the file and where it ends.

    Raises:
        OSError, ValueError: there is no such file, or it has no header.
    """
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = json.loads(file.read(length)) if length <= LARGEST_HEADER else None
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header, _LENGTH_BYTES + length
