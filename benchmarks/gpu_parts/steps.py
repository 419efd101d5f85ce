"""One optimizer step: its time, the tokens per second and the share of the device's matrix product rate that it is."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from plain_loop import plain_step
from torch.profiler import ProfilerActivity, profile

from gpu_parts.common import Rows, Setting, Unwatched, product_rate, run_of, shape_of, timed
from isoflop.corpus import Corpus
from isoflop.run_spec import RunSpec
from isoflop.rundir import Execution
from isoflop.train.loop import Training
from isoflop.train.precision import configure

# Layers, width, context, sequences per batch: what a sweep of that size trains on.
LADDER = (
    (2, 14, 64, 4),
    (3, 36, 64, 8),
    (4, 64, 128, 8),
    (6, 128, 256, 8),
    (8, 256, 256, 16),
    (8, 512, 512, 16),
    (12, 768, 512, 32),
    (16, 1024, 512, 32),
)
DTYPES = ("float32", "tf32", "bfloat16")
# From this width on, float32 takes half a second a step, which tells nothing new.
BFLOAT16_ALONE = 768
# From this width on the compiler is tried: it takes some seconds for each.
COMPILED_FROM = 64
REPEATS = 3


def main(setting: Setting) -> None:
    """Measure every shape in every precision on every road."""
    corpus, rows = setting.corpus(), Rows(setting, "steps")
    peaks = {dtype: _peak(setting, dtype) for dtype in DTYPES}
    rows.measure({"what": "matrix product"}, lambda: {f"{dtype}_flops": peak for dtype, peak in peaks.items()})
    ladder = LADDER[:1] if setting.rehearsal else LADDER
    cases: list[tuple[str, str, tuple[int, int, int, int]]] = []
    for case in ladder:
        dtypes = DTYPES if case[1] < BFLOAT16_ALONE else DTYPES[-1:]
        cases += [("graph", dtype, case) for dtype in dtypes]
        plain = [dtype for dtype in ("float32", "bfloat16") if dtype in dtypes]
        cases += [(road, dtype, case) for dtype in plain for road in ("eager", "plain")]
        if case[1] >= COMPILED_FROM:
            cases += [("compiled graph", "bfloat16", case)]
    for road, dtype, case in cases:
        what = {"road": road, "dtype": dtype, "shape": f"{case[0]}x{case[1]}", "batch_tokens": case[2] * case[3]}
        rows.measure(what, lambda r=road, d=dtype, c=case: _measure(setting, corpus, peaks[d], r, d, c))


def _peak(setting: Setting, dtype: str) -> float:
    """FLOP/s of the fastest of some large square products."""
    _configure(setting, dtype)
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    return product_rate(setting.device, kind, 512 if setting.rehearsal else 8192, setting.clock)


def _configure(setting: Setting, dtype: str) -> Execution:
    """How a run is trained in `dtype`; TF32, which no sweep uses, is switched on beside it."""
    execution = setting.execution("bfloat16" if dtype == "bfloat16" else "float32")
    configure(execution)
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    return execution


def _measure(
    setting: Setting, corpus: Corpus, peak: float, road: str, dtype: str, case: tuple[int, int, int, int]
) -> dict[str, Any]:
    shape = shape_of(*case[:3])
    run = run_of(shape, case[3], corpus)
    execution = _configure(setting, dtype)
    changes = {"step": "graph" if "graph" in road else "eager", "compile": "compiled" in road}
    training = Training(run, corpus, execution.model_copy(update=changes), setting.device, Unwatched())
    advance = training.advance if road != "plain" else _plain(setting, corpus, run, dtype)
    begun = timed(advance, setting)
    seconds = _per_step(setting, training, advance)
    kernels = _kernels(advance) if road == "eager" and not setting.rehearsal else None
    memory = 0 if setting.rehearsal else torch.cuda.max_memory_allocated()
    if not setting.rehearsal:
        torch.cuda.reset_peak_memory_stats()
    return {
        "n_params": shape.n_params_total,
        "ms": 1e3 * seconds,
        "first_s": begun,
        "tokens_per_second": run.batch_tokens / seconds,
        "utilisation": run.batch_tokens * shape.flops_per_token / seconds / peak,
        "kernels": kernels,
        "peak_bytes": memory,
    }


def _per_step(setting: Setting, training: Training, advance: Callable[[], object]) -> float:
    """Seconds per step, the median of repeats of a tenth of a second and more."""

    def some() -> int:
        before = training.progress.step
        advance()
        return max(1, training.progress.step - before)

    for _ in range(3):
        some()
    once = timed(some, setting)
    n_calls = max(1, min(8, int((0.01 if setting.rehearsal else 0.15) / max(once, 1e-4))))
    found = []
    for _ in range(REPEATS):
        steps: list[int] = []
        took = timed(lambda kept=steps: kept.extend(some() for _ in range(n_calls)), setting)
        found.append(took / sum(steps))
    return statistics.median(found)


def _plain(setting: Setting, corpus: Corpus, run: RunSpec, dtype: str) -> Callable[[], object]:
    torch.use_deterministic_algorithms(mode=False)
    return plain_step(run, corpus, setting.device, bfloat16=dtype == "bfloat16")


def _kernels(advance: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        advance()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in recorded.events() or ())


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """A table of the roads in bfloat16 and the best in each precision."""
    found = {(row["shape"], row["road"], row["dtype"]): row for row in rows if "ms" in row}
    lines = [
        "| shape | N | batch (tokens) | plain ms | eager ms | graph ms: fp32 | tf32 | bf16 | compiled, bf16 "
        "| plain over the best | of the product (best, bf16) | kernels |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for shape in dict.fromkeys(row["shape"] for row in rows if "shape" in row):
        graph = found.get((shape, "graph", "bfloat16"))
        if graph is None:
            continue
        best = min(graph, found.get((shape, "compiled graph", "bfloat16"), graph), key=lambda row: row["ms"])
        plain = found.get((shape, "plain", "bfloat16"))

        def ms(road: str, dtype: str, of: str = shape) -> str:
            row = found.get((of, road, dtype))
            return f"{row['ms']:.3g}" if row else "-"

        gain = f"{plain['ms'] / best['ms']:.3g}" if plain else "-"
        kernels = found.get((shape, "eager", "bfloat16"), {}).get("kernels")
        lines.append(
            f"| {shape} | {best['n_params']:.3g} | {best['batch_tokens']} | {ms('plain', 'bfloat16')} "
            f"| {ms('eager', 'bfloat16')} | {ms('graph', 'float32')} | {ms('graph', 'tf32')} "
            f"| {ms('graph', 'bfloat16')} | {ms('compiled graph', 'bfloat16')} "
            f"| {gain} | {best['utilisation']:.2%} | {kernels or '-'} |"
        )
    return lines
