"""Noise that rises or falls along the budgets."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from isoflop.fit.intervals import normal_spread
from isoflop.fit.parabola import Array

# Noise is taken to change along the budgets where equal noise would look like this once in ten sweeps: as the slope is
# shrunk, a trend that is none costs little (`benchmarks/calibration.py`), one that is missed a tenth of the accuracy.
TREND_P_VALUE = 0.1
# Prior standard deviation of the slope of ln variance per decade: noise that changes 1.6 times in a decade.
TREND_SD = 1.0
_ITERATIONS = 50
# Where some rows may be bad, residuals count no farther out than this many robust standard deviations.
_FARTHEST = 2.5


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
