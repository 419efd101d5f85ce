"""Models smaller than the compute-optimal one, trained longer: cheaper to use, dearer to train.

All of it on the surface L(N, D). A token costs in training what the rows say, c(N), which is 6 N for most, and a third
of it in use, 2 N: the forward pass alone (Sardana et al. 2024, arXiv 2401.00448, section 2). Sizes of equal loss are
described by one number v: the size term A N^-alpha takes the share 1 / (1 + e^-v) of the loss that is left above E, the
data term B D^-beta the rest.
"""

import math
from dataclasses import dataclass

from scipy.optimize import brentq

from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.rows import SIX, TokenCost
from isoflop.units import require_positive

# FLOPs of training over those of use, of one token: forward and backward pass over the forward one.
TRAINING_OVER_USE = 3
# Sizes on offer, as shares of N_opt; the first is what the others are compared with.
SHARES = (1.0, 1 / 2, 1 / 4, 1 / 8)
# A size or a number of tokens beyond e^300 = 10^130 is no answer, and 6 N D soon no float.
_MOST_LOG = 300.0


@dataclass(frozen=True)
class SmallerModel:
    """A share of N_opt as a size.

    Attributes:
        share: n_params / N_opt.
        n_tokens: tokens to reach the lowest loss of the budget; None: no number of tokens brings this size there.
        flops_ratio: training FLOPs of that, over the budget; None as before.
        loss_same_budget: nats per token if the budget itself is spent at this size.
    """

    share: float
    n_params: float
    n_tokens: float | None
    flops_ratio: float | None
    loss_same_budget: float


@dataclass(frozen=True)
class InferenceOptimum:
    """The size of the lowest lifetime FLOPs at the lowest loss of the budget.

    Attributes:
        inference_tokens: tokens read and written in use.
        n_params, n_tokens: the model and its training.
        training_flops, lifetime_flops: c D, and c (D + T / 3); 6 N D and 6 N D + 2 N T for most.
        optimal_lifetime_flops: of the compute-optimal model with the same use.
    """

    inference_tokens: float
    n_params: float
    n_tokens: float
    training_flops: float
    lifetime_flops: float
    optimal_lifetime_flops: float

    @property
    def saved_share(self) -> float:
        """Share of the lifetime FLOPs of the compute-optimal model that is saved."""
        return 1 - self.lifetime_flops / self.optimal_lifetime_flops


def smaller_models(
    surface: SurfaceLaw, budget_flops: float, n_opt: float, cost: TokenCost = SIX
) -> tuple[SmallerModel, ...]:
    """What `n_opt` and 1/2 to 1/8 of it need and lose, against the surface's own lowest loss at the budget."""
    return tuple(_smaller(surface, budget_flops, share * n_opt, share, cost) for share in SHARES)


def tokens_for_equal_loss(
    surface: SurfaceLaw, budget_flops: float, n_params: float, cost: TokenCost = SIX
) -> float | None:
    """Tokens with which `n_params` reach the surface's lowest loss at the budget; None: no number of them does."""
    left = _log_reducible(surface, budget_flops, cost)
    size = surface.log_a - surface.alpha * math.log(n_params)
    if size >= left:
        return None
    data = left + math.log1p(-math.exp(size - left))
    log_tokens = (surface.log_b - data) / surface.beta
    return math.exp(log_tokens) if log_tokens < _MOST_LOG else None


def inference_optimum(
    surface: SurfaceLaw, budget_flops: float, inference_tokens: float, cost: TokenCost = SIX
) -> InferenceOptimum | None:
    """The size that minimises c(N) (D + T / 3) at the lowest loss of the budget (Sardana et al. 2024, equation 3).

    With c ~ N^r, at the minimum v = ln(r beta / alpha) + ln(1 + T / 3 D), and D grows with v: one root, between v of
    the compute-optimal model and that with its own D on the right. None for a surface whose optimum is beyond all
    bounds.

    Raises:
        IsoflopError: the demand is no positive number.
    """
    demand = math.log(require_positive(inference_tokens, "The number of inference tokens"))
    left, start = _log_reducible(surface, budget_flops, cost), math.log(cost.slope * surface.beta / surface.alpha)

    def wanted(v: float) -> float:
        _, log_d = _equal_loss(surface, left, v)
        return start + _log1p_exp(demand - math.log(TRAINING_OVER_USE) - log_d)

    end = wanted(start)
    v = brentq(lambda v: v - wanted(v), start, end, xtol=1e-12) if end > start else start
    (log_n, log_d), (log_n_opt, log_d_opt) = (_equal_loss(surface, left, at) for at in (v, start))
    if max(log_n, log_d, log_n_opt, log_d_opt) > _MOST_LOG:
        return None
    n_params, n_tokens = math.exp(log_n), math.exp(log_d)
    return InferenceOptimum(
        inference_tokens=inference_tokens,
        n_params=n_params,
        n_tokens=n_tokens,
        training_flops=cost.per_token(n_params) * n_tokens,
        lifetime_flops=_lifetime(cost, n_params, n_tokens, inference_tokens),
        optimal_lifetime_flops=_lifetime(cost, math.exp(log_n_opt), math.exp(log_d_opt), inference_tokens),
    )


def _smaller(surface: SurfaceLaw, budget_flops: float, n_params: float, share: float, cost: TokenCost) -> SmallerModel:
    n_tokens = tokens_for_equal_loss(surface, budget_flops, n_params, cost)
    per_token = cost.per_token(n_params)
    return SmallerModel(
        share=share,
        n_params=n_params,
        n_tokens=n_tokens,
        flops_ratio=None if n_tokens is None else per_token * n_tokens / budget_flops,
        loss_same_budget=surface.loss(n_params, budget_flops / per_token),
    )


def _log_reducible(surface: SurfaceLaw, budget_flops: float, cost: TokenCost) -> float:
    """ln(lowest loss at the budget - E)."""
    log10_n, log10_d = surface.optimum(math.log10(budget_flops), cost)
    size = surface.log_a - surface.alpha * log10_n * math.log(10)
    data = surface.log_b - surface.beta * log10_d * math.log(10)
    return size + _log1p_exp(data - size)


def _equal_loss(surface: SurfaceLaw, log_reducible: float, v: float) -> tuple[float, float]:
    """ln N and ln D where the size term has the share 1 / (1 + e^-v) of the reducible loss."""
    size, data = log_reducible - _log1p_exp(-v), log_reducible - _log1p_exp(v)
    return (surface.log_a - size) / surface.alpha, (surface.log_b - data) / surface.beta


def _log1p_exp(x: float) -> float:
    """ln(1 + e^x) for any x."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _lifetime(cost: TokenCost, n_params: float, n_tokens: float, inference_tokens: float) -> float:
    return cost.per_token(n_params) * (n_tokens + inference_tokens / TRAINING_OVER_USE)
