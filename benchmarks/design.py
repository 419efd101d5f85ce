"""What centring each budget on the floors found so far, and what suggested runs, gain over a fixed grid.

    OMP_NUM_THREADS=1 python benchmarks/design.py [--sweeps 100] [--seed 1] [--processes 2] [--json]

A sweep of 5 budgets, 3-fold apart, and 7 sizes starts from a guess of the optimum that is off by a normal error (0.3 or
0.6 decades at the smallest budget, 0.1 or 0.15 per decade of compute). Errors of log10 N_opt are read at 100 times the
largest budget, where nothing but the design tells how well the sweep was spent. The first three schemes spend the same
FLOPs:

- fixed: every budget centred on the guess, half-width 0.6 (`fixed 0.6`) or 1.0 decades (`fixed 1.0`);
- adaptive: the smallest budget within 1.0 decade of the guess, each next one within 0.6 of the ridge found so far;
- then `fixed 0.6` and more runs for at most a quarter of its FLOPs: replicates of runs drawn evenly, or single runs as
  `fit --suggest` asks for them (no whole valley fits the allowance). What is spent of it is shown.
"""

import argparse
import json
import math
import multiprocessing
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from surfaces import BUDGETS, CHINCHILLA, FAR, N_SIZES, SKEWED, SURFACES, Surface

from isoflop.fit.arrays import Array
from isoflop.fit.design.suggest import suggest_runs
from isoflop.fit.estimators.choice import Choice, choose
from isoflop.fit.rows import SIX, Rows, sort_rows

NOISES = (0.002, 0.005)
# Errors of the guess: of its centre at the smallest budget (decades) and of its slope (per decade of compute).
GUESSES = {"good guess": (0.3, 0.1), "poor guess": (0.6, 0.15)}
NARROW, WIDE = 0.6, 1.0
MORE_FLOPS = 0.25
# As many suggestions at a time as are no whole valley; and where to stop, come what may.
A_FEW, MOST_RUNS = N_SIZES - 1, 200
LEVEL = 0.90
MISSPECIFIED = next(surface for surface in SURFACES if surface.q == 0.7)

Run = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """A surface, a noise and a quality of guess."""

    surface: Surface
    noise: float
    guess: str


CASES = tuple(Case(s, n, g) for s in (CHINCHILLA, SKEWED, MISSPECIFIED) for n in NOISES for g in GUESSES)
SCHEMES = ("fixed 0.6", "fixed 1.0", "adaptive", "replicates", "suggested")


def train(case: Case, budget: float, log_n: Array, generator: np.random.Generator) -> Array:
    """Rows (4, n) of runs at one budget: budget, N, D, loss with noise."""
    n_params = 10**log_n
    n_tokens = budget / (6 * n_params)
    loss = case.surface.loss(n_params, n_tokens) * np.exp(generator.normal(0, case.noise, len(n_params)))
    return np.stack([np.full(len(n_params), budget), n_params, n_tokens, loss])


def valley(case: Case, budget: float, centre: float, half_width: float, generator: np.random.Generator) -> Array:
    """Rows of evenly spaced sizes."""
    return train(case, budget, centre + np.linspace(-half_width, half_width, N_SIZES), generator)


def rows_of(parts: list[Array]) -> Rows:
    """All rows as a fit takes them."""
    return sort_rows(*np.concatenate(parts, axis=1))


def guessed(case: Case, generator: np.random.Generator) -> Array:
    """log10 N (k,) on which a grid that knows nothing is centred."""
    level, slope = (sd * generator.normal() for sd in GUESSES[case.guess])
    log_c = np.log10(BUDGETS)
    optimum: Array = case.surface.optimum(log_c, SIX)[0] + level + slope * (log_c - log_c[0])
    return optimum


def adaptive(case: Case, guess: Array, generator: np.random.Generator) -> list[Array]:
    """Each budget centred on the ridge through the valleys so far, followed with the slope of the guess from one."""
    parts = [valley(case, BUDGETS[0], guess[0], WIDE, generator)]
    for k, budget in enumerate(BUDGETS[1:], start=1):
        parts.append(valley(case, budget, next_centre(parts, guess, k), NARROW, generator))
    return parts


def next_centre(parts: list[Array], guess: Array, k: int) -> float:
    """log10 N to centre budget k on."""
    choice = choose(rows_of(parts)) if k > 1 else None
    if choice is not None:
        return choice.on_params.at(math.log10(BUDGETS[k]))[0]
    # one valley has a floor and no slope: its best run stands for the floor, the guess for the slope
    last = parts[-1]
    return float(np.log10(last[1, np.argmin(last[3])]) + guess[k] - guess[k - 1])


def affordable(runs: Iterable[Run], allowance: float) -> list[Run]:
    """The runs (FLOPs, N) in their order, each that still fits into what is left of the allowance."""
    taken, left = [], allowance
    for run in runs:
        if run[0] <= left:
            taken.append(run)
            left -= run[0]
    return taken


def suggestions(choice: Choice, allowance: float) -> list[Run]:
    """Runs (FLOPs, N) as `suggest_runs` asks for them, a few at a time, until no more fit."""
    taken: list[Run] = []
    while len(taken) < MOST_RUNS:
        asked = suggest_runs(choice, FAR * BUDGETS[-1], A_FEW, LEVEL, planned=taken)
        left = allowance - math.fsum(budget for budget, _ in taken)
        fitting = affordable([(run.budget_flops, run.n_params) for run in asked], left)
        if not fitting:
            break
        taken += fitting
    return taken


def with_more(case: Case, parts: list[Array], choice: Choice, generator: np.random.Generator) -> list[Array]:
    """Rows (4, n) for up to a quarter of the FLOPs more: replicates, and what `suggest_runs` asks for."""
    rows = rows_of(parts)
    allowance = MORE_FLOPS * float(rows.budget_flops.sum())
    order = generator.permutation(len(rows))
    drawn = zip(rows.budget_flops[order].tolist(), rows.n_params[order].tolist(), strict=True)
    return [
        np.concatenate([np.zeros((4, 0)), *(train(case, c, np.log10([n]), generator) for c, n in runs)], axis=1)
        for runs in (affordable(drawn, allowance), suggestions(choice, allowance))
    ]


def errors(case: Case, generator: np.random.Generator) -> list[float]:
    """Errors of log10 N_opt far out by scheme, nan where one gives no answer; shares of the allowance spent."""
    guess = guessed(case, generator)
    narrow, wide = (
        [valley(case, b, c, half, generator) for b, c in zip(BUDGETS, guess, strict=True)] for half in (NARROW, WIDE)
    )
    adapted = adaptive(case, guess, generator)
    choices = [choose(rows_of(parts)) for parts in (narrow, wide, adapted)]
    if choices[0] is None:
        extended: list[Choice | None] = [None, None]
        spent = [math.nan, math.nan]
    else:
        more = with_more(case, narrow, choices[0], generator)
        extended = [choose(rows_of([*narrow, part])) for part in more]
        allowance = MORE_FLOPS * N_SIZES * float(BUDGETS.sum())
        spent = [float(part[0].sum()) / allowance for part in more]
    log_c = math.log10(FAR * BUDGETS[-1])
    truth = float(case.surface.optimum(np.array(log_c), SIX)[0])
    missed = [math.nan if one is None else one.on_params.at(log_c)[0] - truth for one in (*choices, *extended)]
    return [*missed, *spent]


def measure(job: tuple[int, int, int]) -> Array:
    """`errors` (sweeps, schemes + 2) of one case; the seed of a sweep does not depend on the processes."""
    index, sweeps, seed = job
    return np.array([errors(CASES[index], np.random.default_rng([seed, index, k])) for k in range(sweeps)])


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=100, help="simulated sweeps per case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one document")
    args = parser.parse_args()
    with multiprocessing.Pool(args.processes) as pool:
        found = pool.map(measure, [(i, args.sweeps, args.seed) for i in range(len(CASES))], chunksize=1)
    found, spent = [one[:, : len(SCHEMES)] for one in found], [one[:, len(SCHEMES) :] for one in found]
    # the median of absolute errors beside the mean square: a poor guess leaves tails that a mean hides behind
    rms = [np.sqrt(np.nanmean(one**2, axis=0)) for one in found]
    middle = [np.nanmedian(np.abs(one), axis=0) for one in found]
    lost = [np.isnan(one).mean(axis=0) for one in found]
    if args.json:
        print(json.dumps([
            {"surface": c.surface.name, "noise": c.noise, "guess": c.guess, "schemes": SCHEMES, "rms": r.tolist(),
             "median": m.tolist(), "without_answer": u.tolist(),
             "share_of_allowance_spent": np.nanmean(s, axis=0).tolist()}
            for c, r, m, u, s in zip(CASES, rms, middle, lost, spent, strict=True)
        ], allow_nan=False))  # fmt: skip
        return
    print(f"{'RMS error, decades (median)':38}" + "".join(f"{name:>18}" for name in SCHEMES))
    for case, r, m in zip(CASES, rms, middle, strict=True):
        cells = "".join(f"{value:9.3f} ({half:.3f}) " for value, half in zip(r, m, strict=True))
        print(f"{case.surface.name:15} {case.noise:6} {case.guess:13} {cells}")
    shares = np.nanmean(np.concatenate(spent), axis=0)
    print(f"share of the allowance spent: replicates {shares[0]:.2f}, suggested {shares[1]:.2f}")
    print(
        "without an answer, share: "
        + " ".join(f"{n} {v:.3f}" for n, v in zip(SCHEMES, np.mean(lost, axis=0), strict=True))
    )


if __name__ == "__main__":
    main()
