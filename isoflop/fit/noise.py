"""What the rows say about their noise: replicates, unequal budgets, known errors of evaluation, shared trunks."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from isoflop.fit.newton import Mask
from isoflop.fit.parabola import Array
from isoflop.fit.rows import Rows
from isoflop.fit.trend import Trend, read_trend

# Budgets are taken to differ in noise only where equal noise would look like this once in a hundred sweeps.
UNEQUAL_P_VALUE = 0.01
# The pooled variance counts as this many degrees of freedom beside a budget's own: those of a budget of seven sizes.
_PRIOR_FREEDOM = 4.0
# Errors of evaluation that differ by less than this (relative) weigh all rows alike.
_ALIKE = 0.1
# Beyond this the covariance of runs that share a trunk is nearly singular.
_LARGEST_CORRELATION = 0.95
# Residuals below this share of the loss are rounding: nothing is to be learnt from them.
ROUNDING = 1e-9


@dataclass(frozen=True)
class PureError:
    """Standard deviation, nats, of runs that differ in nothing but their seed, and its degrees of freedom."""

    sd: float
    degrees_of_freedom: int


def replicate_noise(rows: Rows) -> PureError | None:
    """The noise of replicates: rows of one budget, size and token count; None without any."""
    keys = np.stack([rows.budget_flops, rows.n_params, rows.n_tokens])
    _, member = np.unique(keys, axis=1, return_inverse=True)
    counts = np.bincount(member.ravel())
    freedom = int((counts - 1).sum())
    if freedom == 0:
        return None
    peak = float(np.abs(rows.loss).max()) or 1.0
    loss = rows.loss / peak
    means = np.bincount(member.ravel(), loss) / counts
    squares = float(((loss - means[member.ravel()]) ** 2).sum())
    return PureError(peak * math.sqrt(squares / freedom), freedom)


@dataclass(frozen=True)
class RowNoise:
    """How far rows may be trusted relative to each other.

    Attributes:
        weights: (n,) inverse variances about 1; None where all weigh alike.
        correlation: (n, n) of errors of rows that share a trunk; None where none do.
        budget_sd: (k,) residual standard deviation per budget, nats.
        trend: of the variance along the budgets.
        unequal_p: chance of budgets so unequal beside the trend under equal noise (Bartlett).
        trunk_correlation: of rows that share a trunk; None where none do.
    """

    weights: Array | None
    correlation: Array | None
    budget_sd: Array
    trend: Trend
    unequal_p: float
    trunk_correlation: float | None

    @property
    def unequal(self) -> bool:
        """Whether budgets weigh by their noise."""
        return self.trend.slope != 0 or self.unequal_p < UNEQUAL_P_VALUE

    def take(self, part: Mask) -> "RowNoise":
        """That of some of the rows (n,); what was seen of budgets stays that of all."""
        weights, correlation = self.weights, self.correlation
        if weights is not None:
            weights = weights[part] / weights[part].mean()
        if correlation is not None:
            correlation = correlation[np.ix_(part, part)]
        return replace(self, weights=weights, correlation=correlation)

    @property
    def is_plain(self) -> bool:
        """Whether all rows weigh alike and err apart."""
        return self.weights is None and self.correlation is None


def read_noise(rows: Rows, residual: Array, degrees_of_freedom: int) -> RowNoise:
    """The noise of rows from their residuals (n,), nats, about a fit with equal weights.

    Where errors are stated, these say how it changes along the budgets, and no trend is looked for.
    """
    group = rows.group
    # each budget lost its share of the degrees of freedom
    freedom = np.bincount(group) * degrees_of_freedom / len(rows)
    squares = np.bincount(group, residual**2).astype(np.float64)
    pooled = float(squares.sum() / degrees_of_freedom)
    exact = pooled <= (ROUNDING * float(np.abs(rows.loss).max())) ** 2
    stated = relative_variance(rows.loss_se, pooled)
    alike = residual / np.sqrt(stated)
    log_c = np.log10(rows.budget_flops)
    known = exact or np.ptp(stated) > 0
    trend = read_trend(np.zeros_like(alike) if known else alike, log_c, degrees_of_freedom)
    steady = trend.variance(log_c)
    alike = alike / np.sqrt(steady)
    p_value = 1.0 if exact else _bartlett(np.bincount(group, alike**2).astype(np.float64), freedom)
    by_budget = budget_variances(alike, group, degrees_of_freedom, p_value=0.0 if exact else UNEQUAL_P_VALUE)
    variance = stated * steady * by_budget[group]
    weighted = not exact and float(np.ptp(variance)) > 1e-9 * pooled and float(variance.min()) > 0
    shared, correlation = _trunks(rows, residual, pooled)
    return RowNoise(
        weights=len(rows) / variance / (1 / variance).sum() if weighted else None,
        correlation=correlation,
        budget_sd=np.sqrt(squares / np.maximum(freedom, 1e-9)),
        trend=trend,
        unequal_p=p_value,
        trunk_correlation=shared,
    )


def relative_variance(loss_se: Array, pooled: float) -> Array:
    """Variances (n,) about 1: how much of the residual variance `pooled` each row has, as its stated error says.

    What the stated errors leave of it is common to all rows. Residuals that vary by less than the stated errors show
    that these are shared, as runs evaluated on the same text share them; rows then differ in proportion to them. A row
    whose error is not stated (0) is taken to have that of the others.
    """
    stated = loss_se > 0
    if not stated.any() or np.ptp(loss_se[stated]) <= _ALIKE * loss_se.max() or pooled <= 0:
        return np.ones(len(loss_se))
    known = np.where(stated, loss_se**2, (loss_se[stated] ** 2).mean())
    average = float(known.mean())
    relative: Array = known * min(1 / average, 1 / pooled) + max(1 - average / pooled, 0.0)
    return relative


def budget_variances(residual: Array, group: NDArray[np.intp], degrees_of_freedom: float, *, p_value: float) -> Array:
    """The residual variance of each budget (k,): the pooled one, unless equal noise is less likely than `p_value`.

    Then each budget's own, shrunk towards the pooled one as if that had been seen on four degrees of freedom.
    """
    squares = np.bincount(group, residual**2).astype(np.float64)
    freedom = np.bincount(group) * degrees_of_freedom / len(residual)
    pooled = float(squares.sum() / degrees_of_freedom)
    if _bartlett(squares, freedom) >= p_value:
        return np.full(len(squares), pooled)
    shrunk: Array = (_PRIOR_FREEDOM * pooled + squares) / (_PRIOR_FREEDOM + freedom)
    return shrunk


def inverse_information(weighted: Array, correlation: Array | None, penalty: Array | float = 0.0) -> Array:
    """Covariance (p, p) of fitted parameters per unit of residual variance, where errors may be correlated.

    `weighted` (p, n) is J' W^1/2 of the least squares, `penalty` (p, p) what a prior adds to its information.
    """
    information = weighted @ weighted.T + penalty
    inverse: Array = np.asarray(np.linalg.pinv(information, hermitian=True), dtype=np.float64)
    if correlation is None:
        return inverse
    # what correlated errors add to the spread of the gradient
    excess = weighted @ (correlation - np.eye(len(correlation))) @ weighted.T
    spread: Array = inverse + inverse @ excess @ inverse
    return spread


def _bartlett(squares: Array, freedom: Array) -> float:
    """Chance of such unequal variances under equal ones (Bartlett 1937, Proc. R. Soc. A 160)."""
    usable = (freedom > 0.5) & (squares > 0)
    squares, freedom = squares[usable], freedom[usable]
    if len(squares) < 2:
        return 1.0
    total = freedom.sum()
    statistic = total * np.log(squares.sum() / total) - (freedom * np.log(squares / freedom)).sum()
    correction = 1 + ((1 / freedom).sum() - 1 / total) / (3 * (len(squares) - 1))
    return float(chdtrc(len(squares) - 1, max(float(statistic / correction), 0.0)))


def _trunks(rows: Rows, residual: Array, pooled: float) -> tuple[float | None, Array | None]:
    if len(np.unique(rows.trunk)) == len(rows):
        return None, None
    same = rows.trunk[:, None] == rows.trunk[None, :]
    np.fill_diagonal(same, val=False)
    pairs = int(same.sum())
    if pairs == 0 or pooled <= 0:
        return None, None
    products = float(residual @ same @ residual) / pairs
    shared = float(np.clip(products / pooled, 0.0, _LARGEST_CORRELATION))
    return shared, np.where(same, shared, 0.0) + np.eye(len(rows))
