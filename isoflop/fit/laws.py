"""Laws of compute-optimal training: the surface as its users know it, and the published ones to read a fit beside."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.lines import Line
from isoflop.fit.rows import SIX, TokenCost
from isoflop.fit.valley import LN10, ValleyShape

FLOPS_PER_PARAM_TOKEN = 6.0
# 10^15 FLOP/s for a day (Kaplan et al. 2020, section 1.3).
FLOPS_PER_PF_DAY = 1e15 * 86_400


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
        r, budget = cost.slope, log_c * LN10 - cost.offset
        lead = math.log(self.alpha / (r * self.beta)) + self.log_a - self.log_b
        log_n = (lead + self.beta * budget) / (self.alpha + r * self.beta)
        return log_n / LN10, (budget - r * log_n) / LN10

    def valley(self, cost: TokenCost, n_line: Line) -> ValleyShape:
        """Its valley along lines of equal cost: alpha A N_opt^-alpha deep at `n_line`, falling as C^-(alpha a)."""
        depth = math.log(self.alpha) + self.log_a - self.alpha * n_line.middle * LN10
        decay = self.alpha * n_line.slope * LN10
        return ValleyShape(self.alpha, cost.slope * self.beta, depth, decay, n_line.log_c_mean)

    def through(self, n_params: float, n_tokens: float, cost: TokenCost, loss: float | None) -> "SurfaceLaw":
        """The law with these exponents whose optimum is `n_params` on `n_tokens`, with `loss` there.

        What size and data add to the loss there is as much as at this law's own optimum of equal cost, but for E, which
        is never negative; without a `loss`, E stays.
        """
        log_c = (cost.offset + cost.slope * math.log(n_params) + math.log(n_tokens)) / LN10
        log_n, log_d = (log * LN10 for log in self.optimum(log_c, cost))
        log_left = float(np.logaddexp(self.log_a - self.alpha * log_n, self.log_b - self.beta * log_d))
        log_e = self.log_e
        if loss is not None and loss > 0:
            log_left = min(log_left, math.log(loss))
            e = loss - math.exp(log_left)
            log_e = math.log(e) if e > 0 else -math.inf
        # at an optimum alpha A N^-alpha = slope beta B D^-beta
        size_weight, data_weight = cost.slope * self.beta, self.alpha
        log_share = log_left - math.log(size_weight + data_weight)
        log_a = log_share + math.log(size_weight) + self.alpha * math.log(n_params)
        log_b = log_share + math.log(data_weight) + self.beta * math.log(n_tokens)
        return SurfaceLaw(log_e, log_a, log_b, self.alpha, self.beta)

    @property
    def exponent_a(self) -> float:
        """N_opt ~ C^a at C = 6 N D."""
        return self.beta / (self.alpha + self.beta)


@dataclass(frozen=True)
class PublishedLaw:
    """N_opt = coef_n C^exponent_a as a paper prints it; C in training FLOPs.

    Read at C = 6 N D, the convention of all of these papers; so b = 1 - a and D_opt = C / (6 N_opt).

    Attributes:
        name: short key, such as `chinchilla-3`.
        label: as a legend would have it.
        source: the paper and the place in it.
        param_count: which parameters N counts.
        surface: the loss as a function of N and D, where the paper has one.
    """

    name: str
    label: str
    source: str
    param_count: Literal["total", "non_embedding"]
    exponent_a: float
    coef_n: float
    surface: SurfaceLaw | None = None

    @property
    def exponent_b(self) -> float:
        """D_opt ~ C^b."""
        return 1 - self.exponent_a

    def n_opt(self, budget_flops: float) -> float:
        """Compute-optimal parameters, counted as `param_count` says."""
        return float(self.coef_n * budget_flops**self.exponent_a)

    def d_opt(self, budget_flops: float) -> float:
        """Compute-optimal tokens."""
        return float(budget_flops**self.exponent_b / (FLOPS_PER_PARAM_TOKEN * self.coef_n))

    def loss(self, budget_flops: float) -> float | None:
        """Nats per token at the optimum, on the paper's own data and tokens; None where it gives no surface."""
        if self.surface is None:
            return None
        return self.surface.loss(self.n_opt(budget_flops), self.d_opt(budget_flops))


def published_law(name: str) -> PublishedLaw:
    """The law of that name.

    Raises:
        ValueError: no such law; the message names those there are.
    """
    for law in PUBLISHED:
        if law.name == name:
            return law
    raise ValueError(f"no published law {name!r}; there are {', '.join(law.name for law in PUBLISHED)}")


def _through(rows: tuple[tuple[float, float], ...], exponent: float) -> float:
    """The coefficient of N = coefficient C^exponent that a table's rows (N, C) have in the geometric mean."""
    return math.exp(sum(math.log(n / c**exponent) for n, c in rows) / len(rows))


def _of_surface(name: str, label: str, source: str, surface: SurfaceLaw) -> PublishedLaw:
    log10_n, _ = surface.optimum(0.0)
    return PublishedLaw(name, label, source, "total", surface.exponent_a, 10.0**log10_n, surface)


# The papers print exponents of approaches 1 and 2 and no coefficient: tables of (N, FLOPs) fix it. The rows of 400M,
# 1B, 10B and 67B parameters; those further out strain exponents that are rounded to two digits.
_TABLE_3 = ((400e6, 1.92e19), (1e9, 1.21e20), (10e9, 1.23e22), (67e9, 5.76e23))
_TABLE_A3_APPROACH_2 = ((400e6, 1.84e19), (1e9, 1.20e20), (10e9, 1.32e22), (67e9, 6.88e23))

_HOFFMANN = "Hoffmann et al. 2022, arXiv 2203.15556"

PUBLISHED: tuple[PublishedLaw, ...] = (
    PublishedLaw(
        "chinchilla-1",
        "Chinchilla, approach 1",
        f"{_HOFFMANN}: exponent of table 2, coefficient through the rows of table 3 up to 67B",
        "total",
        0.50,
        _through(_TABLE_3, 0.50),
    ),
    PublishedLaw(
        "chinchilla-2",
        "Chinchilla, approach 2 (IsoFLOP)",
        f"{_HOFFMANN}: exponent of table 2, coefficient through the rows of table A3 up to 67B",
        "total",
        0.49,
        _through(_TABLE_A3_APPROACH_2, 0.49),
    ),
    # Alpha and beta are printed to two digits, and the optimum moves: at 1.71e24 FLOPs N is 53B, 67B in table A3.
    _of_surface(
        "chinchilla-3",
        "Chinchilla, approach 3 (as printed)",
        f"{_HOFFMANN}: equation 10 (appendix D.3), read with equation 4",
        SurfaceLaw.of(e=1.69, a=406.4, b=410.7, alpha=0.34, beta=0.28),
    ),
    _of_surface(
        "chinchilla-3-unrounded",
        "Chinchilla, approach 3 (digits of the TeX source)",
        f"{_HOFFMANN}: its TeX source, as Besiroglu et al. 2024 (arXiv 2404.10102) quote it",
        SurfaceLaw.of(e=1.6934, a=406.4, b=410.7, alpha=0.3392, beta=0.2849),
    ),
    _of_surface(
        "epoch",
        "Epoch's correction of Chinchilla, approach 3",
        "Besiroglu et al. 2024, arXiv 2404.10102: fitted to runs read off Hoffmann et al.'s figure 4",
        # A, B and the exponents are of the fit by absolute deviations, whose E is 1.8169; the E = 1.8172 that the
        # paper prints beside them is of the fit by Huber's.
        SurfaceLaw.of(e=1.8169, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658),
    ),
    # The text rounds to D_opt = 0.29 C^0.53, which at 3.8e25 FLOPs gives 10.5T tokens where it says 16.55T; the
    # legend of its figure has the digits that give 16.3T. D = 0.299 C^0.537, so N = C^0.463 / (6 x 0.299).
    PublishedLaw(
        "llama-3",
        "Llama 3",
        "Llama 3 report 2024, arXiv 2407.21783: section 3.2.1, D_opt = 0.299 C^0.537",
        "total",
        1 - 0.537,
        1 / (FLOPS_PER_PARAM_TOKEN * 0.299),
    ),
    # C_min in PF-days is the compute at batches far below the critical one. Their table 6 gives D_opt for training
    # at the critical batch, which takes twice as many tokens: 2e10 C_min^0.27.
    PublishedLaw(
        "kaplan",
        "Kaplan et al.",
        "Kaplan et al. 2020, arXiv 2001.08361: figure 14 and table 6, N_opt = 1.3e9 C_min^0.73, C_min in PF-days",
        "non_embedding",
        0.73,
        1.3e9 / FLOPS_PER_PF_DAY**0.73,
    ),
)
