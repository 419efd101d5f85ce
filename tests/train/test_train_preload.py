"""What workers are forked from has loaded everything that a training step needs."""

import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
import sys
import torch

def touched(*arguments):
    raise AssertionError("CUDA was asked for something")

for name in ("is_available", "device_count", "_lazy_init", "get_device_properties"):
    setattr(torch.cuda, name, touched)
import isoflop.train.preload

before = set(sys.modules)
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
print(*sorted(name for name in set(sys.modules) - before if not name.startswith("tests")))
"""


@pytest.mark.slow
def test_a_step_after_the_preload_imports_next_to_nothing_and_cuda_was_not_touched() -> None:
    """Without it the first optimizer imports some 800 modules, in every worker."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    imported = done.stdout.split()
    assert len(imported) < 10, imported
