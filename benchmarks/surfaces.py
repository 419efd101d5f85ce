"""Known surfaces, and sweeps laid out over them with noise and bad runs: what benchmarks of the fit are run on."""

from dataclasses import dataclass

import numpy as np

from isoflop.fit.arrays import Array
from isoflop.fit.rows import SIX, Rows, TokenCost, sort_rows

# 3-fold apart from 1e19 on: within those of Hoffmann et al. 2022, figure 3 (6e18 to 3e21).
BUDGETS = 8.1e20 / 3.0 ** np.arange(4, -1, -1)
N_SIZES = 7
# Standard deviations of ln loss: two as in published sweeps, which scatter about their joint valley by 0.002 to 0.007
# (`holdout.FAMILIES` within 0.6 decades), and one far quieter.
NOISES = (0.0005, 0.002, 0.005)
HALF_WIDTHS = (0.5, 1.0)
# How far the middle of the grid lies from the optimum at the smallest and at the largest budget, decades.
CENTRINGS = {"centred": (0.0, 0.0), "off": (0.3, 0.3), "drifting": (-0.3, 0.3)}
# Noise by budget with `--heteroscedastic`: from half to double, 4-fold in all.
LEAST_NOISE, MOST_NOISE = 0.5, 2.0
# How far beyond the largest budget forecasts are read.
FAR = 100.0
# Parameters at which a token costs 6 N FLOPs whatever the slope of its cost.
PIVOT = 1e9


@dataclass(frozen=True)
class Surface:
    """L = E + ((A / N^alpha)^(1/q) + (B / D^beta)^(1/q))^q, nats per token; additive at q = 1."""

    name: str
    e: float
    a: float
    b: float
    alpha: float
    beta: float
    q: float = 1.0

    def exponent(self, cost: TokenCost) -> float:
        """N_opt ~ C^exponent."""
        return self.beta / (self.alpha + cost.slope * self.beta)

    def optimum(self, log_c: Array, cost: TokenCost) -> tuple[Array, Array]:
        """log10 N_opt and log10 D_opt at log10 C."""
        budget = log_c * np.log(10) - cost.offset
        lead = self.q * np.log(self.alpha / (cost.slope * self.beta)) + np.log(self.a / self.b)
        log_n = (lead + self.beta * budget) / (self.alpha + cost.slope * self.beta)
        return log_n / np.log(10), (budget - cost.slope * log_n) / np.log(10)

    def loss(self, n_params: Array, n_tokens: Array) -> Array:
        """Nats per token."""
        parts = (self.a / n_params**self.alpha) ** (1 / self.q) + (self.b / n_tokens**self.beta) ** (1 / self.q)
        loss: Array = self.e + parts**self.q
        return loss


# Besiroglu et al. 2024 (arXiv 2404.10102); the Llama 3 report's normalised losses refitted; a strongly skewed one.
CHINCHILLA = Surface("chinchilla", 1.8169, 482.01, 2085.43, 0.3478, 0.3658)
SKEWED = Surface("asymmetric", 1.69, 406.4, 410.7, 0.5, 0.2)
SURFACES = (
    CHINCHILLA,
    Surface("llama3", 0.6114, 62.8, 192.9, 0.3137, 0.3254),
    SKEWED,
    *(Surface(f"coupled q={q}", 1.8169, 482.01, 2085.43, 0.3478, 0.3658, q) for q in (0.7, 0.9, 1.3)),
)
# Surfaces whose errors are averaged: `well` are those of which the additive law is right.
GROUPS = {
    "well": tuple(surface.name for surface in SURFACES if surface.q == 1),
    **{f"q={surface.q}": (surface.name,) for surface in SURFACES if surface.q != 1},
}


@dataclass(frozen=True)
class Setting:
    """What all cells share: whether noise differs by budget, and what a token costs."""

    heteroscedastic: bool = False
    cost: TokenCost = SIX

    def noise(self) -> Array:
        """(k,) noise of each budget relative to the cell's."""
        if not self.heteroscedastic:
            return np.ones(len(BUDGETS))
        return np.geomspace(LEAST_NOISE, MOST_NOISE, len(BUDGETS))


PLAIN = Setting()


@dataclass(frozen=True)
class Spoil:
    """`n_bad` runs end `least` to `most` nats too high."""

    name: str
    n_bad: int
    least: float
    most: float


SPOILS = (
    Spoil("1 run +0.1", 1, 0.1, 0.1),
    Spoil("2 runs +0.1", 2, 0.1, 0.1),
    Spoil("1 run +0.3..1", 1, 0.3, 1.0),
    Spoil("2 runs +0.3..1", 2, 0.3, 1.0),
)


@dataclass(frozen=True)
class Cell:
    """One way to lay out a sweep; `noise` is the standard deviation of ln loss."""

    surface: Surface
    centring: str
    half_width: float
    noise: float

    def sweep(self, generator: np.random.Generator, setting: Setting, spoil: Spoil | None = None) -> tuple[Rows, Array]:
        """The rows, and the positions (before they were sorted) of the runs that were spoilt."""
        first, last = CENTRINGS[self.centring]
        log_c = np.log10(BUDGETS)
        centres = self.surface.optimum(log_c, setting.cost)[0] + np.linspace(first, last, len(BUDGETS))
        offsets = np.linspace(-self.half_width, self.half_width, N_SIZES)
        n_params = 10 ** (centres[:, None] + offsets).ravel()
        budget, noise = np.repeat(BUDGETS, N_SIZES), np.repeat(self.noise * setting.noise(), N_SIZES)
        n_tokens = budget / (np.exp(setting.cost.offset) * n_params**setting.cost.slope)
        loss = self.surface.loss(n_params, n_tokens) * np.exp(noise * generator.normal(size=len(n_params)))
        n_bad = spoil.n_bad if spoil else 0
        spoilt = generator.permutation(len(n_params))[:n_bad]
        if spoil:
            loss[spoilt] += generator.uniform(spoil.least, spoil.most, n_bad)
        return sort_rows(budget, n_params, n_tokens, loss), spoilt


CELLS = tuple(
    Cell(surface, centring, width, noise)
    for surface in SURFACES
    for centring in CENTRINGS
    for width in HALF_WIDTHS
    for noise in NOISES
)
