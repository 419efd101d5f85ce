"""Cost of one optimizer step, by shape, against the floor that the FLOPs set.

    python benchmarks/train_step.py [cpu|cuda]

The floor is the step's FLOPs at the rate of a large square matrix product on the same device, threads and
precision. What is above it is launching small operations, memory traffic and everything that is not a product.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

from isoflop.corpus import open_corpus, vocab_size
from isoflop.plan.planner import make_plan
from isoflop.rundir import Execution
from isoflop.spec import load_spec
from isoflop.train.loop import Training
from isoflop.train.peak import measure_peak
from isoflop.train.precision import configure
from isoflop.train.progress import Progress

SWEEP = Path(__file__).parent.parent / "sweeps" / "quickstart.toml"
WARM_STEPS, STEPS = 20, 150


class Unwatched:
    """Nobody is told anything."""

    def after_step(self, progress: Progress, loss: float) -> None:
        """Ignored."""

    def between(self) -> None:
        """Ignored."""


def main() -> None:
    """Print a row per shape of the quickstart sweep."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    execution = Execution(
        device_kind="cuda" if kind == "cuda" else "cpu",
        dtype="bfloat16" if kind == "cuda" else "float32",
        n_threads=1,
        micro_batch_sequences=1024,
    )
    device = configure(execution)
    rate = measure_peak(execution)
    name = torch.cuda.get_device_name() if kind == "cuda" else "one CPU core"
    print(f"{name}, {execution.dtype}, large product {rate / 1e9:.0f} GFLOP/s, torch {torch.__version__}")
    print(f"{'shape':34} {'N':>8} {'batch':>6} {'ms/step':>8} {'GFLOP/s':>8} {'of floor':>8}")
    with tempfile.TemporaryDirectory() as root:
        spec = load_spec(SWEEP)
        corpus = open_corpus(spec.corpus, spec.tokenizer, root=Path(root), base=SWEEP.parent)
        plan = make_plan(spec, corpus.facts, vocab_size=vocab_size(spec.tokenizer))
        # the seeds of a size cost the same
        for run in list({cell.run.shape: cell.run for cell in plan.cells}.values())[::3]:
            training = Training(run, corpus, execution, device, Unwatched())
            for _ in range(WARM_STEPS):
                training.step()
            begun = time.perf_counter()
            for _ in range(STEPS):
                training.step()
            step = (time.perf_counter() - begun) / STEPS
            flops = run.batch_tokens * run.shape.flops_per_token
            print(
                f"{run.shape!s:34} {run.shape.n_params_total:8d} {run.batch_tokens:6d} "
                f"{step * 1e3:8.2f} {flops / step / 1e9:8.1f} {flops / rate / step:8.1%}"
            )


if __name__ == "__main__":
    main()
