"""What `execution` means to torch: threads, device, kernels, precision."""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from isoflop.rundir import Execution


def configure(execution: Execution) -> torch.device:
    """Set threads and determinism for this process and return the device to train on."""
    torch.set_num_threads(execution.n_threads)
    # What cuBLAS needs to add in one order, read when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    # A debugging aid of deterministic mode: filling every allocation costs 5 % of a small step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a property of the module
    # TF32 would make "float32" mean something else on a GPU.
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda", 0) if execution.device_kind == "cuda" else torch.device("cpu")


@contextlib.contextmanager
def forward_context(execution: Execution) -> Iterator[None]:
    """Autocast and attention kernel of a forward pass."""
    with contextlib.ExitStack() as stack:
        if execution.dtype == "bfloat16":
            stack.enter_context(torch.autocast(execution.device_kind, dtype=torch.bfloat16))
        if execution.attention == "math":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
