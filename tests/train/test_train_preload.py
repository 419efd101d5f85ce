"""What workers are forked from has loaded everything that a training step needs, and asked CUDA for nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A torch in which every function of the CUDA runtime is there and notes that it was called. A build without CUDA lacks
# them: the names that torch's own Python and its stubs say are given stand-ins, so that this build counts as one with.
RECORDED = """
import ctypes
import re
from pathlib import Path
import torch

calls = []

def recorder(name):
    def called(*arguments, **named):
        calls.append(name)
        return 0
    return called

folder = Path(torch.__file__).parent
sources = [folder / "_C" / "__init__.pyi", *folder.glob("cuda/*.py"), *folder.glob("backends/*/*.py")]
names = {name for file in sources for name in re.findall(r"\\b_cuda_\\w+", file.read_text())}
names |= {name for name in dir(torch._C) if re.match("_(cuda|accelerator)_", name)}
before = {name: getattr(torch._C, name) for name in names if hasattr(torch._C, name)}
for name in names:
    if not isinstance(before.get(name), type):
        setattr(torch._C, name, recorder(name))
built, runtime = torch._C._has_cuda, torch.cuda._cudart
torch._C._has_cuda, torch.cuda._cudart = True, runtime or object()
assert len(names) > 80 and torch.cuda._is_compiled()

def restore():
    torch._C._has_cuda, torch.cuda._cudart = built, runtime
    for name in names:
        setattr(torch._C, name, before[name]) if name in before else delattr(torch._C, name)

def driver():
    "Whether cuInit was called, as the driver itself says."
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "absent"
    n_devices = ctypes.c_int()
    return "untouched" if library.cuDeviceGetCount(ctypes.byref(n_devices)) == 3 else "initialised"  # 3: not yet
"""

STEPS = """
import isoflop.train.preload
import torch._dynamo

print(driver(), torch.cuda.is_initialized(), *calls)
restore()
before_step = set(sys.modules)
from isoflop.rundir import Execution
from isoflop.shape import ModelShape
from isoflop.train.model import build_model
from isoflop.train.optimizer import build_optimizer, clip_gradients, set_rate
from isoflop.train.precision import configure, forward_context
from tests.run_examples import OPTIMIZER

execution = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=1)
configure(execution)
model = build_model(ModelShape(2, 16, 1, 16, 32, 257, 32), seed=0)
with forward_context(execution):
    logits = model(torch.zeros(1, 32, dtype=torch.int64))
logits.sum().backward()
clip_gradients(model.parameters(), torch.nn.utils.get_total_norm([w.grad for w in model.parameters()]), 1.0)
for kind in ("adamw", "sgd", *(["muon"] if hasattr(torch.optim, "Muon") else [])):
    optimizer = build_optimizer(model, OPTIMIZER.model_copy(update={"kind": kind}))
    set_rate(optimizer, 0.5)
    optimizer.step()
optimizer.zero_grad(set_to_none=True)
print(*sorted(name for name in set(sys.modules) - before_step if not name.startswith("tests")))
"""

# Questions that initialise the driver on a machine with a GPU, and after which a fork could not use it.
QUESTIONS = """
for ask in (torch.cuda.is_available, torch.cuda.current_device, torch.cuda.synchronize, torch.accelerator.synchronize):
    calls.clear()
    try:
        ask()
    except Exception:
        pass
    print(ask.__name__, *calls)
"""


def printed(*parts: str) -> list[list[str]]:
    """The words of each line that a fresh interpreter prints."""
    program = "import sys\n" + "\n".join(parts)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow(5)
def test_a_step_after_the_preload_imports_next_to_nothing_and_cuda_was_not_touched() -> None:
    """Without it the first optimizer imports some 800 modules, in every worker."""
    [driver, initialised, *calls], imported = printed(RECORDED, STEPS)
    assert (driver in ("absent", "untouched"), initialised, calls) == (True, "False", [])
    assert len(imported) < 10, imported


@pytest.mark.slow
def test_what_would_start_cuda_is_noticed_on_a_build_without_it_too() -> None:
    for name, *calls in printed(RECORDED, QUESTIONS):
        assert calls, f"{name} called nothing that is recorded"
