"""What a panel of the frontier shows, whoever draws it: floors, targets, the power law with its band, the limits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isoflop.fit.intervals import student_quantile
from isoflop.fit.types import Covariance, Frontier, Interval, SweepFit, Target
from isoflop.report.wording import power_law

INK, BAND, TARGET = "#31688e", "#c5d7e3", "#b5367a"

_CURVE_POINTS = 100

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
        half_width: of the band, in standard errors.
        covariance: of its logarithm, as in `Frontier`, around `log_c_mean`.
    """

    coefficient: float
    exponent: float
    half_width: float
    covariance: Covariance
    log_c_mean: float

    def along(self, budgets: Sequence[float]) -> Curve:
        """The law from the smallest to the largest of `budgets`."""
        log_c = np.linspace(math.log10(min(budgets)), math.log10(max(budgets)), _CURVE_POINTS)
        line = math.log10(self.coefficient) + self.exponent * log_c
        half = self.half_width * self._standard_error(log_c - self.log_c_mean)
        return Curve(10**log_c, 10**line, 10 ** (line - half), 10 ** (line + half))

    def _standard_error(self, lever: NDArray[np.float64]) -> NDArray[np.float64]:
        (var_middle, cov), (_, var_slope) = self.covariance
        return np.sqrt(np.maximum(var_middle + 2 * cov * lever + var_slope * lever**2, 0.0))


@dataclass(frozen=True)
class Optimum:
    """All that one panel shows: of parameters or of tokens.

    Attributes:
        name: `N_opt` or `D_opt`.
        unit: `parameters` or `tokens`.
        floors, targets: readings with intervals.
        law: None without a frontier.
    """

    name: str
    unit: str
    floors: tuple[Reading, ...]
    targets: tuple[Reading, ...]
    law: Law | None

    @property
    def fitted_budgets(self) -> tuple[float, ...]:
        """Budgets with a floor."""
        return tuple(floor.budget_flops for floor in self.floors)

    @property
    def budgets(self) -> tuple[float, ...]:
        """Budgets with a floor or a target."""
        return self.fitted_budgets + tuple(target.budget_flops for target in self.targets)

    @property
    def law_name(self) -> str:
        """`N_opt = 0.557 C^0.463`."""
        assert self.law is not None
        return f"{self.name} = {power_law(self.law.coefficient, self.law.exponent)}"


def optimal_params(fit: SweepFit, targets: Sequence[Target]) -> Optimum:
    """N_opt against C."""
    floors = tuple(Reading(p.budget_flops, p.n_opt, p.n_opt_ci) for p in fit.profiles if p.n_opt is not None)
    readings = tuple(Reading(t.budget_flops, t.n_opt, t.n_opt_ci) for t in targets if t.n_opt is not None)
    frontier = fit.frontier
    law = _law(frontier, frontier.coef_n, frontier.exponent_a, frontier.log_n_covariance, fit) if frontier else None
    return Optimum("N_opt", "parameters", floors, readings, law)


def optimal_tokens(fit: SweepFit, targets: Sequence[Target]) -> Optimum:
    """D_opt against C."""
    floors = tuple(Reading(p.budget_flops, p.d_opt, p.d_opt_ci) for p in fit.profiles if p.d_opt is not None)
    readings = tuple(Reading(t.budget_flops, t.d_opt, t.d_opt_ci) for t in targets if t.d_opt is not None)
    frontier = fit.frontier
    law = _law(frontier, frontier.coef_d, frontier.exponent_b, frontier.log_d_covariance, fit) if frontier else None
    return Optimum("D_opt", "tokens", floors, readings, law)


def _law(frontier: Frontier, coefficient: float, exponent: float, covariance: Covariance, fit: SweepFit) -> Law:
    half_width = student_quantile(fit.level, frontier.degrees_of_freedom)
    return Law(coefficient, exponent, half_width, covariance, frontier.log_c_mean)


def log_limits(optimum: Optimum) -> tuple[Interval, Interval]:
    """Where the axes of budgets and of optima begin and end, decades: everything in view, wild intervals cut."""
    readings = (*optimum.floors, *optimum.targets)
    budgets = [math.log10(budget) for budget in optimum.budgets]
    optima = [math.log10(reading.optimum) for reading in readings]
    ends = [math.log10(end) for reading in readings if reading.bounds for end in reading.bounds]
    if optimum.law is not None:
        curve = optimum.law.along(optimum.budgets)
        ends += [float(np.log10(curve.low.min())), float(np.log10(curve.high.max()))]
    low, high = min(optima + ends), max(optima + ends)
    room = 0.05 * (high - low) or _MARGIN
    vertical = max(low - room, min(optima) - _STRETCH), min(high + room, max(optima) + _STRETCH)
    return (min(budgets) - _MARGIN, max(budgets) + _MARGIN), vertical
