"""What the rows say about their noise: replicates, trends, unequal budgets, stated errors, shared trunks."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtrc, fdtrc

from isoflop.fit.arrays import Array, Indices, Mask
from isoflop.fit.intervals import normal_spread
from isoflop.fit.rows import Rows

# Noise is taken to change along the budgets where equal noise would look like this once in ten sweeps: as the slope is
# shrunk, a trend that is none costs little (`benchmarks/calibration.py`), one that is missed a tenth of the accuracy.
TREND_P_VALUE = 0.1
# Prior standard deviation of the slope of ln variance per decade: noise that changes 1.6 times in a decade.
TREND_SD = 1.0
_ITERATIONS = 50
# Where some rows may be bad, residuals count no farther out than this many robust standard deviations.
_FARTHEST = 2.5
# Budgets are taken to differ in noise only where equal noise would look like this once in a hundred sweeps.
UNEQUAL_P_VALUE = 0.01
# The pooled variance counts as this many degrees of freedom beside a budget's own: those of a budget of seven sizes.
_PRIOR_FREEDOM = 4.0
# Errors of evaluation that differ by less than this (relative) weigh all rows alike.
_ALIKE = 0.1
# Beyond this the covariance of runs that share a trunk is nearly singular.
LARGEST_CORRELATION = 0.95
# A repeat is bad where the others' scatter would give it once in a thousand sweeps, as seen on two repeats at least.
BAD_REPEAT_P_VALUE = 0.001
_FEWEST_REPEATS = 2
# Residuals below this share of the loss are rounding: nothing is to be learnt from them.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Trend:
    """How the variance of a run changes with its budget.

    Attributes:
        slope: of ln variance per decade of budget; 0 unless equal noise is unlikely.
        p_value: chance of so strong a trend under equal noise.
        log_c_mean: log10 budget at which the variance counts as 1.
    """

    slope: float
    p_value: float
    log_c_mean: float

    def variance(self, log_c: Array) -> Array:
        """(n,) at log10 budgets `log_c`."""
        out: Array = np.exp(self.slope * (log_c - self.log_c_mean))
        return out


def read_trend(residual: Array, log_c: Array, degrees_of_freedom: float) -> Trend:
    """The trend of residuals (n,) of equal weight over log10 budgets (n,).

    Tested by the score of equal variances (Cook and Weisberg 1983, Biometrika 70), shares of the residuals taken by
    the fit allowed for; the slope is the most likely one under a normal prior, which keeps few rows from weighing as
    they happen to lie.
    """
    log_c_mean = float(log_c.mean())
    z, squares = log_c - log_c_mean, residual**2
    spread, total = float(z @ z), float(squares.sum())
    if spread < 1e-9 or not 0 < total < math.inf:
        return Trend(0.0, 1.0, log_c_mean)
    share = degrees_of_freedom / len(residual)
    score = float(z @ squares) / total * len(residual)
    p_value = float(chdtrc(1, share * score**2 / (2 * spread)))
    if p_value >= TREND_P_VALUE:
        return Trend(0.0, p_value, log_c_mean)
    slope = 0.0
    for _ in range(_ITERATIONS):  # the likelihood of the slope alone is concave
        weights = squares * np.exp(-slope * z)
        weights /= weights.sum()
        mean = float(weights @ z)
        pull = degrees_of_freedom / 2 * mean - slope / TREND_SD**2
        bend = degrees_of_freedom / 2 * float(weights @ (z - mean) ** 2) + 1 / TREND_SD**2
        step = float(np.clip(pull / bend, -1.0, 1.0))
        slope += step
        if abs(step) < 1e-12:
            break
    return Trend(slope, p_value, log_c_mean)


def rough_trend(residual: Array, log_c: Array, degrees_of_freedom: float) -> Trend:
    """The same where some of the rows may be bad."""
    farthest = _FARTHEST * normal_spread(np.abs(residual))
    return read_trend(np.clip(residual, -farthest, farthest), log_c, degrees_of_freedom)


@dataclass(frozen=True)
class PureError:
    """Standard deviation, nats, of runs that differ in nothing but their seed, and its degrees of freedom."""

    sd: float
    degrees_of_freedom: int


def replicate_noise(rows: Rows) -> PureError | None:
    """The noise of replicates: rows of one budget, size and token count; None without any."""
    member = _repeats(rows)
    counts = np.bincount(member)
    freedom = int((counts - 1).sum())
    if freedom == 0:
        return None
    peak = float(np.abs(rows.loss).max()) or 1.0
    loss = rows.loss / peak
    means = np.bincount(member, loss) / counts
    squares = float(((loss - means[member]) ** 2).sum())
    return PureError(peak * math.sqrt(squares / freedom), freedom)


def _repeats(rows: Rows) -> Indices:
    """(n,): which group of equal budget, size and tokens a row belongs to."""
    keys = np.stack([rows.budget_flops, rows.n_params, rows.n_tokens])
    _, member = np.unique(keys, axis=1, return_inverse=True)
    return member.ravel()


def without_bad_repeats(rows: Rows) -> Rows:
    """The rows but for the worst of repeats that differ as the others' would once in a thousand sweeps.

    For rows that no mask has judged: the pair with a diverged run has its own variance, not that of seeds.
    """
    while True:
        member, peak = _repeats(rows), float(np.abs(rows.loss).max(initial=0.0)) or 1.0
        counts, loss = np.bincount(member), rows.loss / peak
        freedom = counts - 1
        squares = np.bincount(member, (loss - (np.bincount(member, loss) / np.maximum(counts, 1))[member]) ** 2)
        groups = np.flatnonzero(freedom)
        if len(groups) < 2:
            return rows
        worst = int(groups[np.argmax(squares[groups] / freedom[groups])])
        others = int(freedom.sum() - freedom[worst])
        rest = float(squares.sum() - squares[worst]) / others
        if others < _FEWEST_REPEATS or rest <= ROUNDING**2:
            return rows
        ratio = float(squares[worst] / freedom[worst]) / rest
        if len(groups) * float(fdtrc(freedom[worst], others, ratio)) >= BAD_REPEAT_P_VALUE:
            return rows
        of_worst = np.flatnonzero(member == worst)
        keep = np.ones(len(rows), dtype=bool)
        keep[of_worst[np.argmax(rows.loss[of_worst])]] = False
        rows = rows.take(keep)


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


def budget_variances(residual: Array, group: Indices, degrees_of_freedom: float, *, p_value: float) -> Array:
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
    shared = float(np.clip(products / pooled, 0.0, LARGEST_CORRELATION))
    return shared, np.where(same, shared, 0.0) + np.eye(len(rows))
