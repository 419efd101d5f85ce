"""What grouping runs by achieved FLOPs costs: exponents against those of runs that spent exactly their budget.

    OMP_NUM_THREADS=1 python benchmarks/grouping.py [FOLDER]

Simulated sweeps on a known law, whose runs lie off their budgets at random or the more the larger the model: as if they
did not (`exact`), with losses as they were measured (`left`), and carried to the budget along the surface's slope
(`moved`, what isoflop does). FOLDER may hold tables in pairs, `NAME.csv` with planned and `NAME_achieved.csv` with
achieved FLOPs of the same runs. A minute.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.fit import SweepFit, fit_sweep
from isoflop.fit.budgets import group_budgets
from isoflop.fit.laws import published_law

Array = NDArray[np.float64]
LAW = published_law("epoch").surface
BUDGETS = 6e18 * 3.0 ** np.arange(4)
N_SIZES, NOISE, TARGET = 9, 0.0015, 10 * float(BUDGETS[-1])
N_SWEEPS = 200
# Random ladders, of which none should be grouped: runs, and decades that their budgets span.
LADDERS = tuple((n_runs, decades) for n_runs in (8, 10, 12, 16, 20, 30, 60) for decades in (1, 2, 4))
N_LADDERS = 300
CASES = ((0.01, False), (0.05, False), (0.05, True), (0.09, True))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    folder = parser.parse_args().folder
    print(f"{'off by':>8} {'with size':>9} {'losses':>7}   bias of a   rms of a   90 % intervals of N_opt that hold")
    for scatter, tilt in CASES:
        for how, (bias, rms, held) in simulated(scatter, tilt=tilt).items():
            print(f"{scatter:8.0%} {'yes' if tilt else 'no':>9} {how:>7}   {bias:+9.4f}   {rms:8.4f}   {held:.0%}")
    print(f"random ladders that are grouped: {ladders_grouped():.2%} of {len(LADDERS) * N_LADDERS}")
    for path in sorted(folder.glob("*_achieved.csv")) if folder else ():
        compare(path)


def simulated(scatter: float, *, tilt: bool) -> dict[str, tuple[float, float, float]]:
    """Bias and rms of the recommended a, and coverage of N_opt ten times beyond, by what is done with the losses."""
    assert LAW
    rng = np.random.default_rng(1)
    planned, place = np.repeat(BUDGETS, N_SIZES), np.tile(np.linspace(-1, 1, N_SIZES), len(BUDGETS))
    n_params = 10 ** (np.array([LAW.optimum(log_c)[0] for log_c in np.log10(planned)]) + place / 2)
    errors: dict[str, list[float]] = {"exact": [], "left": [], "moved": []}
    held = dict.fromkeys(errors, 0)
    for _ in range(N_SWEEPS):
        noise = np.exp(NOISE * rng.standard_normal(len(planned)))
        even = scatter * rng.uniform(-1, 1, len(planned))
        flops = planned * np.exp(scatter * place / 2 + even / 2 if tilt else even)
        tokens, exact = flops / (6 * n_params), planned / (6 * n_params)
        loss = losses(n_params, tokens) * noise
        groups = group_budgets(flops, n_params, tokens, loss)
        assert groups
        for how, columns in {
            "exact": (planned, n_params, exact, losses(n_params, exact) * noise),
            "left": (groups.budget_flops, n_params, tokens, loss),
            "moved": (groups.budget_flops, n_params, groups.n_tokens, groups.loss),
        }.items():
            fit = fit_sweep(*columns, targets=[TARGET])
            errors[how].append(recommended(fit)[0] - LAW.exponent_a)
            interval = fit.targets[0].n_opt_ci_statistical
            held[how] += bool(interval and interval[0] <= 10 ** LAW.optimum(np.log10(TARGET))[0] <= interval[1])
    return {
        how: (float(np.mean(found)), float(np.sqrt(np.mean(np.square(found)))), held[how] / N_SWEEPS)
        for how, found in errors.items()
    }


def ladders_grouped() -> float:
    """The share of random ladders of sizes and tokens in which groups are seen."""
    rng, n_grouped = np.random.default_rng(0), 0
    for n_runs, decades in LADDERS:
        for _ in range(N_LADDERS):
            n_params = 10 ** rng.uniform(7, 7 + decades / 2, n_runs)
            n_tokens = 10 ** rng.uniform(9, 9 + decades / 2, n_runs)
            columns = 6 * n_params * n_tokens, n_params, n_tokens, losses(n_params, n_tokens)
            n_grouped += group_budgets(*columns) is not None
    return n_grouped / (len(LADDERS) * N_LADDERS)


def losses(n_params: Array, n_tokens: Array) -> Array:
    """Of the law, nats."""
    assert LAW
    loss: Array = np.exp(LAW.log_loss(np.log(n_params), np.log(n_tokens)))
    return loss


def compare(path: Path) -> None:
    """Exponents of one pair of tables."""
    flops, n_params, n_tokens, loss = read(path)
    groups = group_budgets(flops, n_params, n_tokens, loss)
    if groups is None:
        print(f"{path.stem}: not grouped")
        return
    print(f"\n{path.stem}: {len(np.unique(flops))} values, {len(np.unique(groups.budget_flops))} budgets")
    for how, fit in {
        "planned": fit_sweep(*read(path.with_name(path.name.replace("_achieved", "")))),
        "left": fit_sweep(groups.budget_flops, n_params, n_tokens, loss),
        "moved": fit_sweep(groups.budget_flops, n_params, groups.n_tokens, groups.loss),
    }.items():
        (a, (low, high)), front, joint = recommended(fit), fit.frontier, fit.estimators.joint
        assert front and joint
        lower, upper = front.exponent_a_ci
        print(
            f"  {how:>7}: parabola a {front.exponent_a:.4f} [{lower:.3f}, {upper:.3f}] b {front.exponent_b:.4f}; "
            f"recommended a {a:.4f} [{low:.3f}, {high:.3f}]; residual {joint.residual_sd:.5f}"
        )


def recommended(fit: SweepFit) -> tuple[float, tuple[float, float]]:
    """Exponent a and its interval."""
    found = fit.estimators.recommended
    assert found and found.estimate.exponent_a is not None and found.estimate.exponent_a_ci is not None
    return found.estimate.exponent_a, found.estimate.exponent_a_ci


def read(path: Path) -> tuple[Array, Array, Array, Array]:
    """The four columns of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    b, n, d, y = (np.array([float(row[c]) for row in rows]) for c in ("budget_flops", "n_params", "n_tokens", "loss"))
    return b, n, d, y


if __name__ == "__main__":
    main()
