"""What a token costs as a function of size, read off the rows: C / D = e^offset N^slope."""

from dataclasses import dataclass

import numpy as np

from isoflop.fit.rows import Rows

# Below this spread of ln N the rows say nothing about how cost depends on size.
_FEWEST_LOGS = 1e-9
# C = 6 N D to this, relative, is exactly that: the rest is rounding of written numbers.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class TokenCost:
    """ln (FLOPs per token) = offset + slope ln N. For C = 6 N D: offset ln 6, slope 1.

    Counting attention, embedding or head otherwise than 6 N does makes the slope differ from 1; then a + b does too.
    """

    offset: float
    slope: float


SIX = TokenCost(float(np.log(6)), 1.0)


def read_cost(rows: Rows) -> TokenCost:
    """The least-squares cost of a token over the rows; 6 N where they agree with it or have one size only."""
    log_n = np.log(rows.n_params)
    per_token = np.log(rows.budget_flops) - np.log(rows.n_tokens)
    if np.abs(per_token - log_n - SIX.offset).max() <= _ROUNDING:
        return SIX
    lever = log_n - log_n.mean()
    if lever @ lever <= len(rows) * _FEWEST_LOGS**2:
        return SIX
    slope = float(lever @ per_token / (lever @ lever))
    return TokenCost(float(per_token.mean() - slope * log_n.mean()), slope)


def cost_scatter(rows: Rows) -> float:
    """Standard deviation of ln (FLOPs per token) about the power of N that fits it best."""
    cost = read_cost(rows)
    per_token = np.log(rows.budget_flops) - np.log(rows.n_tokens)
    return float(np.std(per_token - cost.offset - cost.slope * np.log(rows.n_params)))
