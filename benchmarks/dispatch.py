"""What starting workers costs: sweeps of N runs, simulated (training takes no time) and real (what is not training).

python benchmarks/dispatch.py [RUNS] [WORKERS]
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SIMULATED = """
name = "dispatch"
budgets = [1e18]
trainer = "simulated"
[grid]
sizes = 1
seeds = {runs}
"""
# A second of training each: what workers do beside it shows.
REAL = """
name = "dispatch"
budgets = [1e9]
[grid]
sizes = 1
seeds = {runs}
center_n_params = 12e3
[model]
context_length = 64
[recipe]
min_steps = 20
[evaluation]
tokens = 4096
"""


def run(folder: Path, sweep: str, workers: str, runs: int) -> float:
    """Seconds that the sweep takes, from the command line to the end of the command."""
    (folder / "s.toml").write_text(sweep.format(runs=runs))
    begun = time.perf_counter()
    command = [sys.executable, "-m", "isoflop", "run", "s.toml", "--workers", workers, "--json"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["runs"]["completed"] == runs
    return time.perf_counter() - begun


def moments(folder: Path, kind: str) -> Iterator[float]:
    """When the workers said so, on the clock that never jumps."""
    for file in folder.glob("isoflop-artifacts/*/events.jsonl"):
        events = map(json.loads, file.read_text().splitlines())
        yield from (event["monotonic"] for event in events if event["event"] == kind)


def beside_training(folder: Path, workers: int, runs: int) -> float:
    """Seconds per run, from the first claim to the last result, that are not training or evaluation."""
    results = folder.glob("isoflop-artifacts/*/result-*.json")
    trained = sum(json.loads(file.read_text())["seconds"] for file in results)
    return (workers * (max(moments(folder, "result")) - min(moments(folder, "started"))) - trained) / runs


def main() -> None:
    """Print seconds per run, process start, claim, result and record included."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    workers = sys.argv[2] if len(sys.argv) > 2 else "2"
    with tempfile.TemporaryDirectory() as folder:
        seconds = run(Path(folder), SIMULATED, workers, runs)
    print(f"{runs} simulated runs on {workers} workers: {seconds:.1f} s, {seconds / runs * 1e3:.0f} ms a run")
    with tempfile.TemporaryDirectory() as folder:
        seconds = run(Path(folder), REAL, workers, runs)
        beside = beside_training(Path(folder), int(workers), runs)
    print(f"{runs} real runs: {seconds:.1f} s; beside training, {beside * 1e3:.0f} ms of a worker's time per run")


if __name__ == "__main__":
    main()
