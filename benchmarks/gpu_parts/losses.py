"""What precision and the recorded step do to a loss: against float32, step by step, on the GPU and on the CPU."""

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gpu_parts.common import Rows, Setting, Unwatched, run_of, shape_of
from isoflop.corpus import Corpus
from isoflop.rundir import Execution
from isoflop.train.loop import train

# On 500 steps, at rates that learn: what is left of a difference is what a sweep would see.
CASES = ((2, 14, 64, 4), (4, 64, 128, 8), (6, 128, 128, 8))
N_STEPS = 500
WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("float32 eager", {}),
    ("float32 graph", {"step": "graph"}),
    ("float32 graph again", {"step": "graph"}),
    ("bfloat16 graph", {"step": "graph", "dtype": "bfloat16"}),
    ("bfloat16 graph again", {"step": "graph", "dtype": "bfloat16"}),
)
COMPILED = {"step": "graph", "dtype": "bfloat16", "compile": True}


def main(setting: Setting) -> None:
    """Train every shape in every way; compiled ones once more in a process of their own; the CPU's run comes last."""
    corpus, rows = setting.corpus(), Rows(setting, "losses")
    for case in CASES[:1] if setting.rehearsal else CASES:
        for way, changes in WAYS[:3] if setting.rehearsal else WAYS:
            what = {"shape": f"{case[0]}x{case[1]}", "way": way}
            how = setting.execution(**changes)
            rows.measure(what, lambda c=case, h=how: _losses(setting, corpus, c, h))
    for case in () if setting.rehearsal else CASES[-1:]:
        shape, how = f"{case[0]}x{case[1]}", setting.execution(**COMPILED)
        what = {"shape": shape, "way": "bfloat16 compiled"}
        rows.measure(what, lambda c=case, h=how: _losses(setting, corpus, c, h))
        what = {"shape": shape, "way": "bfloat16 compiled again"}
        rows.measure(what, lambda c=case, h=how: _in_another_process(setting, c, h))
    for case in CASES[:1] if setting.rehearsal else CASES[:2]:
        what = {"shape": f"{case[0]}x{case[1]}", "way": "float32 CPU"}
        # A rehearsal has no core to itself: threads would wait for each other spinning.
        n_threads = 1 if setting.rehearsal else min(8, os.cpu_count() or 1)
        how = Execution(device_kind="cpu", dtype="float32", n_threads=n_threads, micro_batch_sequences=64)
        rows.measure(what, lambda c=case, h=how: _losses(setting, corpus, c, h))


def _losses(setting: Setting, corpus: Corpus, case: tuple[int, int, int, int], how: Execution) -> dict[str, Any]:
    run = run_of(shape_of(*case[:3]), case[3], corpus, n_steps=20 if setting.rehearsal else N_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        trained = train(run, corpus, how, checkpoints=Path(folder), watcher=Unwatched())
    assert trained.heldout is not None, trained.reason
    heldout = trained.heldout
    return {
        "loss": heldout.nats_per_token,
        "se": heldout.standard_error,
        "curve": [loss for _, _, loss in trained.progress.curve],
        "seconds": trained.progress.seconds,
    }


def _in_another_process(setting: Setting, case: tuple[int, int, int, int], how: Execution) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_afresh, setting, case, how).result(timeout=60)


def _afresh(setting: Setting, case: tuple[int, int, int, int], how: Execution) -> dict[str, Any]:
    return _losses(setting, setting.corpus(), case, how)


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """Held-out losses and how far each lies from float32 eager."""
    lines = ["| shape | way | held-out loss | minus float32 eager | curves equal to the bit |", "|---|---|---|---|---|"]
    found = {(row["shape"], row["way"]): row for row in rows if "loss" in row}
    for (shape, way), row in found.items():
        base, first = found.get((shape, "float32 eager")), found.get((shape, way.removesuffix(" again")))
        equal = (
            ("yes" if first and first["curve"] == row["curve"] and first["loss"] == row["loss"] else "no")
            if "again" in way
            else ""
        )
        lines.append(
            f"| {shape} | {way} | {row['loss']:.6f} | {row['loss'] - base['loss']:+.6f} | {equal} |" if base else ""
        )
    return lines
