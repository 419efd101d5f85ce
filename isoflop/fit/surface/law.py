"""The surface as its users know it: E, A, B, alpha, beta."""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.fit.cost import SIX, TokenCost
from isoflop.fit.parabola import Array

_LN10 = math.log(10)


@dataclass(frozen=True)
class SurfaceLaw:
    """L(N, D) = e + a N^-alpha + b D^-beta, nats per token; N in parameters, D in tokens.

    Coefficients are held as natural logarithms, whose exponentials a float may not hold.
    """

    log_e: float
    log_a: float
    log_b: float
    alpha: float
    beta: float

    @classmethod
    def of(cls, e: float, a: float, b: float, alpha: float, beta: float) -> "SurfaceLaw":
        """The law with coefficients as papers print them, all positive."""
        return cls(math.log(e), math.log(a), math.log(b), alpha, beta)

    def log_loss(self, log_n: Array, log_d: Array) -> Array:
        """ln loss at natural logarithms of N and D."""
        size, data = self.log_a - self.alpha * log_n, self.log_b - self.beta * log_d
        total: Array = np.logaddexp(self.log_e, np.logaddexp(size, data))
        return total

    def loss(self, n_params: float, n_tokens: float) -> float:
        """Nats per token."""
        return float(np.exp(self.log_loss(np.log(n_params), np.log(n_tokens))))

    def optimum(self, log_c: float, cost: TokenCost = SIX) -> tuple[float, float]:
        """log10 N_opt and log10 D_opt at log10 C (Hoffmann et al. 2022, arXiv 2203.15556, equation 4)."""
        r, budget = cost.slope, log_c * _LN10 - cost.offset
        lead = math.log(self.alpha / (r * self.beta)) + self.log_a - self.log_b
        log_n = (lead + self.beta * budget) / (self.alpha + r * self.beta)
        return log_n / _LN10, (budget - r * log_n) / _LN10

    @property
    def exponent_a(self) -> float:
        """N_opt ~ C^a at C = 6 N D."""
        return self.beta / (self.alpha + self.beta)
