"""How many tokens per second a sweep trains on, beside the loop a person writes and the same through torch.compile.

    python benchmarks/train_throughput.py [--device cpu|cuda] [--shapes 2x14,4x64] [--repeats N] [--no-compile] [--json]

One worker: one thread of a CPU, or one GPU. Shape by shape the three roads train the same model on batches of the
same size in one process, a part of a second each in turn; their medians count. isoflop's is the step that a sweep
would take here. On a CPU the clock is the CPU time of the process, which other processes disturb less than wall time.

FLOPs are counted as in a plan (the whole attention matrix, the head). The ceiling is the fastest of some large square
products in the same precision in the same process; own kernels may exceed it. Most of the time is compiling: half a
minute a shape on a CPU, more on a busy one. Where that fails, for want of a C++ compiler say, the table says so.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from gpu_parts.common import Unwatched, product_rate, run_of, shape_of
from plain_loop import plain_step

from isoflop import __version__
from isoflop.corpus import Corpus, open_corpus
from isoflop.engine.execution import job_file
from isoflop.engine.local.devices import slot_options
from isoflop.engine.protocol import Slot
from isoflop.errors import IsoflopError
from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import Execution, RunDir
from isoflop.spec import CorpusSpec, TokenizerSpec
from isoflop.train.loop import Training
from isoflop.train.peak import SIDE
from isoflop.train.precision import configure

ROOT = Path(__file__).parent.parent
Case = tuple[int, int, int, int]  # layers, width, context, sequences per batch
LADDERS: dict[str, tuple[Case, ...]] = {
    "cpu": ((2, 6, 64, 3), (2, 14, 64, 3), (3, 36, 64, 2), (4, 64, 64, 3), (6, 128, 64, 8), (8, 256, 64, 16)),
    "cuda": (
        (2, 6, 64, 4), (2, 14, 64, 4), (3, 36, 64, 8), (4, 64, 128, 8), (6, 128, 256, 8), (8, 256, 256, 16),
        (8, 512, 512, 16), (12, 768, 512, 32), (16, 1024, 512, 32),
    ),
}  # fmt: skip
ROADS = ("isoflop", "plain", "compiled")
# How long a road is measured before the next has its turn, at least one step, and steps before the first.
SECONDS, WARM_UPS = 0.25, 3
N_STEPS = 10_000_000  # more than any measurement takes
TOKENS_PER_PARAMETER = 20


@dataclass(frozen=True)
class Place:
    """Where is measured: the worker's room, its device and the clock."""

    slot: Slot
    device: torch.device

    @property
    def clock_name(self) -> str:
        """What the seconds are."""
        return "CPU time of the process" if self.device.type == "cpu" else "wall time"

    def clock(self) -> float:
        """Seconds, when the device has done what it was given."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


@dataclass(frozen=True)
class Road:
    """One way to train: `advance` takes some steps and returns how many."""

    advance: Callable[[], int]
    deterministic: bool

    def seconds_per_step(self, place: Place, at_least: float) -> float:
        """Seconds per step, over `at_least` so many seconds and one step."""
        torch.use_deterministic_algorithms(self.deterministic)
        n_steps, begun = 0, place.clock()
        while (took := place.clock() - begun) < at_least or not n_steps:
            n_steps += self.advance()
        return took / n_steps


def main() -> int:
    """Measure the shapes one after the other, and print a table or a document."""
    arguments = _arguments()
    try:
        document = measure(arguments)
    except IsoflopError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)
        return 1
    print(json.dumps(document, indent=1) if arguments.json else "\n".join(table(document)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(LADDERS), default="cpu", help="what to train on (cpu)")
    parser.add_argument("--shapes", help="layers x width, with commas between them; the whole ladder without")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each road (7)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", action="store_true", help="a document instead of a table")
    arguments = parser.parse_args()
    try:
        ladder = LADDERS[arguments.device]
        arguments.cases = (
            [case_of(name, ladder) for name in arguments.shapes.split(",")] if arguments.shapes else ladder
        )
    except ValueError:
        parser.error(f"{arguments.shapes!r} is no list of shapes; one looks like 2x14,4x64")
    if arguments.repeats < 1:
        parser.error("there must be a repeat")
    return arguments


def case_of(name: str, ladder: tuple[Case, ...]) -> Case:
    """The case of a shape: the ladder's, else with context and batch of the next wider one that the ladder has.

    Raises:
        ValueError: `name` is not two numbers above zero with an x between them, the width even.
    """
    n_layers, width = map(int, name.split("x"))
    if n_layers < 1 or width < 2 or width % 2:
        raise ValueError(name)
    known = [case for case in ladder if case[:2] == (n_layers, width)]
    _, _, *rest = next(iter(known or [case for case in ladder if case[1] >= width] or ladder[-1:]))
    return (n_layers, width, rest[0], rest[1])


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The document: the machine, the ceiling, a row per shape.

    Raises:
        IsoflopError: there is no such device.
    """
    (slots,) = slot_options(arguments.device, None)
    place = Place(slots[0], torch.device(arguments.device))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = open_corpus(CorpusSpec(source="python-stdlib"), TokenizerSpec(), root=Path(folder), base=ROOT)
        for case in arguments.cases:
            rows.append(_row(place, corpus, case, arguments.repeats, compiled=not arguments.no_compile))
            print(f"measured {rows[-1]['shape']}", file=sys.stderr, flush=True)
    return {
        "schema_version": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "device": place.slot.name,
        "device_kind": arguments.device,
        "n_threads": torch.get_num_threads(),
        "clock": place.clock_name,
        "repeats": arguments.repeats,
        "isoflop": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "shapes": rows,
    }


def _row(place: Place, corpus: Corpus, case: Case, repeats: int, *, compiled: bool) -> dict[str, Any]:
    """What was measured of a shape."""
    run = run_of(shape_of(*case[:3]), case[3], corpus, n_steps=N_STEPS)
    execution = _execution(run, corpus, place)
    device = configure(execution)
    roads = {"isoflop": _ours(run, corpus, execution, device), "plain": _theirs(run, corpus, place, compiled=False)}
    first = {name: _warm(road, place) for name, road in roads.items()}
    not_compiled = None if compiled else "--no-compile"
    if compiled:
        road = _theirs(run, corpus, place, compiled=True)
        try:
            first["compiled"] = _warm(road, place)
            roads["compiled"] = road
        except Exception as error:  # torch.compile wraps in types of its own whatever the compiler said
            not_compiled = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200]
    taken: dict[str, list[float]] = {name: [] for name in roads}
    for _ in range(repeats):
        for name, road in roads.items():
            taken[name].append(road.seconds_per_step(place, SECONDS))
    dtype = torch.bfloat16 if place.slot.bfloat16 else torch.float32
    ceiling = product_rate(device, dtype, SIDE[device.type], place.clock)
    return {
        "shape": f"{case[0]}x{case[1]}",
        "n_params": run.shape.n_params_total,
        "context_length": case[2],
        "batch_tokens": run.batch_tokens,
        "flops_per_step": run.batch_tokens * run.shape.flops_per_token,
        "dtype": execution.dtype,
        "step": execution.step,
        "instructions": execution.instructions,
        "compile": execution.compile,
        "ceiling_flops_per_second": ceiling,
        **_compared(run, {name: statistics.median(seconds) for name, seconds in taken.items()}, ceiling, taken, first),
        "not_compiled": not_compiled,
    }


def _execution(run: RunSpec, corpus: Corpus, place: Place) -> Execution:
    """How a sweep would train the model, on 20 tokens per parameter: whether compiling pays depends on that."""
    n_steps = max(1000, TOKENS_PER_PARAMETER * run.shape.n_params_total // run.batch_tokens)
    usual = run_of(run.shape, run.batch_sequences, corpus, n_steps=n_steps)
    with tempfile.TemporaryDirectory() as folder:
        return job_file(Job((usual,)), place.slot, RunDir(Path(folder))).execution


def _compared(
    run: RunSpec,
    medians: dict[str, float],
    ceiling: float,
    taken: dict[str, list[float]],
    first: dict[str, float],
) -> dict[str, Any]:
    """Every road's figures, and isoflop's beside the others'."""
    roads = {
        name: {
            "seconds_per_step": seconds,
            "least": min(taken[name]),
            "most": max(taken[name]),
            "first_seconds": first[name],
            "tokens_per_second": run.batch_tokens / seconds,
            "ceiling_share": run.batch_tokens * run.shape.flops_per_token / seconds / ceiling,
        }
        for name, seconds in medians.items()
    }
    ratios = {
        f"times_{name}": medians[name] / medians["isoflop"] if name in medians else None
        for name in ROADS
        if name != "isoflop"
    }
    return {"roads": roads, **ratios}


def _warm(road: Road, place: Place) -> float:
    """Wall seconds of the first step or chunk; some more follow, untimed."""
    begun = time.perf_counter()
    road.seconds_per_step(place, 0)
    took = time.perf_counter() - begun
    for _ in range(WARM_UPS):
        road.seconds_per_step(place, 0)
    return took


def _ours(run: RunSpec, corpus: Corpus, execution: Execution, device: torch.device) -> Road:
    training = Training(run, corpus, execution, device, Unwatched())

    def advance() -> int:
        before = training.progress.step
        problem = training.advance()
        if problem is not None:
            raise RuntimeError(problem)
        return training.progress.step - before

    return Road(advance, deterministic=True)


def _theirs(run: RunSpec, corpus: Corpus, place: Place, *, compiled: bool) -> Road:
    if compiled:
        torch.compiler.reset()
    step = plain_step(run, corpus, place.device, bfloat16=place.slot.bfloat16, compiled=compiled)

    def advance() -> int:
        step()
        return 1

    return Road(advance, deterministic=False)


def table(document: dict[str, Any]) -> list[str]:
    """The document for people, a row per shape."""
    first = document["shapes"][0]
    how = " ".join(filter(None, (first["step"], first["instructions"], first["dtype"])))
    lines = [
        f"{document['device']}, torch {document['torch']}, {document['date']}; {how}",
        f"threads: {document['n_threads']}; {document['clock']}, medians of {document['repeats']}",
        f"large products: {first['ceiling_flops_per_second'] / 1e9:.0f} GFLOP/s",
        "",
        f"{'':24}{'ms per step':^33}{'tokens per second':^33}{'of the ceiling, %':^24}{'times as fast as':^18}",
        f"{'shape':>8}{'N':>9}{'batch':>7}" + f"{'isoflop':>11}{'plain':>11}{'compiled':>11}" * 2
        + f"{'isoflop':>8}{'plain':>8}{'comp.':>8}{'plain':>8}{'comp.':>8}",
    ]  # fmt: skip
    for row in document["shapes"]:
        roads = [row["roads"].get(name) for name in ROADS]
        cells = [f"{1e3 * road['seconds_per_step']:.3g}" if road else "-" for road in roads]
        cells += [f"{road['tokens_per_second']:,.0f}" if road else "-" for road in roads]
        shares = [f"{100 * road['ceiling_share']:.1f}" if road else "-" for road in roads]
        shares += [f"{row[name]:.3g}" if row[name] else "-" for name in ("times_plain", "times_compiled")]
        lines.append(
            f"{row['shape']:>8}{row['n_params']:>9.3g}{row['batch_tokens']:>7}"
            + "".join(f"{cell:>11}" for cell in cells)
            + "".join(f"{cell:>8}" for cell in shares)
            + (f"   not compiled: {row['not_compiled']}" if row["not_compiled"] else "")
        )
    return lines


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped: what was measured so far is lost. Fewer --shapes take less time.")
    except OSError as error:
        sys.exit(f"Cannot go on: {error}.")
