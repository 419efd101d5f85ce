"""Sweeps whose floors are known exactly, and published ones."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Columns = tuple[Array, Array, Array, Array]

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


def with_noise(columns: Columns, generator: np.random.Generator, sd: float) -> Columns:
    *others, loss = columns
    return (*others, loss + generator.normal(0, sd, len(loss)))


def published(name: str) -> Columns:
    return tuple(np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1).T)


def codes(fit) -> set[str]:
    return {finding.code for finding in fit.findings}
