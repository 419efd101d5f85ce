"""How often nominal 90 % intervals hold the truth, and how far estimates miss it, on surfaces that are known.

    OMP_NUM_THREADS=1 python benchmarks/calibration.py [--sweeps 300] [--seed 1] [--processes 2] [--json]

Six surfaces (three additive, three whose parts are coupled, so that the additive law is wrong), three centrings of the
grid, two widths, three noises: 108 cells of 5 budgets and 7 sizes. Every sweep goes through `choose`, the estimate that
`fit` recommends; intervals of N, a and D are the statistical ones, without the model error, those of the loss hold it:
it is the distance of two laws, of which these surfaces obey one. A quarter as many sweeps again are spoilt
in each of four ways, to see whether their bad runs are set aside.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from surfaces import BUDGETS, CELLS, FAR, GROUPS, NOISES, PIVOT, PLAIN, SPOILS, SURFACES, Cell, Setting, Surface

from isoflop.fit.arrays import Array
from isoflop.fit.estimators.choice import JOINT, choose
from isoflop.fit.estimators.parabola import budget_floors, find_valleys, pool_noise
from isoflop.fit.estimators.surface import LEAST_SQUARES, solve_surface
from isoflop.fit.intervals import student_quantile
from isoflop.fit.lines import fit_lines
from isoflop.fit.reading.target_reader import read_loss
from isoflop.fit.rows import SIX, Rows, TokenCost, read_cost

LEVEL = 0.90
# One spoilt sweep of each kind for so many clean ones.
CLEAN_PER_SPOILT = 4
# What intervals are checked of; N and D are log10, and so are their errors.
QUANTITIES = ("N at C_max", "N at 100x", "a", "D at C_max", "D at 100x", "loss at C_max", "loss at 100x")
_TOP, _FAR = np.log10(BUDGETS[-1]), np.log10(FAR * BUDGETS[-1])
# Whose error of log10 N_opt at 100 C_max is measured.
ESTIMATORS = ("recommended", "parabola", "surface")


@dataclass(frozen=True)
class Job:
    """One cell to measure."""

    index: int
    sweeps: int
    seed: int
    setting: Setting = PLAIN

    @property
    def cell(self) -> Cell:
        """Which."""
        return CELLS[self.index]

    def generator(self, kind: int, number: int) -> np.random.Generator:
        """Of one sweep: the same whatever else is measured, and by whom. `kind` 0 is clean, then `SPOILS`."""
        return np.random.default_rng([self.seed, self.index, kind, number])


@dataclass(frozen=True)
class Measured:
    """What became of the sweeps of one cell; NaN where there was no answer.

    Attributes:
        errors, halves: (s, quantities) error and half-width of the interval of each of `QUANTITIES`.
        far_errors: (s, 3) of log10 N_opt at 100 C_max, by `ESTIMATORS`.
        joint: (s,) whether the recommended estimate was the joint valley.
        clean_masked: (s,) rows set aside in a clean sweep.
        found, spoilt, wrong: (spoils, t) bad runs set aside, bad runs, and good runs set aside, by `SPOILS`.
    """

    index: int
    errors: Array
    halves: Array
    far_errors: Array
    joint: Array
    clean_masked: Array
    found: Array
    spoilt: Array
    wrong: Array

    @property
    def coverage(self) -> Array:
        """(quantities,): share of intervals that hold the truth; no answer is a miss."""
        share: Array = (np.abs(self.errors) <= self.halves).mean(axis=0)
        return share

    @property
    def rms(self) -> Array:
        """(3,): of `far_errors`, over the sweeps that were answered."""
        root: Array = np.sqrt(np.nanmean(self.far_errors**2, axis=0))
        return root


def measure(job: Job) -> Measured:
    """One cell."""
    clean = [measure_clean(job, number) for number in range(job.sweeps)]
    errors, halves, rivals, joint, masked = (np.array(column) for column in zip(*clean, strict=True))
    few = max(1, job.sweeps // CLEAN_PER_SPOILT)
    spoilt = np.array([[measure_spoilt(job, kind, i) for i in range(few)] for kind in range(1, len(SPOILS) + 1)])
    return Measured(job.index, errors, halves, rivals, joint, masked, *np.moveaxis(spoilt, 2, 0))


def measure_clean(job: Job, number: int) -> tuple[list[float], list[float], list[float], bool, int]:
    """The rows of `Measured` of one clean sweep."""
    rows, _ = job.cell.sweep(job.generator(0, number), job.setting)
    readings, joint, masked = read_recommended(rows)
    truths = true_values(job.cell.surface, job.setting.cost)
    errors = [value - truth for (value, _), truth in zip(readings, truths, strict=True)]
    far_truth = truths[QUANTITIES.index("N at 100x")]
    far = [errors[QUANTITIES.index("N at 100x")], read_parabola(rows) - far_truth, read_surface(rows) - far_truth]
    return errors, [half for _, half in readings], far, joint, masked


def true_values(surface: Surface, cost: TokenCost) -> list[float]:
    """Of `QUANTITIES`."""
    log_n, log_d = surface.optimum(np.array([_TOP, _FAR]), cost)
    return [*log_n, surface.exponent(cost), *log_d, *surface.loss(10**log_n, 10**log_d)]


def read_recommended(rows: Rows) -> tuple[list[tuple[float, float]], bool, int]:
    """(value, half-width) of each of `QUANTITIES`; whether they are the joint valley's; how many rows it set aside."""
    choice = choose(rows)
    if choice is None:
        return [(np.nan, np.nan)] * len(QUANTITIES), False, 0
    n, d = choice.on_params, choice.on_tokens
    quantile = student_quantile(LEVEL, choice.degrees_of_freedom)
    readings = [
        (value, quantile * variance**0.5)
        for value, variance in (n.at(_TOP), n.at(_FAR), n.exponent, d.at(_TOP), d.at(_FAR))
    ]
    for log_c in (_TOP, _FAR):
        loss = read_loss(choice, log_c, LEVEL)
        interval = loss.total or (np.nan, np.nan)
        readings.append((np.nan if loss.value is None else loss.value, (interval[1] - interval[0]) / 2))
    return readings, choice.estimator == JOINT, len(choice.outliers)


def read_parabola(rows: Rows) -> float:
    """log10 N_opt at 100 C_max of the line through the floors of parabolas; NaN without two of them."""
    valleys = find_valleys(rows)
    lines = fit_lines(budget_floors(valleys), pool_noise(valleys))
    return lines[0].at(_FAR)[0] if lines else np.nan


def read_surface(rows: Rows) -> float:
    """The same of the surface by least squares."""
    solution = solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss, delta=LEAST_SQUARES)
    return solution.law.optimum(_FAR, read_cost(rows))[0]


def measure_spoilt(job: Job, kind: int, number: int) -> tuple[int, int, int]:
    """Bad runs set aside, bad runs, and good runs set aside, of one spoilt sweep."""
    rows, spoilt = job.cell.sweep(job.generator(kind, number), job.setting, SPOILS[kind - 1])
    choice = choose(rows)
    outliers = choice.outliers if choice else ()
    found = int(np.isin(outliers, spoilt).sum())
    return found, len(spoilt), len(outliers) - found


def measure_all(jobs: Sequence[Job], processes: int) -> list[Measured]:
    """In the order of `jobs`; the number of processes changes no digit."""
    if processes == 1:
        return [measure(job) for job in jobs]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.map(measure, jobs, chunksize=1)


def summarise(results: Sequence[Measured]) -> dict[str, Any]:
    """One document: coverage, errors at 100 C_max, and the mask."""
    well = [one for one in results if CELLS[one.index].surface.name in GROUPS["well"]]
    groups = {"all": list(results), "well": well}
    unanswered = np.mean([np.isnan(one.far_errors).mean(axis=0) for one in results], axis=0)
    return {
        "level": LEVEL,
        "cells": len(results),
        "sweeps_per_cell": len(results[0].errors),
        "spoilt_per_cell_and_kind": results[0].found.shape[1],
        "joint_share": float(np.mean([one.joint.mean() for one in results])),
        "unanswered_at_100x": dict(zip(ESTIMATORS, unanswered.tolist(), strict=True)),
        "coverage": {
            **{name: named_coverage(some, np.mean) for name, some in groups.items() if some},
            **({"worst well": named_coverage(well, np.min)} if well else {}),
        },
        "coverage_by_surface": [
            {"surface": surface, "noise": noise, **named_coverage(some, np.mean), "worst": float(lowest(some))}
            for surface, noise, some in by_surface(results)
        ],
        "rms_at_100x": [
            {"group": group, "noise": noise, **mean_rms(some, names)}
            for group, names in GROUPS.items()
            for noise in (*NOISES, None)
            if (some := select(results, names, noise))
        ],
        "mask": [mask(name, some) for name, some in groups.items() if some],
    }


def select(results: Iterable[Measured], names: Sequence[str], noise: float | None) -> list[Measured]:
    """The cells of the named surfaces with that noise, or with any."""
    cells = ((one, CELLS[one.index]) for one in results)
    return [one for one, cell in cells if cell.surface.name in names and noise in (None, cell.noise)]


def by_surface(results: Sequence[Measured]) -> list[tuple[str, float, list[Measured]]]:
    """Surface, noise and cells, where there are any."""
    pairs = [(surface.name, noise) for surface in SURFACES for noise in NOISES]
    return [(name, noise, some) for name, noise in pairs if (some := select(results, (name,), noise))]


def named_coverage(results: Sequence[Measured], over_cells: Callable[..., Array]) -> dict[str, float]:
    """Coverage of each of `QUANTITIES`, a mean or an extreme over cells."""
    shares = over_cells([one.coverage for one in results], axis=0)
    return dict(zip(QUANTITIES, shares.tolist(), strict=True))


def lowest(results: Sequence[Measured]) -> float:
    """The lowest coverage of N_opt and of a in any cell."""
    return min(one.coverage[: QUANTITIES.index("a") + 1].min() for one in results)


def mean_rms(results: Sequence[Measured], names: Sequence[str]) -> dict[str, float]:
    """RMS error of log10 N_opt at 100 C_max: over the cells of a surface, then their mean over surfaces; and ratios."""
    of_surface = [select(results, (name,), None) for name in names]
    means = [np.sqrt(np.mean([one.rms**2 for one in some], axis=0)) for some in of_surface if some]
    recommended, parabola, surface = np.mean(means, axis=0).tolist()
    return {
        "recommended": recommended,
        "parabola": parabola,
        "surface": surface,
        "recommended/parabola": recommended / parabola,
        "recommended/surface": recommended / surface,
    }


def mask(name: str, results: Sequence[Measured]) -> dict[str, Any]:
    """Of bad runs: how many are set aside; of clean sweeps: how many lose a row."""
    found, spoilt, wrong = (
        np.concatenate([getattr(one, field) for one in results], axis=1) for field in ("found", "spoilt", "wrong")
    )
    kinds = {
        spoil.name: {
            "sweeps_with_all_found": float((found[i] == spoilt[i]).mean()),
            "bad_runs_found": float(found[i].sum() / spoilt[i].sum()),
            "sweeps_with_good_runs_masked": float((wrong[i] > 0).mean()),
        }
        for i, spoil in enumerate(SPOILS)
    }
    clean = float(np.mean([(one.clean_masked > 0).mean() for one in results]))
    return {"cells": name, "clean_sweeps_masked": clean, "spoilt": kinds}


def show(document: dict[str, Any]) -> None:
    """Print compact tables."""
    spread = (LEVEL * (1 - LEVEL) / document["sweeps_per_cell"]) ** 0.5
    print(
        f"{document['cells']} cells of {document['sweeps_per_cell']} sweeps (standard error of one cell's coverage "
        f"{spread:.1%}); joint valley in {document['joint_share']:.1%}"
    )
    print(f"\n{'coverage of nominal 90 %':28}", *(f"{name:>13}" for name in QUANTITIES), f"{'worst cell':>10}")
    for name, shares in document["coverage"].items():
        print(f"{name:28}", *(f"{shares[quantity]:13.1%}" for quantity in QUANTITIES))
    for row in document["coverage_by_surface"]:
        shares = " ".join(f"{row[quantity]:13.1%}" for quantity in QUANTITIES)
        print(f"{row['surface']:18} {row['noise']:9} {shares} {row['worst']:10.1%}")
    show_errors(document)
    for row in document["mask"]:
        print(f"\n{row['cells'] + ' cells':18} clean sweeps that lose a row: {row['clean_sweeps_masked']:.1%}")
        for name, shares in row["spoilt"].items():
            print(
                f"  {name:16} all found in {shares['sweeps_with_all_found']:6.1%} of sweeps, "
                f"{shares['bad_runs_found']:6.1%} of bad runs; good runs lost in "
                f"{shares['sweeps_with_good_runs_masked']:6.1%}"
            )


def show_errors(document: dict[str, Any]) -> None:
    """Print the RMS errors."""
    columns = (*ESTIMATORS, "recommended/parabola", "recommended/surface")
    print(f"\n{'RMSE at 100x, decades':28}", *(f"{name:>20}" for name in columns))
    for row in document["rms_at_100x"]:
        noise = "any" if row["noise"] is None else row["noise"]
        print(f"{row['group']:18} {noise:>9}", *(f"{row[name]:20.4f}" for name in columns))
    print("without an answer:", ", ".join(f"{name} {n:.2%}" for name, n in document["unanswered_at_100x"].items()))


def main() -> None:
    """Print tables, or one document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=300, help="clean simulated sweeps per cell")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2, help="changes no digit")
    parser.add_argument("--heteroscedastic", action="store_true", help="noise that rises 4-fold over budgets")
    parser.add_argument(
        "--cost-slope",
        type=float,
        default=1.0,
        help="FLOPs per token ~ N^slope; at 1, C = 6 N D, D_opt errs as N_opt does by construction",
    )
    parser.add_argument("--json", action="store_true", help="print one document")
    args = parser.parse_args()
    setting = Setting(args.heteroscedastic, token_cost(args.cost_slope))
    jobs = [Job(index, args.sweeps, args.seed, setting) for index in range(len(CELLS))]
    document = {"arguments": vars(args), **summarise(measure_all(jobs, args.processes))}
    if args.json:
        print(json.dumps(document, indent=1))
    else:
        show(document)


def token_cost(slope: float) -> TokenCost:
    """FLOPs per token ~ N^slope, 6 N at `PIVOT` parameters."""
    return SIX if slope == 1 else TokenCost(float(np.log(6) + (1 - slope) * np.log(PIVOT)), slope)


if __name__ == "__main__":
    main()
