"""A real sweep on the GPU: planned, killed in the middle, gone on with, fitted; and again without the kill."""

import json
import os
import signal
import time
from pathlib import Path
from statistics import median
from typing import Any

from gpu_parts.common import ROOT, Rows, Setting, finished, isoflop

SWEEP = """
name = "gpu-rehearsal"
budgets = [1e9]
[grid]
sizes = 1
seeds = 4
center_n_params = 12e3
[model]
context_length = 64
[recipe]
min_steps = 20
[evaluation]
tokens = 4096
"""


def main(setting: Setting) -> None:
    """Train the sweep twice, once with a kill, and hold the losses against each other."""
    rows = Rows(setting, "sweep")
    text = SWEEP if setting.rehearsal else (ROOT / "sweeps" / "gpu-smoke.toml").read_text()
    for name in ("killed", "whole"):
        (setting.out / name).mkdir(exist_ok=True)
        (setting.out / name / "sweep.toml").write_text(text)
    rows.measure({"what": "killed"}, lambda: _killed(setting, setting.out / "killed"))
    rows.measure({"what": "whole"}, lambda: _run(setting, setting.out / "whole"))
    rows.measure({"what": "equal"}, lambda: _equal(setting))
    rows.measure({"what": "shares"}, lambda: _shares(setting.out / "whole"))
    rows.measure({"what": "fit"}, lambda: _fit(setting.out / "whole"))


def _run(setting: Setting, folder: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    process = isoflop("run", "sweep.toml", "--device", setting.kind, "--json", cwd=folder)
    code, output = finished(process, timeout=120)
    took = time.perf_counter() - begun
    assert code == 0, output[-300:]
    document = json.loads(output[output.index("{") :])
    return {"seconds": took, "runs": document["runs"], "flops": document.get("spent_flops")}


def _killed(setting: Setting, folder: Path) -> dict[str, Any]:
    """kill -9 of the coordinator while a run trains; its workers must be gone in five seconds."""
    process = isoflop("run", "sweep.toml", "--device", setting.kind, cwd=folder, start_new_session=True)
    artifacts = folder / "isoflop-artifacts"
    end = time.monotonic() + 60
    wanted = 1 if setting.rehearsal else 3
    while len(list(artifacts.glob("*/result-*.json"))) < wanted and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.0 if setting.rehearsal else 0.7)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(artifacts.glob("*/result-*.json")))
    gone = _workers_gone(artifacts)
    return {"results_at_kill": done, "workers_gone_after_s": gone, **_run(setting, folder)}


def _workers_gone(artifacts: Path) -> float:
    begun = time.monotonic()
    while time.monotonic() < begun + 20:
        claims = [json.loads(path.read_text()) for path in artifacts.glob("*/claim.json")]
        if not any(Path(f"/proc/{claim['pid']}").exists() for claim in claims):
            return time.monotonic() - begun
        time.sleep(0.05)
    raise AssertionError("workers live on 20 s after the coordinator was killed")


def _equal(setting: Setting) -> dict[str, Any]:
    """Whether every run ended with the same loss to the last bit, killed or not."""
    losses = [losses_of(setting.out / name) for name in ("killed", "whole")]
    differing = [run_id for run_id, loss in losses[0].items() if losses[1].get(run_id) != loss]
    return {"runs": len(losses[1]), "differing": differing, "losses": losses[1]}


def losses_of(folder: Path) -> dict[str, float]:
    """The loss of every run with a result, by id."""
    results = (json.loads(path.read_text()) for path in folder.glob("isoflop-artifacts/*/result-*.json"))
    return {result["run_id"]: result["val_loss"] for result in results}


def _shares(folder: Path) -> dict[str, Any]:
    """Seconds from a worker's claim to the end of its first chunk of steps, by order; and what evaluation took."""
    jobs = [path.parent for path in folder.glob("isoflop-artifacts/*/job.json")]
    starts = sorted(_start(job) for job in jobs)
    results = [json.loads(path.read_text()) for path in folder.glob("isoflop-artifacts/*/result-*.json")]
    evaluating = [result["seconds"] - result["n_tokens"] / result["tokens_per_second"] for result in results]
    return {
        "start_seconds": [seconds for _, seconds in starts],
        "run_seconds": sum(result["seconds"] for result in results),
        "eval_seconds": sum(evaluating),
        "largest_eval_share": max(
            seconds / result["seconds"] for seconds, result in zip(evaluating, results, strict=True)
        ),
    }


def _start(job: Path) -> tuple[float, float]:
    """When a worker claimed the job, and the seconds until it told of its first steps."""
    events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
    started = next(event["time"] for event in events if event["event"] == "started")
    return started, next(event["time"] for event in events if event["event"] == "progress") - started


def _fit(folder: Path) -> dict[str, Any]:
    code, output = finished(isoflop("fit", "sweep.toml", cwd=folder), timeout=60)
    return {"exit_code": code, "text": output[:1500]}


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """What happened, in sentences."""
    found = {row["what"]: row for row in rows if "error" not in row}
    lines = []
    if whole := found.get("whole"):
        lines.append(f"{whole['runs']['completed']} runs trained in {whole['seconds']:.1f} s, process start included.")
    if shares := found.get("shares"):
        first, *others = shares["start_seconds"]
        lines.append(
            f"From claim to the first steps: {first:.2f} s in the first job of a process, then {median(others):.2f} s "
            f"(largest {max(others):.2f}); evaluation {shares['eval_seconds'] / shares['run_seconds']:.1%} of the "
            f"runs' seconds, at most {shares['largest_eval_share']:.1%} of one."
        )
    if killed := found.get("killed"):
        lines.append(
            f"Killed with {killed['results_at_kill']} results; workers gone after "
            f"{killed['workers_gone_after_s']:.1f} s; the rest took {killed['seconds']:.1f} s."
        )
    if equal := found.get("equal"):
        lines.append(f"Of {equal['runs']} runs {len(equal['differing'])} ended with other bits than without the kill.")
    return lines
