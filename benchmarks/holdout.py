"""How well the cheaper budgets of published sweeps predict the floors of the dearer ones.

    OMP_NUM_THREADS=1 python benchmarks/holdout.py [FILE.csv ...] [--confirm RUNS.csv] [--json]

For each published sweep and each m >= 4, the m cheapest budgets are fitted and log10 N_opt of every later budget is
predicted. The truth is the floor of a parabola through the rows of that later budget near its best run, which the fit
never saw; budgets whose parabola is not convex, or has its floor outside those rows, are no truth. Its loss is
predicted by the recommended estimate: columns give the coverage of its interval without and with the model error and
with the error of the floor seen too, its bias and the median half-width, relative to the loss. Ten seconds.

Further sweeps are added by path (`budget_flops,n_params,n_tokens,loss`; the first word of a name is the family).
`--confirm` reads runs near an optimum far beyond them (`set,budget_flops,loss`; a file's name ends in its set) and
compares their losses with forecasts from all budgets.

The window of 0.6 decades was chosen on these very sweeps, and the truth is read from rows as near: errors within that
window are of forecasts held out, not of a rule held out.
"""

import argparse
import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from isoflop.fit import fit_sweep
from isoflop.fit.estimators.choice import Choice, choose
from isoflop.fit.estimators.parabola import budget_floors, find_valleys, fit_parabola, pool_noise
from isoflop.fit.estimators.surface import robust_covariance, solve_surface, surface_lines
from isoflop.fit.intervals import Interval, model_half_width, student_quantile
from isoflop.fit.lines import Floor, PowerLaw, fit_lines
from isoflop.fit.reading.scorecard import loss_widening, make_scorecard
from isoflop.fit.reading.target_reader import LossReading, read_loss
from isoflop.fit.rows import Rows, in_window, read_cost, sort_rows

DATA = Path(__file__).parents[1] / "tests" / "data"
# Which published sweep is of which laboratory: two readings of one figure, or two of its recipes, err alike.
FAMILIES = {
    "chinchilla_isoflop": "Hoffmann",
    "chinchilla_scalefit": "Hoffmann",
    "llama3": "Llama",
    "llama3_exp_loss": "Llama",
    "marin_comma": "Marin",
    "porian_short_warmup": "Porian",
    "porian_tuned": "Porian",
}
COLUMNS = ("budget_flops", "n_params", "n_tokens", "loss")
ESTIMATORS = ("recommended", "parabola", "huber")
# None takes all rows; 0.6 decades is what `isoflop.fit.rows.in_window` was chosen with.
WINDOWS = (None, 0.6)
LEVEL = 0.90
MIN_FITTED = 4
# The truth is read from rows this near to a budget's best run, decades, and from the 5 nearest at least: the loss is
# close to a parabola no farther away than that.
TRUTH_DECADES = 0.6
# Bins of extrapolation, decades beyond the largest fitted budget.
DISTANCES = (0.0, 0.4, 0.8, 1.2, 2.0, math.inf)


@dataclass(frozen=True)
class Held:
    """One later budget predicted.

    Attributes:
        sweep, n_fitted: the n cheapest budgets of which sweep were fitted.
        decades: from the largest fitted budget to the one predicted.
        error: log10 predicted N_opt - log10 that of the truth.
        statistical, total: half-widths of the interval without and with the model error, decades.
        loss_error, loss_statistical, loss_total: error of the loss and half-widths of its interval without and with the
            model error, relative; None without a forecast.
        loss_seen_half: half-width of the interval of the truth itself.
    """

    sweep: str
    n_fitted: int
    decades: float
    error: float
    statistical: float
    total: float
    loss_error: float | None
    loss_statistical: float | None
    loss_total: float | None
    loss_seen_half: float


@dataclass(frozen=True)
class Fitted:
    """What an estimator makes of the cheaper budgets; only the recommended estimate, a `Choice`, forecasts losses."""

    law: PowerLaw
    degrees_of_freedom: float
    choice: Choice | None = None
    loss_widening: float = 1.0


@dataclass(frozen=True)
class Truth:
    """The floor of a later budget, and half-width of the interval of its loss, nats."""

    floor: Floor
    loss_half: float


def load(name: str) -> Rows:
    """The rows of one published sweep."""
    return load_file(DATA / f"{name}.csv")


def load_file(path: Path) -> Rows:
    """The rows of a sweep, its columns by name."""
    with path.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return sort_rows(*(np.array([float(row[key]) for row in rows]) for key in COLUMNS))


def true_floor(budget: Rows) -> Floor | None:
    """The floor of the parabola through the rows of one budget near its best run; None where it lies outside them."""
    near = near_best(budget)
    parabola = fit_parabola(np.log10(near.n_params), near.loss)
    if parabola is None or parabola.floor is None or not parabola.low < parabola.floor.x < parabola.high:
        return None
    return parabola.floor


def near_best(budget: Rows) -> Rows:
    """The rows that a truth is read from."""
    return budget.take(in_window(budget, TRUTH_DECADES, wide=0.0))


def true_floors(rows: Rows) -> list[Truth | None]:
    """Of each budget; their losses err by the noise of all."""
    valleys = find_valleys(rows.take(in_window(rows, TRUTH_DECADES, wide=0.0)))
    noise = pool_noise(valleys)
    error = noise.on_params * student_quantile(LEVEL, noise.degrees_of_freedom) if noise else math.nan
    floors = [true_floor(budget) for budget in rows.split()]
    return [Truth(floor, error * floor.loss_spread) if floor else None for floor in floors]


def fit(estimator: str, rows: Rows, window: float | None) -> Fitted | None:
    """One of `ESTIMATORS` on the rows, or on those in the window; None where it finds no frontier."""
    if estimator == "recommended":
        choice = choose(rows, window=window)
        if choice is None:
            return None
        widening = loss_widening(make_scorecard(choice, find_valleys(rows), LEVEL), LEVEL)
        return Fitted(choice.on_params, choice.degrees_of_freedom, choice, widening)
    used = rows if window is None else rows.take(in_window(rows, window))
    return fit_parabolas(used) if estimator == "parabola" else fit_huber(used)


def fit_parabolas(rows: Rows) -> Fitted | None:
    """The line through the floors of a parabola by budget (Hoffmann et al. 2022, approach 2)."""
    valleys = find_valleys(rows)
    noise = pool_noise(valleys)
    lines = fit_lines(budget_floors(valleys), noise)
    return None if lines is None or noise is None else Fitted(lines[0], noise.degrees_of_freedom)


def fit_huber(rows: Rows) -> Fitted | None:
    """The surface under Huber's loss (Hoffmann et al. 2022, approach 3)."""
    log_n, log_d = np.log(rows.n_params), np.log(rows.n_tokens)
    solution = solve_surface(log_n, log_d, rows.loss)
    covariance = robust_covariance(solution, log_n, log_d, rows.loss)
    lines = surface_lines(solution, read_cost(rows), covariance, float(np.log10(rows.budget_flops).mean()))
    return None if lines is None else Fitted(lines[0], len(rows) - len(solution.theta))


def hold_out(name: str, rows: Rows, estimator: str, window: float | None) -> list[Held]:
    """Every later budget of the sweep `name`, as its cheaper ones predict it."""
    budgets = rows.budgets
    truths = true_floors(rows)
    held = []
    for m in range(MIN_FITTED, len(budgets)):
        fitted = fit(estimator, rows.take(rows.budget_flops <= budgets[m - 1]), window)
        for budget, truth in zip(budgets[m:], truths[m:], strict=True):
            if fitted is not None and truth is not None:
                held.append(predict(fitted, name, m, (float(budgets[m - 1]), float(budget)), truth))
    return held


def predict(fitted: Fitted, name: str, n_fitted: int, budgets: tuple[float, float], truth: Truth) -> Held:
    """The forecast from the largest fitted budget to another, against the truth there."""
    log_c, floor = math.log10(budgets[1]), truth.floor
    decades = log_c - math.log10(budgets[0])
    value, variance = fitted.law.at(log_c)
    statistical = student_quantile(LEVEL, fitted.degrees_of_freedom) * math.sqrt(variance)
    loss = read_loss(fitted.choice, log_c, LEVEL, fitted.loss_widening) if fitted.choice else LossReading()
    return Held(
        sweep=name,
        n_fitted=n_fitted,
        decades=decades,
        error=value - floor.x,
        statistical=statistical,
        total=math.hypot(statistical, model_half_width(decades, LEVEL)),
        loss_error=None if loss.value is None else loss.value / floor.loss - 1,
        loss_statistical=half_width(loss.statistical, floor.loss),
        loss_total=half_width(loss.total, floor.loss),
        loss_seen_half=truth.loss_half / floor.loss,
    )


def half_width(interval: Interval | None, scale: float) -> float | None:
    """Of an interval, relative to `scale`; None without one."""
    return None if interval is None else (interval[1] - interval[0]) / 2 / scale


def summarise(held: Sequence[Held], families_of: Mapping[str, str] = FAMILIES) -> dict[str, Any]:
    """RMS error (decades) and coverage of each sweep, of families, over sweeps, pooled and by distance.

    `mean_over_sweeps` weighs every sweep alike, however many budgets of it can be predicted.
    """
    sweeps = {name: tally([one for one in held if one.sweep == name]) for name in families_of}
    families = {
        family: tally([one for one in held if families_of[one.sweep] == family])
        for family in dict.fromkeys(families_of.values())
    }
    found = [numbers for numbers in sweeps.values() if numbers["n"]]
    return {
        "mean_over_sweeps": {key: average([numbers[key] for numbers in found]) for key in tally(held) if key != "n"},
        "pooled": tally(held),
        "sweeps": sweeps,
        "families": families,
        "distances": {
            f"{low:g}-{high:g}": tally([one for one in held if low < one.decades <= high])
            for low, high in pairwise(DISTANCES)
        },
    }


def tally(held: Sequence[Held]) -> dict[str, float | None]:
    """Forecasts, RMS errors and coverage of N_opt (decades) and of the loss (relative)."""
    losses = [one for one in held if one.loss_error is not None]
    return {
        "n": len(held),
        "rms": rms([one.error for one in held]),
        "statistical_coverage": average([abs(one.error) <= one.statistical for one in held]),
        "total_coverage": average([abs(one.error) <= one.total for one in held]),
        "loss_rms": rms([one.loss_error for one in losses]),
        "loss_statistical_coverage": average([abs(one.loss_error) <= one.loss_statistical for one in losses]),
        "loss_coverage": average([abs(one.loss_error) <= one.loss_total for one in losses]),
        "loss_coverage_with_seen": average(
            [abs(one.loss_error) <= math.hypot(one.loss_total, one.loss_seen_half) for one in losses]
        ),
        "loss_bias": average([one.loss_error for one in losses]),
        "loss_half_width": float(np.median([one.loss_total for one in losses])) if losses else None,
    }


def rms(errors: Sequence[float]) -> float | None:
    """Root mean square; None of nothing."""
    return float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else None


def average(values: Sequence[float | None]) -> float | None:
    """Mean of the numbers among the values; None of nothing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def hold_out_all(estimator: str, window: float | None, further: Sequence[Path] = ()) -> list[Held]:
    """Every forecast of an estimator on every published sweep, and on `further` ones."""
    published = [one for name in FAMILIES for one in hold_out(name, load(name), estimator, window)]
    return published + [one for path in further for one in hold_out(path.stem, load_file(path), estimator, window)]


def confirm(path: Path, further: Sequence[Path]) -> list[dict[str, Any]]:
    """Runs far beyond a sweep against the losses forecast from all of its budgets."""
    with path.open(encoding="utf-8") as lines:
        runs = list(csv.DictReader(lines))
    found = []
    for run in runs:
        (sweep,) = (one for one in further if one.stem.endswith(run["set"]))
        rows, budget, loss = load_file(sweep), float(run["budget_flops"]), float(run["loss"])
        (target,) = fit_sweep(
            rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss, targets=[budget], level=LEVEL
        ).targets
        assert target.loss and target.loss_ci
        found.append({"set": run["set"], "loss": loss, "forecast": target.loss, "interval": target.loss_ci})
    return found


def main() -> None:
    """Print a table per estimator and window, or one document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("further", nargs="*", type=Path, help="further sweeps (CSV)")
    parser.add_argument("--confirm", type=Path, help="runs far beyond these (CSV)")
    parser.add_argument("--json", action="store_true", help="print one document")
    args = parser.parse_args()
    families = {**FAMILIES, **{path.stem: path.stem.split("_")[0] for path in args.further}}
    results = [
        {
            "estimator": estimator,
            "window_decades": window,
            **summarise(hold_out_all(estimator, window, args.further), families),
        }
        for window in WINDOWS
        for estimator in ESTIMATORS
    ]
    confirmed = confirm(args.confirm, args.further) if args.confirm else []
    if args.json:
        print(
            json.dumps({"level": LEVEL, "min_fitted": MIN_FITTED, "results": results, "confirmed": confirmed}, indent=1)
        )
        return
    for result in results:
        show(result)
    for run in confirmed:
        low, high = run["interval"]
        verdict = "held" if low <= run["loss"] <= high else "missed"
        print(f"{run['set']:36} {run['loss']:.4f}, forecast {run['forecast']:.4f} [{low:.4f}, {high:.4f}]: {verdict}")


def show(result: dict[str, Any]) -> None:
    """Print one estimator's table."""
    window = result["window_decades"]
    title = f"{result['estimator']}, {'all rows' if window is None else f'within {window:g} decades'}"
    print(
        f"\n{title:36} {'n':>4} {'RMS':>7} {'stat.':>6} {'total':>6} "
        f"{'loss RMS':>9} {'stat.':>6} {'total':>6} "
        f"{'seen':>6} {'bias':>7} {'half':>6}"
    )
    print_line("mean over sweeps", result["mean_over_sweeps"])
    print_line("pooled", result["pooled"])
    for group in ("sweeps", "families", "distances"):
        for name, numbers in result[group].items():
            print_line(f"{name} decades" if group == "distances" else name, numbers)


def print_line(name: str, numbers: dict[str, float | None]) -> None:
    """Print one row: forecasts, RMS in decades, coverages; RMS, coverages, bias and half-width of the loss."""
    formats = {"n": "4", "rms": "7.4f", "statistical_coverage": "6.1%", "total_coverage": "6.1%"}
    formats |= {"loss_rms": "9.2%", "loss_statistical_coverage": "6.1%", "loss_coverage": "6.1%"}
    formats |= {"loss_coverage_with_seen": "6.1%", "loss_bias": "+7.2%", "loss_half_width": "6.2%"}
    cells = []
    for key, spec in formats.items():
        value = numbers.get(key)
        width = int(spec.split(".")[0].lstrip("+"))
        cells.append(f"{'-':>{width}}" if value is None else f"{value:{spec}}")
    print(f"  {name:34}", *cells)


if __name__ == "__main__":
    main()
