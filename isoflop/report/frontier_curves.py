"""What a panel of the frontier shows, whoever draws it: floors, targets, the power law with its band, the limits."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.fit.estimators.choice import PARABOLA
from isoflop.fit.intervals import Interval, student_quantile, ten_to
from isoflop.fit.laws import PublishedLaw
from isoflop.fit.lines import Line
from isoflop.fit.results.sweep_fit import SweepFit
from isoflop.fit.results.target import Target
from isoflop.report.fit_wording import power_law_of, same_law
from isoflop.report.summary import Summary
from isoflop.sources.source import PARAM_COUNTS

INK, BAND, TARGET, BESIDE, CLOUD = "#31688e", "#c5d7e3", "#b5367a", "#7a7a7a", "#e08b27"
CONFIRM_LABEL = "confirm run, not fitted"
# Of published laws, told apart by these and by their dashes.
PUBLISHED = ("#d95f02", "#1b9e77", "#e6ab02", "#a6761d", "#666666", "#7570b3", "#e7298a")

_CURVE_POINTS = 100
# Farther out, decades, nothing is drawn: it would leave the range of a float.
_FARTHEST = 300.0

# Entries of published laws that still find room beside the curves.
MOST_LAWS_INSIDE = 2

# Room left and right of the outermost budget, and the most that a wild interval may stretch the panel: decades.
_MARGIN, _STRETCH = 0.15, 1.5


class Reading(NamedTuple):
    """An optimum at one budget, with its interval."""

    budget_flops: float
    optimum: float
    bounds: Interval | None


class Curve(NamedTuple):
    """The power law along budgets, with the ends of its statistical band."""

    budgets: NDArray[np.float64]
    optima: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """optimum = coefficient C^exponent.

    Attributes:
        line: its logarithm over log10 C, with its errors.
        half_width: of the band, in standard errors.
    """

    line: Line
    half_width: float

    @property
    def name(self) -> str:
        """`0.557 C^0.463`."""
        return power_law_of(self.line)

    def along(self, budgets: Sequence[float]) -> Curve:
        """The law from the smallest to the largest of `budgets`."""
        log_c = np.linspace(math.log10(min(budgets)), math.log10(max(budgets)), _CURVE_POINTS)
        values, variances = np.array([self.line.at(float(one)) for one in log_c]).T
        half = self.half_width * np.sqrt(variances)
        low, middle, high = (
            10 ** np.clip(ends, -_FARTHEST, _FARTHEST) for ends in (values - half, values, values + half)
        )
        return Curve(10**log_c, middle, low, high)


@dataclass(frozen=True)
class Optimum:
    """All that one panel shows: of parameters or of tokens.

    Attributes:
        name: `N_opt` or `D_opt`.
        unit: `parameters` or `tokens`.
        floors, targets: readings with intervals.
        confirmed: size or tokens of confirm runs, which no line is fitted to.
        law: the recommended one; None without any.
        parabola: the line through the floors; None without one, or where that is the recommended law.
        published: published laws, with their labels.
        cloud: frontiers of resampled runs.
        fitted: the smallest and the largest budget that the recommended law is fitted to.
    """

    name: str
    unit: str
    floors: tuple[Reading, ...]
    targets: tuple[Reading, ...]
    law: Law | None
    parabola: Law | None
    fitted: tuple[float, ...]
    published: tuple[tuple[str, Law], ...] = ()
    cloud: tuple[Line, ...] = ()
    confirmed: tuple[Reading, ...] = ()

    @property
    def crowded(self) -> bool:
        """Whether a legend inside the panel would hide what it explains."""
        return len(self.published) > MOST_LAWS_INSIDE

    def strands(self) -> Iterator[tuple[list[float], list[float]]]:
        """Each frontier of the cloud at both ends of the budgets; straight in between, on logarithmic axes."""
        if not self.cloud or min(self.budgets) == max(self.budgets):
            return
        ends = [min(self.budgets), max(self.budgets)]
        for line in self.cloud:
            optima = [ten_to(line.at(math.log10(end))[0]) for end in ends]
            if None not in optima:
                yield ends, [optimum for optimum in optima if optimum is not None]

    @property
    def budgets(self) -> tuple[float, ...]:
        """Budgets with a floor, a target or a confirm run, and the ends of what was fitted."""
        marked = (*self.floors, *self.targets, *self.confirmed)
        return self.fitted + tuple(reading.budget_flops for reading in marked)


def optimal_params(
    fit: SweepFit,
    targets: Sequence[Target],
    laws: Sequence[PublishedLaw] = (),
    confirmed: tuple[Reading, ...] = (),
) -> Optimum:
    """N_opt against C."""
    floors = tuple(Reading(p.budget_flops, p.n_opt, p.n_opt_ci) for p in fit.profiles if p.n_opt is not None)
    readings = tuple(Reading(t.budget_flops, t.n_opt, t.n_opt_ci) for t in targets if t.n_opt is not None)
    found, parabola = fit.estimators.recommended, fit.frontier
    lines = (found.n_line if found else None, parabola.n_line if parabola else None)
    optimum = _optimum("N_opt", "parameters", (floors, readings), fit, lines)
    return replace(
        optimum,
        published=tuple((law.label, _published(law.n_opt(1.0), law.exponent_a)) for law in laws),
        cloud=fit.cloud.n_lines if fit.cloud else (),
        confirmed=confirmed,
    )


def optimal_tokens(
    fit: SweepFit,
    targets: Sequence[Target],
    laws: Sequence[PublishedLaw] = (),
    confirmed: tuple[Reading, ...] = (),
) -> Optimum:
    """D_opt against C."""
    floors = tuple(Reading(p.budget_flops, p.d_opt, p.d_opt_ci) for p in fit.profiles if p.d_opt is not None)
    readings = tuple(Reading(t.budget_flops, t.d_opt, t.d_opt_ci) for t in targets if t.d_opt is not None)
    found, parabola = fit.estimators.recommended, fit.frontier
    lines = (found.d_line if found else None, parabola.d_line if parabola else None)
    optimum = _optimum("D_opt", "tokens", (floors, readings), fit, lines)
    return replace(
        optimum,
        published=tuple((law.label, _published(law.d_opt(1.0), law.exponent_b)) for law in laws),
        cloud=fit.cloud.d_lines if fit.cloud else (),
        confirmed=confirmed,
    )


def confirmed_sizes(summary: Summary) -> tuple[tuple[Reading, ...], tuple[Reading, ...]]:
    """N and D of the confirm runs that completed at a predicted optimum, as the fit counts N."""
    count = summary.source.param_count
    done = [one.cell for one in summary.confirmations if one.observed]
    sizes = [cell.shape.n_params(count) if count in PARAM_COUNTS else cell.n_params_total for cell in done]
    return (
        tuple(Reading(cell.budget_flops, float(size), None) for cell, size in zip(done, sizes, strict=True)),
        tuple(Reading(cell.budget_flops, float(cell.n_tokens), None) for cell in done),
    )


def _optimum(
    name: str,
    unit: str,
    readings: tuple[tuple[Reading, ...], tuple[Reading, ...]],
    fit: SweepFit,
    lines: tuple[Line | None, Line | None],
) -> Optimum:
    found, parabola = fit.estimators.recommended, fit.frontier
    law = _law(lines[0], found.degrees_of_freedom, fit) if found and lines[0] else None
    shown = found is not None and found.estimator == PARABOLA and lines[0] and lines[1] and same_law(lines[0], lines[1])
    beside = _law(lines[1], parabola.degrees_of_freedom, fit) if parabola and lines[1] and not shown else None
    return Optimum(name, unit, *readings, law, beside, found.fitted_budgets if found else ())


def _published(coefficient: float, slope: float) -> Law:
    return Law(Line(math.log10(coefficient), slope, ((0.0, 0.0), (0.0, 0.0)), 0.0), 0.0)


def _law(line: Line, degrees_of_freedom: float, fit: SweepFit) -> Law:
    return Law(line, student_quantile(fit.level, degrees_of_freedom))


def log_limits(optimum: Optimum) -> tuple[Interval, Interval]:
    """Where the axes of budgets and of optima begin and end, decades: everything in view, wild intervals cut."""
    readings = (*optimum.floors, *optimum.targets, *optimum.confirmed)
    budgets = [math.log10(budget) for budget in optimum.budgets]
    optima = [math.log10(reading.optimum) for reading in readings]
    if not optima and optimum.law is not None:
        optima = [optimum.law.line.at(math.log10(budget))[0] for budget in optimum.fitted]
    ends = [math.log10(end) for reading in readings if reading.bounds for end in reading.bounds]
    if optimum.law is not None:
        curve = optimum.law.along(optimum.budgets)
        ends += [float(np.log10(curve.low.min())), float(np.log10(curve.high.max()))]
    low, high = min(optima + ends), max(optima + ends)
    room = 0.05 * (high - low) or _MARGIN
    vertical = max(low - room, min(optima) - _STRETCH), min(high + room, max(optima) + _STRETCH)
    return (min(budgets) - _MARGIN, max(budgets) + _MARGIN), vertical
