"""How long commands take for a sweep of 10,000 cells or more, all of them recorded, and what dispatching them costs.

    python benchmarks/scale.py [BUDGETS] [SIZES] [WORKERS] [RUNS]     # of 100,000 cells: 200 500 1000 10000

The sweep is simulated: its results are drawn from a known surface and recorded as a run records them, one transaction
each. RUNS of them are dispatched to so many simulated workers at once (many_workers.py), before the rest is recorded.
Every command is a process of its own, start included; CPU seconds are those of the process and its children.
"""

import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from many_workers import dispatched

from isoflop.result import Provenance, RunResult, Status
from isoflop.run_spec import RunSpec
from isoflop.store import open_store
from isoflop.train.simulate import simulate

# Up to 10,000 cells, and beyond; and for the memory of every command.
TARGET_SECONDS, TARGET_SECONDS_OF_MANY, TARGET_MEMORY_BYTES = 3.0, 8.0, 1.5e9
WORKER_SECONDS = 10.0

SWEEP = """
name = "scale"
budgets = [{budgets}]
trainer = "simulated"
[grid]
sizes = {sizes}
half_width = 1.2
"""
LOWEST_BUDGET, DECADES = 1e17, 3

COMMANDS = (
    ("plan",), ("plan", "--json"), ("status",), ("status", "--json"), ("fit",), ("fit", "--json"), ("report",),
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What one command took, in seconds, the lines it printed, and the most memory that any command so far had."""

    wall: float
    cpu: float
    n_lines: int
    memory_bytes: float


def main() -> None:
    """Print a row per command: wall and CPU seconds, lines of output, and whether the target is met."""
    given = [int(text) for text in sys.argv[1:]]
    n_budgets, n_sizes, n_workers, n_dispatched = (*given, *(100, 100, 0, 0)[len(given) :])
    target = TARGET_SECONDS if n_budgets * n_sizes <= 10_000 else TARGET_SECONDS_OF_MANY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scale.toml").write_text(sweep_file(n_budgets, n_sizes))
        print(f"{'command':16} {'wall s':>8} {'CPU s':>8} {'lines':>8} {'GB':>6}   target {target:g} s")
        show("plan, at first", timed(folder, "plan"), target)
        if n_dispatched:
            files = (folder / "scale.toml", folder / "isoflop.db", folder / "isoflop-artifacts")
            print(dispatched(*files, n_workers=n_workers, n_runs=n_dispatched, seconds=WORKER_SECONDS), flush=True)
        begun = time.perf_counter()
        n_runs = record_all(folder / "isoflop.db")
        recording = time.perf_counter() - begun
        for command in COMMANDS:
            show(" ".join(command), timed(folder, *command), target)
    print(f"{n_runs} runs at {n_budgets} budgets, all recorded ({recording:.1f} s for that)")


def sweep_file(n_budgets: int, n_sizes: int) -> str:
    """The sweep in TOML: budgets evenly spaced in log C."""
    steps = [DECADES * index / max(1, n_budgets - 1) for index in range(n_budgets)]
    return SWEEP.format(budgets=", ".join(f"{LOWEST_BUDGET * 10**step:.6e}" for step in steps), sizes=n_sizes)


def record_all(db: Path) -> int:
    """The number of runs: each now has its result in the database."""
    with open_store(db, write=True) as store:
        pending = store.pending("scale")
        for run_id in pending:
            store.record(result_of(store.run_spec(run_id)))
    return len(pending)


def result_of(run: RunSpec) -> RunResult:
    """The result that the simulated trainer gives."""
    trained = simulate(run)
    assert trained.heldout is not None
    return RunResult(
        run_id=run.run_id,
        status=Status.COMPLETED,
        attempt=1,
        simulated=True,
        n_steps=run.n_steps,
        n_tokens=run.n_tokens,
        achieved_flops=run.planned_flops,
        spent_flops=0.0,
        val_loss=trained.heldout.nats_per_token,
        val_loss_se=trained.heldout.standard_error,
        n_val_tokens=trained.heldout.n_tokens,
        seconds=0.0,
        finished_at="2026-01-01T00:00:00+00:00",
        provenance=Provenance(host="none", device="none (simulated)", isoflop_version="0", python_version="0"),
    )


def timed(folder: Path, command: str, *options: str) -> Cost:
    """What `isoflop COMMAND scale.toml` took."""
    before, begun = children_cpu_seconds(), time.perf_counter()
    line = [sys.executable, "-m", "isoflop", command, "scale.toml", *options]
    done = subprocess.run(line, cwd=folder, check=True, capture_output=True, text=True)
    wall = time.perf_counter() - begun
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024.0
    return Cost(wall, children_cpu_seconds() - before, done.stdout.count("\n"), memory)


def children_cpu_seconds() -> float:
    """CPU seconds of the processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(name: str, cost: Cost, target: float) -> None:
    """Print one row."""
    met = "met" if cost.wall <= target and cost.memory_bytes <= TARGET_MEMORY_BYTES else "missed"
    print(
        f"{name:16} {cost.wall:8.2f} {cost.cpu:8.2f} {cost.n_lines:8d} {cost.memory_bytes / 1e9:6.2f}   {met}",
        flush=True,
    )


if __name__ == "__main__":
    main()
