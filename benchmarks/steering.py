"""FLOPs until the interval of N_opt is narrow enough: a sweep that steers itself against fixed grids. SIMULATED.

    OMP_NUM_THREADS=1 python benchmarks/steering.py [--sweeps 100] [--seed 1] [--processes 1] [--within 1.25] [--json]

Nothing is trained: losses are drawn from known surfaces (`surfaces.py`) with noise of 0.2 % of the loss. The sweep file
asks for 5 budgets, 3-fold apart, of 7 sizes within 0.65 decades of a guess that is off by a factor of 5, half of the
sweeps too high and half too low; the goal is a 90 % statistical interval of N_opt at 10 times the largest budget whose
ends differ by a factor of at most 1.25. Four ways there:

- steered: the whole grid first, then rounds of `isoflop run --until-goal`: the same `decide_round`, no other code;
- steered from 3: the file has the three cheapest of these budgets only, and the same target;
- fixed: the grid again and again with further seeds, until the same fit says that the goal is met;
- fixed wide: as fixed, but 13 sizes within 1.3 decades, for somebody who knows that the guess is poor.

Shown by surface: how many sweeps meet the goal, the median of FLOPs they took in units of one grid of 5 budgets, and
how often the interval that met the goal holds the true N_opt (90 % would be right).
"""

import argparse
import json
import math
import multiprocessing
from dataclasses import dataclass

import numpy as np
from surfaces import BUDGETS, CHINCHILLA, SKEWED, SURFACES, Surface

from isoflop.decision.steering.goal import Goal, Means, NextRound, Past, WantedRun
from isoflop.decision.steering.next_round import decide_round
from isoflop.fit.rows import SIX, Rows, sort_rows
from isoflop.store import Verdict

NOISE = 0.002
OFF = 5.0
N_SIZES, HALF_WIDTH = 7, 0.65
N_WIDE, WIDE = 13, 1.3
BEYOND = 10.0
# Grids after which a way is given up, and rounds after which a steered sweep is.
MOST_GRIDS, MOST_ROUNDS = 64, 100
MISSPECIFIED = next(surface for surface in SURFACES if surface.q == 0.7)
CASES = (CHINCHILLA, SKEWED, MISSPECIFIED)
WAYS = ("steered", "steered from 3", "fixed", "fixed wide")
GRID_FLOPS = N_SIZES * float(BUDGETS.sum())


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended: its verdict, FLOPs, rounds, and whether the interval that met the goal holds the truth."""

    verdict: str
    flops: float
    rounds: int
    held: bool | None


class Sweep:
    """Runs drawn from a surface."""

    def __init__(self, surface: Surface, generator: np.random.Generator) -> None:
        self.surface, self._generator = surface, generator
        self._runs: list[WantedRun] = []
        self._losses: list[float] = []

    def train(self, runs: list[WantedRun]) -> None:
        """Draw the losses of the runs."""
        budgets, sizes = (np.array(column) for column in zip(*runs, strict=True))
        losses = self.surface.loss(sizes, budgets / (6 * sizes)) * np.exp(self._generator.normal(0, NOISE, len(runs)))
        self._runs += runs
        self._losses += losses.tolist()

    @property
    def rows(self) -> Rows:
        """All runs as a fit takes them."""
        budgets, sizes = (np.array(column) for column in zip(*self._runs, strict=True))
        return sort_rows(budgets, sizes, budgets / (6 * sizes), np.array(self._losses))

    @property
    def flops(self) -> float:
        """Of all runs."""
        return math.fsum(budget for budget, _ in self._runs)


def grid(surface: Surface, off: float, n_budgets: int, n_sizes: int, half_width: float) -> list[WantedRun]:
    """The runs of the sweep file."""
    offsets = math.log10(off) + np.linspace(-half_width, half_width, n_sizes)
    found = []
    for budget in BUDGETS[:n_budgets].tolist():
        centre = float(surface.optimum(np.array(math.log10(budget)), SIX)[0])
        found += [(budget, float(10 ** (centre + offset))) for offset in offsets]
    return found


def outcome(sweep: Sweep, goal: Goal, decided: NextRound, rounds: int, verdict: str | None = None) -> Outcome:
    """What the sweep came to."""
    truth = float(10 ** sweep.surface.optimum(np.array(math.log10(goal.target_flops)), SIX)[0])
    reading = decided.reading
    held = reading.low <= truth <= reading.high if reading and decided.verdict is Verdict.MET else None
    return Outcome(verdict or decided.verdict.value, sweep.flops, rounds, held)


def steer(sweep: Sweep, first: list[WantedRun], goal: Goal) -> Outcome:
    """The sweep steered to its end."""
    sweep.train(first)
    past: list[Past] = []
    for number in range(MOST_ROUNDS):
        rows = sweep.rows
        means = Means(sweep.flops, 0.0, lambda _, n_params: n_params, past=tuple(past))
        decided = decide_round(rows, goal, means)
        if decided.verdict.ends:
            return outcome(sweep, goal, decided, number)
        if sweep.flops > MOST_GRIDS * GRID_FLOPS:
            break
        past.append(Past(len(rows), sweep.flops, decided.reading.span if decided.reading else None))
        sweep.train(list(decided.runs))
    return outcome(sweep, goal, decided, number, "given_up")


def repeat(sweep: Sweep, runs: list[WantedRun], goal: Goal) -> Outcome:
    """The grid once more until the goal is met; doubled beyond four times, to be no slower than need be."""
    grids = 1
    while sweep is not None:
        sweep.train(runs * (grids - len(sweep._runs) // len(runs) if sweep._runs else 1))
        decided = decide_round(sweep.rows, goal, Means(sweep.flops, 0.0, lambda _, n_params: n_params))
        if decided.verdict is Verdict.MET:
            break
        if sweep.flops >= MOST_GRIDS * GRID_FLOPS:
            return outcome(sweep, goal, decided, grids, "given_up")
        grids = grids + 1 if grids < 4 else math.ceil(grids * 1.25)
    return outcome(sweep, goal, decided, grids)


def measure(job: tuple[int, int, int, float]) -> list[Outcome]:
    """All ways of one sweep; its seed does not depend on the processes."""
    index, number, seed, within = job
    surface, off = CASES[index], OFF if number % 2 else 1 / OFF
    goal = Goal(BEYOND * float(BUDGETS[-1]), within)
    ways = (
        (steer, grid(surface, off, len(BUDGETS), N_SIZES, HALF_WIDTH)),
        (steer, grid(surface, off, 3, N_SIZES, HALF_WIDTH)),
        (repeat, grid(surface, off, len(BUDGETS), N_SIZES, HALF_WIDTH)),
        (repeat, grid(surface, off, len(BUDGETS), N_WIDE, WIDE)),
    )
    return [
        way(Sweep(surface, np.random.default_rng([seed, index, number, place])), runs, goal)
        for place, (way, runs) in enumerate(ways)
    ]


def summary(found: list[Outcome]) -> dict[str, object]:
    """Of one surface and one way."""
    met = [one for one in found if one.verdict == Verdict.MET.value]
    # who has not met the goal has spent more than anybody knows: the median counts them as infinite
    grids = float(np.median([one.flops / GRID_FLOPS if one in met else math.inf for one in found]))
    return {
        "sweeps": len(found),
        "met": len(met),
        "median_grids": grids if math.isfinite(grids) else None,
        "held": sum(bool(one.held) for one in met),
        "median_rounds": float(np.median([one.rounds for one in found])),
        "verdicts": {verdict: sum(one.verdict == verdict for one in found) for verdict in {o.verdict for o in found}},
    }


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=100, help="simulated sweeps per surface")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--within", type=float, default=1.25)
    parser.add_argument("--json", action="store_true", help="print one document")
    args = parser.parse_args()
    jobs = [(index, number, args.seed, args.within) for index in range(len(CASES)) for number in range(args.sweeps)]
    with multiprocessing.Pool(args.processes) as pool:
        found = pool.map(measure, jobs, chunksize=1)
    by_case = {
        surface.name: {
            way: summary([one[place] for one, job in zip(found, jobs, strict=True) if job[0] == index])
            for place, way in enumerate(WAYS)
        }
        for index, surface in enumerate(CASES)
    }
    if args.json:
        print(json.dumps({"simulated": True, "within": args.within, "cases": by_case}, allow_nan=False))
        return
    print(f"SIMULATED: no model was trained. Goal: a factor of {args.within:g} at 10 times the largest budget.")
    print(f"{'surface':16}{'way':16}{'met':>9}{'FLOPs, grids':>14}{'truth held':>13}{'rounds':>8}  ended")
    for name, ways in by_case.items():
        for way, one in ways.items():
            grids = "-" if one["median_grids"] is None else f"{one['median_grids']:.2f}"
            met, held = f"{one['met']}/{one['sweeps']}", f"{one['held']}/{one['met']}"
            print(f"{name:16}{way:16}{met:>9}{grids:>14}{held:>13}{one['median_rounds']:8.0f}  {one['verdicts']}")


if __name__ == "__main__":
    main()
