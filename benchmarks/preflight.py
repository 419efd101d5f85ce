"""How well does `isoflop plan --measure` foretell how long a sweep takes? On an otherwise idle machine.

    python benchmarks/preflight.py [--rounds 3] [--sweep sweeps/quickstart.toml] [--workers N] [--json]

Every round measures and runs the sweep in a new folder with a new database. The measured estimate is compared with the
wall time of `isoflop run` as the command itself tells it. Exits 1 unless every round is within 15 %.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHIN = 0.15


def command(folder: Path, *arguments: str) -> dict[str, object]:
    """The document that `isoflop ARGUMENTS --json` prints in `folder`."""
    line = [sys.executable, "-m", "isoflop", *arguments, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def one_round(sweep: str, workers: list[str]) -> dict[str, float]:
    """Seconds guessed, measured and taken, in all and of training alone, and seconds that measuring took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sweep.toml").write_text(sweep)
        guessed = command(folder, "plan", "sweep.toml", *workers)["estimate"]["seconds"]  # makes the corpus, too
        begun = time.monotonic()
        document = command(folder, "plan", "sweep.toml", "--measure", *workers)
        measured = document["estimate"]
        measuring = time.monotonic() - begun
        taken = command(folder, "run", "sweep.toml", *workers)
        results = [json.loads(path.read_bytes()) for path in folder.glob("isoflop-artifacts/*/result-*.json")]
    return {
        "guessed": guessed,
        "measured": measured["seconds"],
        "device_hours": measured["device_hours"],
        "measuring": measuring,
        "taken": taken["seconds"],
        "busy_share": taken["busy_share"],
        "training_measured": sum(run["seconds"] for run in document["runs"]),
        "training_taken": sum(result["seconds"] for result in results),
        "error": measured["seconds"] / taken["seconds"] - 1,
    }


def main() -> int:
    """Print a line per round; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sweep", type=Path, default=ROOT / "sweeps" / "quickstart.toml")
    parser.add_argument("--workers")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    workers = ["--workers", asked.workers] if asked.workers else []
    rounds = []
    for number in range(asked.rounds):
        found = one_round(asked.sweep.read_text(), workers)
        rounds.append(found)
        if not asked.json:
            print(
                f"round {number + 1}: guessed {found['guessed']:.1f} s, measured {found['measured']:.1f} s "
                f"(in {found['measuring']:.1f} s), taken {found['taken']:.1f} s: {found['error']:+.1%}",
                flush=True,
            )
    if asked.json:
        print(json.dumps({"sweep": asked.sweep.stem, "rounds": rounds}, indent=1))
    return 0 if all(abs(found["error"]) <= WITHIN for found in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
