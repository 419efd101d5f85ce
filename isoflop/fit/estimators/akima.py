"""Profiles by Akima interpolation, as Porian et al. 2024 (arXiv 2406.19146): no noise model, hence no intervals."""

from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.rows import sort_rows

# Points between two neighbouring sizes at which the curve is read.
_PER_SIZE = 25
_MIN_SIZES = 4


@dataclass(frozen=True)
class AkimaFit:
    """Minima of interpolating curves and the power law through them.

    Attributes:
        budget_flops, n_opt: (k,) of the budgets whose minimum lies strictly inside their sizes.
        exponent_a: of N_opt ~ C^a, by unweighted least squares; None with fewer than two such budgets.
    """

    budget_flops: tuple[float, ...]
    n_opt: tuple[float, ...]
    exponent_a: float | None


def fit_akima(budget_flops: Array, n_params: Array, n_tokens: Array, loss: Array) -> AkimaFit:
    """The minimum of the Akima curve through log loss over log N of each budget; arguments (n,), all positive.

    Runs of one size are averaged. The curve passes through every point, so a minimum moves with each of them: useful to
    reproduce published numbers and to see what a curve without a shape would say.
    """
    rows = sort_rows(budget_flops, n_params, n_tokens, loss)
    found = [
        (budget.budget_flops[0], _minimum(np.log(budget.n_params), np.log(budget.loss))) for budget in rows.split()
    ]
    inside = [(float(budget), at) for budget, at in found if at is not None]
    exponent = None
    if len(inside) > 1:
        log_c, log_n = np.log([budget for budget, _ in inside]), np.array([at for _, at in inside])
        exponent = float(np.polyfit(log_c - log_c.mean(), log_n, 1)[0])
    return AkimaFit(tuple(budget for budget, _ in inside), tuple(float(np.exp(at)) for _, at in inside), exponent)


def _minimum(log_n: Array, log_loss: Array) -> float | None:
    """ln N of the lowest point on a fine grid; None where that is an end of it."""
    from scipy.interpolate import Akima1DInterpolator  # slower to import than all the rest of the fit

    sizes, member = np.unique(log_n, return_inverse=True)
    if len(sizes) < _MIN_SIZES:
        return None
    means = np.bincount(member, log_loss) / np.bincount(member)
    grid = np.linspace(sizes[0], sizes[-1], _PER_SIZE * (len(sizes) - 1))
    lowest = int(np.argmin(Akima1DInterpolator(sizes, means)(grid)))
    return float(grid[lowest]) if 0 < lowest < len(grid) - 1 else None
