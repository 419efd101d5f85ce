"""How much faster two CPU workers finish a sweep than one, with real runs; and what their coordinator costs.

    python benchmarks/workers.py [SWEEP] [REPEATS]

Each time with a database and run directories of its own; the text is made tokens before. Nothing else may run on the
cores: a worker per core leaves the coordinator no core of its own, and what it takes they lose.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

TARGET = 1.85
QUICKSTART = Path(__file__).parent.parent / "sweeps" / "quickstart.toml"


@dataclass(frozen=True)
class Took:
    """One sweep.

    Attributes:
        wall: seconds from the command line to the end of the command.
        busy: share of the workers' time from a start to a result.
        coordinator: seconds of processor time of the command without its workers.
    """

    wall: float
    busy: float
    coordinator: float


def run(sweep: Path, corpora: Path, workers: int) -> Took:
    """What the whole sweep takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "isoflop-artifacts").mkdir()
        (folder / "isoflop-artifacts" / "corpora").symlink_to(corpora)
        command = [sys.executable, "-m", "isoflop", "run", str(sweep), "--device", "cpu", "--json"]
        begun = time.perf_counter()
        with (folder / "out").open("w") as out:
            process = subprocess.Popen([*command, "--workers", str(workers)], cwd=folder, stdout=out, stderr=out)
            _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        printed = (folder / "out").read_text()
        assert process.returncode == 0, printed
        outcome = json.loads(printed[printed.index("{\n") :])
    return Took(wall, outcome["busy_share"], used.ru_utime + used.ru_stime)


def main() -> None:
    """Print both, and their ratio, as often as is asked for."""
    sweep = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else QUICKSTART
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        plan = [sys.executable, "-m", "isoflop", "plan", str(sweep), "--device", "cpu"]
        subprocess.run(plan, cwd=name, check=True, stdout=subprocess.DEVNULL)
        corpora = Path(name) / "isoflop-artifacts" / "corpora"
        for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
            one, two = (run(sweep, corpora, workers) for workers in (1, 2))
            ratios.append(one.wall / two.wall)
            for workers, took in ((1, one), (2, two)):
                share = took.coordinator / took.wall
                print(
                    f"{workers}: {took.wall:.1f} s, busy {took.busy:.1%}, coordinator {share:.1%} of a core", flush=True
                )
            print(f"two workers are {ratios[-1]:.3f} times as fast", flush=True)
    met = "met" if median(ratios) >= TARGET else "missed"
    print(f"median {median(ratios):.3f}, target {TARGET}: {met}")


if __name__ == "__main__":
    main()
