"""What `execution` means to torch: threads, device, kernels, precision, compiler."""

import contextlib
import os
import sys
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from isoflop.rundir import Execution
from isoflop.train.model import Decoder
from isoflop.train.progress import StepUnavailable


def configure(execution: Execution) -> torch.device:
    """Set threads and determinism for this process and return the device to train on."""
    torch.set_num_threads(execution.n_threads)
    # What cuBLAS needs to add in one order, read when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As use_deterministic_algorithms, which loads torch's compiler to tell it too: `compile_blocks` does.
    torch.set_deterministic_debug_mode("error")
    # A debugging aid of deterministic mode: filling every allocation costs 5 % of a small step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a property of the module
    # TF32 would make "float32" mean something else on a GPU.
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda", 0) if execution.device_kind == "cuda" else torch.device("cpu")


def errors_of_the_compiler() -> tuple[type[Exception], ...]:
    """What torch's compiler raises; nothing where it is not loaded, which takes a second of a core and more."""
    compiler = sys.modules.get("torch._dynamo.exc")
    return (compiler.TorchDynamoException,) if compiler is not None else ()


def compile_blocks(model: Decoder) -> None:
    """Have torch's compiler fuse what a block does, once for all of them, so that its cost does not grow with depth.

    Raises:
        StepUnavailable: this torch may compile to other bits in the next process.
    """
    from torch._dynamo import config as capture
    from torch._functorch import config as gradients
    from torch._inductor import config as code

    if not hasattr(code, "deterministic"):
        raise StepUnavailable(f"torch {torch.__version__} does not compile to the same bits in every process")
    code.deterministic = True
    # These caches are pickles on disk.
    code.fx_graph_cache = gradients.enable_autograd_cache = False
    # Processes of its own would outlive a worker that is killed.
    code.compile_threads = 1
    # Rather no compiled step than one that torch quietly takes operation by operation.
    capture.fail_on_recompile_limit_hit = True
    torch._dynamo.reset()  # what an earlier run of this process compiled counts towards that limit
    for block in model.layers:
        block.compile(dynamic=False)


def uncompiled(execution: Execution) -> contextlib.AbstractContextManager[object]:
    """A block in which blocks that are to be compiled are not: for one pass that costs more than it gains."""
    return torch.compiler.set_stance("force_eager") if execution.compile else contextlib.nullcontext()


@contextlib.contextmanager
def forward_context(execution: Execution) -> Iterator[None]:
    """Autocast and attention kernel of a forward pass."""
    with contextlib.ExitStack() as stack:
        if execution.dtype == "bfloat16":
            stack.enter_context(torch.autocast(execution.device_kind, dtype=torch.bfloat16))
        if execution.attention == "math":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
