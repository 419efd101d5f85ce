"""Sweeps whose floors are known exactly, and published ones."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.fit import SweepFit
from isoflop.fit.estimators.parabola import budget_floors, describe_valley, find_valleys, fit_frontier, pool_noise
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.results.profile import Frontier, Profile
from isoflop.fit.rows import sort_rows

Array = NDArray[np.float64]
Columns = tuple[Array, Array, Array, Array]
Draw = Callable[[np.random.Generator], SweepFit]

DATA = Path(__file__).parents[1] / "data"
EXPONENT_A, EXPONENT_B = 0.47, 0.58
BUDGETS = (1e18, 1e19, 1e20)
OFFSETS = tuple(np.linspace(-0.7, 0.5, 7).tolist())


def true_log_n(budget_flops):
    return EXPONENT_A * np.log10(budget_flops) - 0.3


def true_log_d(budget_flops):
    return EXPONENT_B * np.log10(budget_flops) - 1.2


def valley(budget_flops, offsets=OFFSETS, *, floor=2.5, curvature=0.4) -> Columns:
    """One budget's rows, exactly quadratic in log N and in log D; `offsets` in decades of N from the floor.

    Tokens fall as N^-1.1, so that FLOPs are not 6 N D and the D-parabola is not the mirror of the N-parabola.
    """
    offsets = np.asarray(offsets, dtype=float)
    loss = floor + curvature * offsets**2
    n_params, n_tokens = 10 ** (true_log_n(budget_flops) + offsets), 10 ** (true_log_d(budget_flops) - 1.1 * offsets)
    return np.full(len(offsets), budget_flops), n_params, n_tokens, loss


def stack(*parts: Columns) -> Columns:
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def known_sweep(budgets=BUDGETS, **options) -> Columns:
    return stack(*(valley(budget, **options) for budget in budgets))


# Besiroglu et al. 2024 (arXiv 2404.10102), approach 3 on the points of Hoffmann et al. 2022.
CHINCHILLA = SurfaceLaw.of(1.8169, 482.01, 2085.43, 0.3478, 0.3658)
# Strongly skewed: a parabola on a wide grid is far off.
SKEWED = SurfaceLaw.of(1.69, 406.4, 410.7, 0.5, 0.2)


def surface_sweep(
    budgets=(1e18, 1e19, 1e20), *, law=CHINCHILLA, half_width=0.6, n_sizes=7, centre=0.0, drift=0.0
) -> Columns:
    """Rows of an additive surface at C = 6 N D; `centre` and `drift` (decades, and per decade) move the grid off."""
    parts = []
    middle = float(np.mean(np.log10(budgets)))
    for budget in budgets:
        log_n, _ = law.optimum(np.log10(budget))
        log_n += centre + drift * (np.log10(budget) - middle)
        n_params = 10 ** (log_n + np.linspace(-half_width, half_width, n_sizes))
        parts.append(rows_of(law, budget, n_params))
    return stack(*parts)


def rows_of(law, budget, n_params) -> Columns:
    n_params = np.asarray(n_params, dtype=float)
    n_tokens = budget / (6 * n_params)
    return np.full(len(n_params), budget), n_params, n_tokens, np.exp(law.log_loss(np.log(n_params), np.log(n_tokens)))


def with_noise(columns: Columns, generator: np.random.Generator, sd: float) -> Columns:
    *others, loss = columns
    return (*others, loss + generator.normal(0, sd, len(loss)))


def parabola_fit(columns: Columns, level=0.9) -> tuple[tuple[Profile, ...], Frontier | None]:
    """The profiles and the frontier of `fit_sweep` alone, a hundred times as fast: for hundreds of drawn sweeps."""
    valleys = find_valleys(sort_rows(*columns, loss_se=None, trunk=None))
    noise = pool_noise(valleys)
    profiles = tuple(describe_valley(valley, noise, level) for valley in valleys)
    return profiles, fit_frontier(budget_floors(valleys), noise, level)


def published(name: str) -> Columns:
    return tuple(np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1).T)


def codes(fit) -> set[str]:
    return {finding.code for finding in fit.findings}


@cache
def codes_of(draw: Draw, seed: int) -> set[str]:
    """The findings of the fit that `draw` makes of that seed: fitted once, whichever tests ask."""
    return codes(draw(np.random.default_rng(seed)))
