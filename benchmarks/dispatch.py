"""What starting workers costs: a simulated sweep of N runs, whose training takes no time.

python benchmarks/dispatch.py [RUNS] [WORKERS]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = """
name = "dispatch"
budgets = [1e18]
trainer = "simulated"
[grid]
sizes = 1
seeds = {runs}
"""


def main() -> None:
    """Print seconds per run, process start, claim, result and record included."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    workers = sys.argv[2] if len(sys.argv) > 2 else "2"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "s.toml").write_text(SWEEP.format(runs=runs))
        begun = time.perf_counter()
        command = [sys.executable, "-m", "isoflop", "run", "s.toml", "--workers", workers, "--json"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - begun
        assert json.loads(done.stdout)["runs"]["completed"] == runs
    print(f"{runs} simulated runs on {workers} workers: {seconds:.1f} s, {seconds / runs * 1e3:.0f} ms a run")


if __name__ == "__main__":
    main()
