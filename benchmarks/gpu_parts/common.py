"""What the parts share: where they measure, what they train, and rows that outlive the part that wrote them."""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from isoflop.corpus import Corpus, open_corpus
from isoflop.run_spec import OptimizerSpec, RunSpec, ScheduleSpec
from isoflop.rundir import Execution
from isoflop.shape import ModelShape
from isoflop.spec import CorpusSpec, TokenizerSpec
from isoflop.train.progress import Progress

ROOT = Path(__file__).parents[2]
OPTIMIZER = OptimizerSpec(
    learning_rate=2e-3,
    hidden_rate_scale=1.0,
    head_rate_scale=1.0,
    decay_per_step=1e-4,
    beta1=0.9,
    beta2=0.95,
    epsilon=1e-8,
    grad_clip=1.0,
)


@dataclass(frozen=True)
class Setting:
    """Where a part measures and writes. `rehearsal`: on a CPU, in sizes that show only that the code runs."""

    out: Path
    rehearsal: bool

    @property
    def kind(self) -> str:
        """What torch calls the device."""
        return "cpu" if self.rehearsal else "cuda"

    @property
    def device(self) -> torch.device:
        """The device."""
        return torch.device(self.kind)

    def execution(self, dtype: str = "float32", **changes: Any) -> Execution:
        """How a run is trained here."""
        content = {"device_kind": self.kind, "dtype": dtype, "n_threads": 1, "micro_batch_sequences": 2**16}
        return Execution.model_validate({**content, **changes})

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if not self.rehearsal:
            torch.cuda.synchronize()

    def clock(self) -> float:
        """Seconds of wall time, when the device has done what it was given."""
        self.wait()
        return time.perf_counter()

    def corpus(self) -> Corpus:
        """The standard library of this interpreter, a few modules of it in a rehearsal."""
        pattern = {"pattern": ("*stat*.py", "a*.py")} if self.rehearsal else {}
        spec = CorpusSpec.model_validate({"source": "python-stdlib", **({} if self.rehearsal else pattern)})
        return open_corpus(spec, TokenizerSpec(), root=self.out / "corpora", base=ROOT)


class Rows:
    """The measurements of a part, a JSON line each: written as they come, found again by what they measure."""

    def __init__(self, setting: Setting, part: str) -> None:
        self._path = setting.out / f"{part}.jsonl"
        self._part = part
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self._known = [json.loads(line) for line in lines]

    def measure(self, what: dict[str, Any], how: Callable[[], dict[str, Any]]) -> None:
        """Add the row of `what`, unless there is one; an error is a row too, and the next is measured."""
        if any(what.items() <= row.items() and "error" not in row for row in self._known):
            return
        gc.collect()  # a graph and its training hold each other
        try:
            row = {**what, **how()}
        except Exception as error:
            row = {**what, "error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"  {self._part}: {json.dumps(row)}", flush=True)


class Unwatched:
    """Nobody is told anything."""

    def after_step(self, progress: Progress, loss: float) -> None:
        """Ignored."""

    def between(self) -> None:
        """Ignored."""


def shape_of(n_layers: int, width: int, context_length: int) -> ModelShape:
    """A decoder for bytes: heads of 64, or of what a narrow model has; an MLP of 8/3 widths."""
    head_dim = 64 if width % 64 == 0 and width >= 128 else 32 if width % 32 == 0 else width
    return ModelShape(
        n_layers=n_layers,
        width=width,
        n_heads=width // head_dim,
        head_dim=head_dim,
        d_ff=-(-width * 8 // 3 // 8) * 8,
        vocab_size=257,
        context_length=context_length,
    )


def run_of(shape: ModelShape, n_sequences: int, corpus: Corpus, *, n_steps: int = 100_000) -> RunSpec:
    """A run of `shape` in batches of `n_sequences`."""
    return RunSpec(
        trainer="builtin",
        shape=shape,
        n_steps=n_steps,
        batch_sequences=n_sequences,
        schedule=ScheduleSpec(warmup_steps=n_steps // 20, cooldown_steps=n_steps // 5, cooldown_shape="linear"),
        optimizer=OPTIMIZER,
        seed=0,
        corpus_fingerprint=corpus.facts.fingerprint,
        tokenizer="byte",
        eval_tokens=65536,
    )


def name_of(shape: ModelShape) -> str:
    """`4x64`: layers by width."""
    return f"{shape.n_layers}x{shape.width}"


def isoflop(*arguments: str, cwd: Path, **options: Any) -> "subprocess.Popen[str]":
    """The command line tool, started in `cwd`, its output in one pipe."""
    command = [sys.executable, "-m", "isoflop", *arguments]
    return subprocess.Popen(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


def finished(process: "subprocess.Popen[str]", timeout: float) -> tuple[int, str]:
    """Exit code and output of a process, which is ended where it takes longer than `timeout` seconds."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    return process.returncode, output


def timed(what: Callable[[], object], setting: Setting) -> float:
    """Seconds of the device for `what`."""
    begun = setting.clock()
    what()
    return setting.clock() - begun


def product_rate(device: torch.device, dtype: torch.dtype, side: int, clock: Callable[[], float]) -> float:
    """FLOP/s of the fastest of some products of square matrices; `clock` waits for the device."""
    factor = torch.rand((side, side), device=device).to(dtype)
    product = torch.empty_like(factor)
    fastest = float("inf")
    for _ in range(20):
        begun = clock()
        torch.mm(factor, factor, out=product)
        fastest = min(fastest, clock() - begun)
    return 2 * side**3 / fastest
