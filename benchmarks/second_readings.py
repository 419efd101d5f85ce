"""Whether second opinions on a forecast are worth having: the shrunk slope, the runs near the floors, each finding.

    OMP_NUM_THREADS=1 python benchmarks/second_readings.py [TABLE.csv ...]

Each published sweep in tests/data, and each further table of budget_flops, n_params, n_tokens and loss, is fitted to
every number of its cheapest budgets from three on, and every later floor is compared with its forecast, as in
holdout.py. Printed are errors (rms, decades) as recommended, shrunk, within 0.6 decades and both; how often forecasts
miss with and without `window_disagrees`; and the same for every finding at that fit. Half a minute.
"""

import argparse
import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from holdout import FAMILIES, load, true_floor

from isoflop.fit import Columns, Question, fit_sweep
from isoflop.fit.estimators.choice import choose
from isoflop.fit.findings.targets import NOTABLE_DECADES
from isoflop.fit.reading.narrow import read_shrunk, within_window
from isoflop.fit.results.target import Target
from isoflop.fit.rows import Rows, sort_rows

MIN_FITTED = 3
# A forecast off by more than this, decades, is called far off.
FAR_OFF = 0.1
READINGS = ("recommended", "shrunk", "within 0.6", "both")


@dataclass(frozen=True)
class Read:
    """One later floor: errors of each of `READINGS`, decades, whether the interval missed, and what was found."""

    sweep: str
    errors: tuple[float, ...]
    missed: bool
    codes: frozenset[str]


def load_table(path: Path) -> Rows:
    """The rows of a table from elsewhere."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("budget_flops", "n_params", "n_tokens", "loss")
    return sort_rows(*(np.array([float(row[name]) for row in rows]) for name in names))


def read_all(name: str, rows: Rows) -> Iterator[Read]:
    """Every later floor of a sweep, as each number of its cheaper budgets forecasts it."""
    budgets = rows.budgets
    floors = {float(budget): true_floor(part) for budget, part in zip(budgets, rows.split(), strict=True)}
    for m in range(MIN_FITTED, len(budgets)):
        later = {budget: floor.x for budget in budgets[m:].tolist() if (floor := floors[budget])}
        yield from _read(name, rows.take(rows.budget_flops <= budgets[m - 1]), later)


def _read(name: str, part: Rows, later: dict[float, float]) -> Iterator[Read]:
    choice = choose(part)
    if choice is None or not later:
        return
    near = within_window(choice) or choice
    columns = Columns(part.budget_flops, part.n_params, part.n_tokens, part.loss)
    for budget, truth in later.items():
        fit = fit_sweep(columns, Question(targets=[budget]))
        log_c = math.log10(budget)
        values = [one.on_params.at(log_c)[0] for one in (choice, near)]
        shrunk = [math.log10(read_shrunk(one, log_c).n_opt or math.nan) for one in (choice, near)]
        errors = tuple(value - truth for value in (values[0], shrunk[0], values[1], shrunk[1]))
        codes = frozenset(f"{finding.code} ({finding.severity})" for finding in fit.findings)
        yield Read(name, errors, _missed(fit.targets[0], truth), codes)


def _missed(target: Target, truth: float) -> bool:
    return target.n_opt_ci is None or not target.n_opt_ci[0] <= 10**truth <= target.n_opt_ci[1]


def rms(values: Sequence[float]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def show_errors(reads: Sequence[Read]) -> None:
    """Print the errors of each sweep."""
    print(f"{'sweep':32} {'n':>4}", *(f"{name:>12}" for name in READINGS))
    for sweep in dict.fromkeys(one.sweep for one in reads):
        errors = np.array([one.errors for one in reads if one.sweep == sweep])
        print(f"{sweep:32} {len(errors):4}", *(f"{rms(column):12.3f}" for column in errors.T))


def show_signs(reads: Sequence[Read]) -> None:
    """Print how often forecasts miss with and without each sign."""
    print(f"\n{'sign':32} {'n':>4} {'missed':>14} {'far off':>14}   (with / without)")
    signs: dict[str, Callable[[Read], bool]] = {
        f"window apart > {NOTABLE_DECADES}": lambda one: abs(one.errors[0] - one.errors[2]) > NOTABLE_DECADES,
        "any warning": lambda one: any("(warning)" in code for code in one.codes),
    }
    for code in sorted({code for one in reads for code in one.codes}):
        signs[code] = lambda one, code=code: code in one.codes
    for name, has in signs.items():
        shares = []
        for happened in (lambda one: one.missed, lambda one: abs(one.errors[0]) > FAR_OFF):
            for wanted in (True, False):
                chosen = [happened(one) for one in reads if has(one) is wanted]
                shares.append(f"{np.mean(chosen):6.2f}" if chosen else "     -")
        print(f"{name:32} {sum(map(has, reads)):4} {shares[0]} {shares[1]}  {shares[2]} {shares[3]}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path, help="further tables of exactly equal budgets")
    tables = parser.parse_args().tables
    sweeps = {name: load(name) for name in FAMILIES} | {path.stem: load_table(path) for path in tables}
    reads = [one for name, rows in sweeps.items() for one in read_all(name, rows)]
    show_errors(reads)
    show_signs(reads)


if __name__ == "__main__":
    main()
