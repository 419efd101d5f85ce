"""Several runs on one GPU: in processes, with and without NVIDIA's MPS, and as graphs on streams of one process."""

import multiprocessing as mp
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from gpu_parts.common import Rows, Setting, Unwatched, run_of, shape_of, timed
from isoflop.corpus import Corpus
from isoflop.train.loop import Training
from isoflop.train.precision import configure
from isoflop.train.step_graph import StepGraph

CASES = ((4, 64, 128, 8), (6, 128, 256, 8), (8, 256, 256, 16))
RUNS = (1, 2, 4, 8, 16)
SECONDS = 0.6
MPS = "nvidia-cuda-mps-control"


def main(setting: Setting) -> None:
    """Measure total tokens per second of every number of runs, in each of the ways."""
    rows = Rows(setting, "packing")
    cases = CASES[:1] if setting.rehearsal else CASES
    numbers = RUNS[:2] if setting.rehearsal else RUNS
    corpus = setting.corpus()
    for case in cases:
        for n_runs in numbers:
            what = {"way": "streams", "shape": f"{case[0]}x{case[1]}", "runs": n_runs}
            rows.measure(what, lambda c=case, n=n_runs: _streams(setting, corpus, c, n))
    _processes(setting, rows, "processes", cases, numbers)
    if not setting.rehearsal and shutil.which(MPS):
        with tempfile.TemporaryDirectory() as folder:
            _with_mps(setting, rows, Path(folder), cases, numbers)


def _streams(setting: Setting, corpus: Corpus, case: tuple[int, int, int, int], n_runs: int) -> dict[str, Any]:
    """Recorded steps replayed in turn, each run's on a stream of its own."""
    made = [_training(setting, corpus, case, seed) for seed in range(n_runs)]
    for training in made:
        training.advance()
    graphs = [training.fast for training in made if isinstance(training.fast, StepGraph)]
    n_steps = 1 if setting.rehearsal else 32
    streams = [nullcontext() if setting.rehearsal else torch.cuda.stream(torch.cuda.Stream()) for _ in graphs]

    def go() -> None:
        for graph in graphs:
            graph._row.zero_()
        setting.wait()
        for _ in range(n_steps):
            for graph, stream in zip(graphs, streams, strict=True):
                with stream:
                    graph._replay()

    go()
    best = min(timed(go, setting) for _ in range(3))
    return {"tokens_per_second": n_runs * n_steps * made[0].run.batch_tokens / best}


def _training(setting: Setting, corpus: Corpus, case: tuple[int, int, int, int], seed: int) -> Training:
    run = run_of(shape_of(*case[:3]), case[3], corpus).model_copy(update={"seed": seed})
    execution = setting.execution("bfloat16", step="graph")
    return Training(run, corpus, execution, configure(execution), Unwatched())


def _processes(setting: Setting, rows: Rows, way: str, cases: tuple[Any, ...], numbers: tuple[int, ...]) -> None:
    """Start the most processes once; in each round some of them train."""
    context = mp.get_context("spawn")
    ends: list[Connection] = []
    children = []
    for seed in range(max(numbers)):
        here, there = context.Pipe()
        child = context.Process(target=_child, args=(setting, there, seed), daemon=True)
        child.start()
        ends.append(here)
        children.append(child)
    try:
        for end in ends:
            assert end.recv() == "ready"
        if "MPS" in way and not _control("get_server_list").strip():
            rows.measure({"way": way}, _no_server)
            return
        for case in cases:
            for end in ends:
                end.send(case)
            for end in ends:
                _received(end)  # built and warm
            for n_runs in numbers:
                what = {"way": way, "shape": f"{case[0]}x{case[1]}", "runs": n_runs}
                rows.measure(what, lambda n=n_runs: _round(ends[:n]))
    finally:
        for child in children:
            child.kill()
            child.join()


def _round(ends: list[Connection]) -> dict[str, Any]:
    for end in ends:
        end.send("go")
    return {"tokens_per_second": sum(_received(end) for end in ends)}


def _received(end: Connection) -> float:
    if not end.poll(40):
        raise TimeoutError("a process did not answer within 40 s")
    said = end.recv()
    if isinstance(said, str):
        raise RuntimeError(said)
    return float(said)


def _child(setting: Setting, end: Connection, seed: int) -> None:
    corpus = setting.corpus()
    torch.zeros(1, device=setting.device)
    end.send("ready")
    training: Training | None = None
    while True:
        order = end.recv()
        try:
            if order != "go":
                training = _training(setting, corpus, order, seed)
                for _ in range(3):
                    training.advance()
                end.send(0.0)
            elif training is not None:
                end.send(_rate(training, 0.1 if setting.rehearsal else SECONDS))
        except Exception as error:
            end.send(f"{type(error).__name__}: {error}")


def _rate(training: Training, seconds: float) -> float:
    """Tokens per second of a run that trains on."""
    before, begun = training.progress.n_tokens, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        training.advance()
    return (training.progress.n_tokens - before) / (time.perf_counter() - begun)


def _control(order: str) -> str:
    """What the service answers to `order`."""
    done = subprocess.run([MPS], input=f"{order}\n", text=True, check=False, timeout=20, capture_output=True)
    return done.stdout


def _no_server() -> dict[str, Any]:
    raise RuntimeError("the service has no server: these processes train without it")


def _with_mps(setting: Setting, rows: Rows, folder: Path, cases: tuple[Any, ...], numbers: tuple[int, ...]) -> None:
    """The same under a Multi-Process Service of our own, which ends with the part."""
    os.environ |= {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    subprocess.run([MPS, "-d"], check=False, timeout=20)
    try:
        _processes(setting, rows, "processes, MPS", cases, numbers)
    finally:
        _control("quit")
        for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"):
            del os.environ[name]


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """Total tokens per second by number of runs."""
    numbers = sorted({row["runs"] for row in rows if "runs" in row})
    lines = ["| shape | way | " + " | ".join(f"{n} runs" for n in numbers) + " |", "|---|---|" + "---|" * len(numbers)]
    found = {
        (row["shape"], row["way"], row["runs"]): row["tokens_per_second"]
        for row in rows
        if "runs" in row and "error" not in row
    }
    for shape, way in dict.fromkeys(key[:2] for key in found):
        rates = (found.get((shape, way, n)) for n in numbers)
        lines.append(
            f"| {shape} | {way} | " + " | ".join(f"{rate / 1e6:.2f}M" if rate else "-" for rate in rates) + " |"
        )
    return lines
