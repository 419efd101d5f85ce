"""What the state that a run resumes from says of itself, read without the library that wrote it.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header, a JSON object whose
`__metadata__` holds texts (github.com/huggingface/safetensors, "Format").
"""

import json
from pathlib import Path

# The library's own limit.
LARGEST_HEADER = 100_000_000


def kept_tokens(state: Path, run_id: str) -> int:
    """Training tokens that the state at `state` has seen; 0 where there is none, or none of this run.

    Reads the header alone: whether the tensors behind it are whole is for the trainer to see.
    """
    try:
        if not state.is_file():  # a pipe would be waited for
            return 0
        with state.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= LARGEST_HEADER else {}
        said = header["__metadata__"]
        return int(json.loads(said["progress"])["n_tokens"]) if said["run_id"] == run_id else 0
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return 0
