"""What does a run cost the coordinator on each engine, and how often is a cluster asked?

    python benchmarks/engines.py [--engine local|slurm|ray] [--runs 1000] [--jobs 8] [--engine-option KEY=VALUE ...]

Trains nothing: simulated runs, each a process of its own on a node, through the engine that is really there.
Coordinator time is processor time of this process, reading events, recording and handing out included, divided by runs.
`requests` are commands of the cluster (sbatch, squeue, sacct, scancel) by name.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

N_BUDGETS, N_SIZES = 10, 10
MOST_MS = 20.0


def main() -> int:
    """Measure one engine; 1 where a run costs more than 20 ms, or one is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("local", "slurm", "ray"), default="local")
    parser.add_argument("--runs", type=int, default=1000, help="simulated runs, a multiple of 100")
    parser.add_argument("--jobs", type=int, default=8, help="jobs, or local workers, at once")
    parser.add_argument("--engine-option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, default=None, help="one that the nodes see too; default: temporary")
    arguments = parser.parse_args()
    options = dict(option.split("=", 1) for option in arguments.engine_option)
    requests = _counted()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measured = _measure(Path(folder), arguments.engine, arguments.runs, arguments.jobs, options)
    measured["requests"] = dict(requests)
    print(json.dumps(measured, indent=1))
    enough = measured["completed"] == measured["runs"] and measured["coordinator_ms_per_run"] <= MOST_MS
    return 0 if enough else 1


def _counted() -> Counter[str]:
    """Counts the commands that this process starts from now on, by name."""
    counts: Counter[str] = Counter()
    real = subprocess.run

    def run(command: Any, *arguments: Any, **options: Any) -> Any:
        counts[Path(command[0]).name] += 1
        return real(command, *arguments, **options)

    subprocess.run = run
    return counts


def _measure(folder: Path, engine: Any, n_runs: int, jobs: int, options: dict[str, str]) -> dict[str, Any]:
    from isoflop.engine.notices import AttemptEnded  # not above: every forked worker imports this file again
    from isoflop.sweep.session import open_session
    from isoflop.sweep.workplace import EngineChoice

    budgets = [float(f"{10 ** (17 + number / 8):.4g}") for number in range(N_BUDGETS)]
    seeds = max(1, n_runs // (N_BUDGETS * N_SIZES))
    (folder / "many.toml").write_text(
        f'name = "many"\nbudgets = {budgets}\ntrainer = "simulated"\n[grid]\nsizes = {N_SIZES}\nseeds = {seeds}\n'
    )
    choice = EngineChoice(engine, options, lambda said: print(said, file=sys.stderr))
    begun, opened = time.perf_counter(), time.process_time()
    session_of = open_session(
        folder / "many.toml",
        folder / "isoflop.db",
        folder / "artifacts",
        device="cpu",
        workers=jobs,
        retry=False,
        engine=choice,
    )
    with session_of as session:
        ready, before = time.perf_counter(), time.process_time()
        jobs_used = {event.engine_job for event in session.events() if isinstance(event, AttemptEnded)}
        spent, took = time.process_time() - before, time.perf_counter() - ready
        n_planned, completed = len(session.plan.runs), session.outcome().n_completed
    return {
        "engine": engine,
        "runs": n_planned,
        "completed": completed,
        "workers": jobs,
        "jobs_of_the_cluster": len(jobs_used - {""}),
        "seconds_until_the_first_worker": ready - begun,
        "coordinator_s_of_opening": before - opened,
        "seconds": took,
        "coordinator_ms_per_run": 1e3 * spent / n_planned,
    }


if __name__ == "__main__":
    sys.exit(main())
