"""How long the fit takes, part by part, and how far that is from what it cannot do without.

    OMP_NUM_THREADS=1 python benchmarks/fit_speed.py [--repeats 25] [--json]

Medians, least and most of several repeats, on one BLAS thread. The floor of a fit is the FLOPs of its Newton steps,
counted as they are taken (`counting`), at the rate of a large product of double-precision matrices on the same core:
what is above it is small operations, exponentials, rejected steps, and all that is not a Newton step. The floor of a
process is one that only imports the packages it needs.
"""

import argparse
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy

from isoflop.fit import fit_sweep
from isoflop.fit.arrays import Array
from isoflop.fit.estimators.bootstrap import refit_surface
from isoflop.fit.estimators.joint_objective import JointObjective
from isoflop.fit.estimators.surface import HUBER_DELTA, LEAST_SQUARES, solve_surface
from isoflop.fit.estimators.surface_objective import SurfaceObjective
from isoflop.fit.laws import SurfaceLaw

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
N_REFITS = 1000
# Rows and columns of the product that tells a core's rate.
PRODUCT = 1024

# FLOPs of one exponential, logarithm or division: range reduction and a polynomial of about ten terms.
HARD = 20
# FLOPs of one Newton step per row, hard ones apart; products that give symmetric matrices count half.
# Surface, 5 parameters: prediction and Huber's loss 21 (3 exp, 1 log, 3 divisions); Jacobian, its weights and two
# weighted products 79 (1 division); second derivatives 14; gradient 10.
SURFACE_STEP = 124 + 8 * HARD
# Joint valley, 6 parameters: valley, centring and squares 25 (3 exp, 2 divisions); slopes 25, centred 24; weighted
# product 48, gradient 12; second derivatives 25, their moments 66.
JOINT_STEP = 225 + 5 * HARD

# The simulated sweep: Besiroglu et al. 2024 (arXiv 2404.10102), 5 budgets of 7 sizes, noise as in published sweeps.
LAW = SurfaceLaw.of(1.8169, 482.01, 2085.43, 0.3478, 0.3658)
BUDGETS = 8.1e20 / 3.0 ** np.arange(4, -1, -1)
TARGET_FLOPS = 100 * BUDGETS[-1]
N_SIZES, HALF_WIDTH, NOISE = 7, 0.6, 0.002
# What a fit costs depends on its noise: repeats take so many sweeps in turn.
N_SIMULATED = 25

FIT_IMPORT = "import isoflop.fit"
# What the fit, and the command line around it, import from outside.
FIT_NEEDS = "import numpy, scipy.special"
CLI_NEEDS = "import numpy, scipy.special, typer"


@dataclass(frozen=True)
class Case:
    """Something timed; `target` and `floor` in seconds, the latter None where Newton steps are to be counted."""

    name: str
    action: Callable[[], object]
    target: float | None = None
    floor: Callable[[], float] | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds."""

    name: str
    median: float
    least: float
    most: float
    target: float | None
    floor: float


def main() -> None:
    """Print a row per case, or one document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--json", action="store_true", help="print one document")
    args = parser.parse_args()
    machine = describe_machine()
    timings = [measure(case, args.repeats, machine["product_flops_per_second"]) for case in cases()]
    if args.json:
        document = {"machine": machine, "repeats": args.repeats, "timings": [asdict(one) for one in timings]}
        print(json.dumps(document, indent=1))
        return
    facts = (
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in machine.items()
    )
    print(", ".join(facts))
    title = f"median of {args.repeats}, ms"
    print(f"\n{title:44} {'median':>8} {'least-most':>16} {'target':>7} {'floor':>8} {'x floor':>8}")
    for one in timings:
        show(one)


def describe_machine() -> dict[str, Any]:
    """Device, versions, threads, and the rate of one core in a large product."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "device": f"{platform.machine()} {platform.system()}",
        "cpu": f"{names[0] if names else platform.processor()} ({os.cpu_count()} cores)",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "unset: not one BLAS thread"),
        "product_flops_per_second": product_rate(),
    }


def product_rate() -> float:
    """FLOPs per second of the best of a few large products."""
    square = np.random.default_rng(0).normal(size=(PRODUCT, PRODUCT))
    return 2 * PRODUCT**3 / min(seconds(lambda: square @ square) for _ in range(5))


def cases() -> list[Case]:
    """What is timed."""
    rows = load("epoch240")
    llama, simulated = load("llama3"), itertools.cycle([simulated_sweep(seed) for seed in range(N_SIMULATED)])
    command = ["-m", "isoflop", "fit", str(DATA / "llama3.csv"), "--json"]
    return [
        *surface_cases(*(np.log(column) for column in rows[1:3]), rows[3]),
        Case(
            "fit_sweep, 35 simulated runs, a target", lambda: fit_sweep(*next(simulated), targets=[TARGET_FLOPS]), 0.030
        ),
        Case("fit_sweep, llama3 (133 runs)", lambda: fit_sweep(*llama)),
        Case("process: import isoflop.fit", lambda: python("-c", FIT_IMPORT), None, lambda: process_floor(FIT_NEEDS)),
        Case("process: isoflop fit llama3.csv --json", lambda: python(*command), 1.0, lambda: process_floor(CLI_NEEDS)),
    ]


def surface_cases(log_n: Array, log_d: Array, loss: Array) -> list[Case]:
    """Fits of the surface, and bootstrap refits from its optimum with multinomial weights."""
    n = len(loss)
    weights = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), size=N_REFITS).astype(float)

    def refits(delta: float) -> Callable[[], Array]:
        optimum = solve_surface(log_n, log_d, loss, delta=delta)
        return lambda: refit_surface(optimum, log_n, log_d, loss, weights)

    def solve(delta: float) -> Callable[[], object]:
        return lambda: solve_surface(log_n, log_d, loss, delta=delta)

    return [
        Case(f"surface, Huber, n = {n}", solve(HUBER_DELTA), 0.008),
        Case(f"surface, least squares, n = {n}", solve(LEAST_SQUARES), 0.003),
        Case(f"surface, absolute deviations, n = {n}", solve(0.0)),
        Case(f"{N_REFITS} Huber refits, n = {n}", refits(HUBER_DELTA), 0.25),
        Case(f"{N_REFITS} least-squares refits, n = {n}", refits(LEAST_SQUARES)),
    ]


def load(name: str) -> tuple[Array, ...]:
    """Budgets, parameters, tokens and losses of a published sweep."""
    return tuple(np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1).T)


def simulated_sweep(seed: int) -> tuple[Array, ...]:
    """The same of a simulated one."""
    centres = np.array([LAW.optimum(math.log10(budget))[0] for budget in BUDGETS])
    n_params = 10 ** (centres[:, None] + np.linspace(-HALF_WIDTH, HALF_WIDTH, N_SIZES)).ravel()
    budgets = np.repeat(BUDGETS, N_SIZES)
    n_tokens = budgets / (6 * n_params)
    noise = np.random.default_rng(seed).normal(0, NOISE, len(n_params))
    return budgets, n_params, n_tokens, np.exp(LAW.log_loss(np.log(n_params), np.log(n_tokens)) + noise)


def measure(case: Case, repeats: int, rate: float) -> Timing:
    """One case, after a run that warms up and counts."""
    with counting() as flops:
        case.action()
    took = [seconds(case.action) for _ in range(repeats)]
    floor = case.floor() if case.floor else sum(flops) / rate
    return Timing(case.name, statistics.median(took), min(took), max(took), case.target, floor)


@contextmanager
def counting() -> Iterator[list[float]]:
    """The FLOPs of every batch of Newton steps taken inside."""
    flops: list[float] = []

    def counted(objective: type, per_row: int) -> Any:
        original = objective.curvature

        def curvature(self: Any, theta: Array, state: tuple[Array, ...], rows: Array) -> object:
            # residuals are (steps, rows)
            flops.append(float(per_row * state[0].size))
            return original(self, theta, state, rows)

        return mock.patch.object(objective, "curvature", curvature)

    with counted(SurfaceObjective, SURFACE_STEP), counted(JointObjective, JOINT_STEP):
        yield flops


def process_floor(program: str) -> float:
    """Seconds of a process that runs `program`: the median of five."""
    return statistics.median(seconds(lambda: python("-c", program)) for _ in range(5))


def python(*arguments: str) -> None:
    """A fresh interpreter, from start to end."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def show(one: Timing) -> None:
    """Print one row, in milliseconds."""
    least_most = f"{one.least * 1e3:.2f}-{one.most * 1e3:.2f}"
    target = "-" if one.target is None else f"{one.target * 1e3:g}"
    print(
        f"{one.name:44} {one.median * 1e3:8.2f} {least_most:>16} {target:>7} {one.floor * 1e3:8.3f} "
        f"{one.median / one.floor:8.1f}"
    )


if __name__ == "__main__":
    main()
