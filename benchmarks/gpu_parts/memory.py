"""Memory: what is estimated against what a step takes; and a sweep on a GPU that another process nearly fills."""

import json
import subprocess
import sys
import time
from typing import Any

import torch

from gpu_parts.common import Rows, Setting, Unwatched, finished, isoflop, run_of, shape_of
from isoflop.corpus import Corpus
from isoflop.plan.estimate import memory_bytes
from isoflop.train.loop import Training
from isoflop.train.precision import configure

CASES = (
    (2, 14, 64, 64),
    (4, 64, 128, 64),
    (6, 128, 256, 64),
    (8, 256, 256, 64),
    (8, 512, 512, 32),
    (16, 1024, 512, 32),
)
# One batch of a quarter million tokens: some 10 GB, where 4 are left.
SWEEP = """
name = "crowded"
budgets = [2e13]
[grid]
sizes = 1
center_tokens_per_param = 30
[model]
context_length = 256
[recipe]
base_batch_tokens = 262144
min_steps = 10
[evaluation]
tokens = 131072
"""
LEFT = 4 * 2**30
HOG = """
import sys, torch
n_bytes = torch.cuda.mem_get_info()[0] - int(sys.argv[1])
held = torch.empty(n_bytes, dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""


def main(setting: Setting) -> None:
    """Measure every shape on both roads, then run a sweep where memory runs out."""
    corpus, rows = setting.corpus(), Rows(setting, "memory")
    for case in CASES[:1] if setting.rehearsal else CASES:
        for step in ("eager", "graph"):
            what = {"shape": f"{case[0]}x{case[1]}", "step": step}
            rows.measure(what, lambda c=case, s=step: _peak(setting, corpus, c, s))
    if not setting.rehearsal:
        rows.measure({"what": "crowded"}, lambda: _crowded(setting))


def _peak(setting: Setting, corpus: Corpus, case: tuple[int, int, int, int], step: str) -> dict[str, Any]:
    shape = shape_of(*case[:3])
    run = run_of(shape, case[3], corpus)
    execution = setting.execution("bfloat16", step=step)
    device = configure(execution)
    if not setting.rehearsal:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    training = Training(run, corpus, execution, device, Unwatched())
    for _ in range(3):
        assert training.advance() is None
    estimated = memory_bytes(shape, case[3])
    if setting.rehearsal:
        return {"estimated_bytes": estimated}
    allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return {
        "estimated_bytes": estimated,
        "allocated_bytes": allocated,
        "reserved_bytes": reserved,
        "corpus_bytes": corpus.train.n_bytes,
    }


def _crowded(setting: Setting) -> dict[str, Any]:
    """Another process leaves 4 GiB: the worker must run out of memory, and the next attempt fit."""
    folder = setting.out / "crowded"
    folder.mkdir(exist_ok=True)
    (folder / "sweep.toml").write_text(SWEEP)
    hog = subprocess.Popen(
        [sys.executable, "-c", HOG, str(LEFT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert hog.stdout is not None and hog.stdout.readline() == "held\n"
        begun = time.perf_counter()
        code, output = finished(isoflop("run", "sweep.toml", "--share-devices", cwd=folder), timeout=90)
        took = time.perf_counter() - begun
    finally:
        hog.kill()
        hog.wait()
    jobs = [json.loads(path.read_text())["execution"] for path in folder.glob("isoflop-artifacts/*/job.json")]
    return {"exit_code": code, "seconds": took, "executions": jobs, "said": output[-800:]}


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """Estimate over peak, and what a crowded GPU led to."""
    lines = [
        "| shape | step | estimated GB | allocated GB | reserved GB | estimated / allocated |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "allocated_bytes" in row:
            gb = [row[key] / 1e9 for key in ("estimated_bytes", "allocated_bytes", "reserved_bytes")]
            lines.append(
                f"| {row['shape']} | {row['step']} | {gb[0]:.2f} | {gb[1]:.2f} | {gb[2]:.2f} | {gb[0] / gb[1]:.2f} |"
            )
    lines += [
        f"Crowded GPU: exit code {row['exit_code']}, {row['executions']}"
        for row in rows
        if row.get("what") == "crowded" and "error" not in row
    ]
    return lines
