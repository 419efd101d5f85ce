"""For every finding on runs without valleys, inputs where it must appear and inputs where it must not, drawn at random.

`SURFACE_FAMILIES` holds for each code a function from a generator to a fit that has it, and functions to fits without.
"""

from collections.abc import Mapping

import numpy as np

from isoflop.fit import SweepFit, fit_sweep
from isoflop.fit.laws import SurfaceLaw
from tests.fit.known_sweeps import Columns, Draw, surface_sweep, with_noise

Generator = np.random.Generator


def a_law(generator: Generator, *, even: bool = True) -> SurfaceLaw:
    """A surface; where it is not `even`, one whose optimum lies off most grids."""
    alpha, beta = generator.uniform(0.3, 0.4, 2) if even else (generator.uniform(0.45, 0.55), 0.2)
    return SurfaceLaw.of(generator.uniform(1.5, 2.0), 400.0, 1200.0 if even else 400.0, alpha, beta)


def ladder(
    generator: Generator, n_sizes: int = 6, n_ratios: int = 6, *, repeats: int = 1, sd: float = 0.002
) -> Columns:
    """Sizes times ratios of tokens to parameters, all budgets apart, with the noise of good training."""
    law = a_law(generator)
    n_params = np.repeat(np.geomspace(3e7, generator.uniform(8e8, 2e9), n_sizes), n_ratios * repeats)
    ratios = np.repeat(np.geomspace(5, generator.uniform(90, 130), n_ratios), repeats)
    n_tokens = n_params * np.tile(ratios, n_sizes)
    loss = np.exp(law.log_loss(np.log(n_params), np.log(n_tokens)))
    return with_noise((6 * n_params * n_tokens, n_params, n_tokens, loss), generator, sd)


def of_two_texts(generator: Generator, eighths: tuple[int, ...]) -> SweepFit:
    """A ladder of which so many eighths, evenly spread, were evaluated on another text."""
    *columns, loss = ladder(generator, 8, 8)
    size, ratio = np.divmod(np.arange(64), 8)
    shift = np.isin((size + 3 * ratio) % 8, eighths) * generator.uniform(0.05, 0.6)
    return fit_sweep(*columns, loss + shift)


def with_bad(generator: Generator, share: float) -> SweepFit:
    """A ladder of which that share diverged."""
    *columns, loss = ladder(generator)
    bad = generator.choice(len(loss), round(share * len(loss)), replace=False)
    loss[bad] += generator.uniform(0.1, 0.5, len(bad))
    return fit_sweep(*columns, loss)


def with_rates(generator: Generator, rise: float) -> SweepFit:
    """A ladder of three runs per place, the second and third of which end up to `rise` nats too high."""
    *columns, loss = ladder(generator, 5, 4, repeats=3)
    return fit_sweep(*columns, loss + np.tile([0.0, rise / 2, rise], 20))


def with_epochs(generator: Generator, epochs: float) -> SweepFit:
    """A ladder some of whose runs read their tokens that often."""
    budget_flops, n_params, n_tokens, loss = ladder(generator)
    often = generator.random(len(loss)) < 0.2
    often[0] = True
    return fit_sweep(budget_flops, n_params, n_tokens, loss, unique_tokens=n_tokens / np.where(often, epochs, 1.0))


def crossed(generator: Generator, *, even: bool = True) -> SweepFit:
    """A grid of sizes times token counts a factor of two apart, whose diagonals share 6 N D to the digit."""
    law, factors = a_law(generator, even=even), 2.0 ** np.arange(5)
    n_params, n_tokens = np.repeat(1e8 * factors, 5), np.tile(5e8 * factors, 5)
    loss = np.exp(law.log_loss(np.log(n_params), np.log(n_tokens)))
    return fit_sweep(*with_noise((6 * n_params * n_tokens, n_params, n_tokens, loss), generator, 1e-4))


def sweep(generator: Generator, **options: float) -> SweepFit:
    """An IsoFLOP sweep."""
    return fit_sweep(*with_noise(surface_sweep(np.geomspace(1e18, 1e20, 5), **options), generator, 0.001))


def few(generator: Generator) -> SweepFit:
    """A ladder of fewer runs than the surface needs."""
    return fit_sweep(*ladder(generator, 3, int(generator.integers(2, 4))))


def one_ratio(generator: Generator) -> SweepFit:
    """Sizes that all have the same ratio of tokens to parameters."""
    n_params = np.geomspace(1e8, 1e10, 14)
    loss = np.exp(a_law(generator).log_loss(np.log(n_params), np.log(20 * n_params)))
    return fit_sweep(*with_noise((120 * n_params**2, n_params, 20 * n_params, loss), generator, 0.002))


def shifted(generator: Generator, nats: float) -> SweepFit:
    """A ladder of a law without irreducible loss, that much lower."""
    _, n_params, n_tokens, _ = columns = ladder(generator)
    law = SurfaceLaw.of(1e-9, 40.0, 80.0, 0.2, 0.2)
    loss = np.exp(law.log_loss(np.log(n_params), np.log(n_tokens))) - nats
    return fit_sweep(*with_noise((*columns[:3], loss), generator, 1e-4))


def plain(generator: Generator) -> SweepFit:
    """A ladder with which nothing is wrong."""
    return fit_sweep(*ladder(generator))


SURFACE_FAMILIES: Mapping[str, tuple[Draw, tuple[Draw, ...]]] = {
    "best_of_cells": (lambda g: with_rates(g, g.uniform(0.2, 2.0)), (lambda g: with_rates(g, 0.0), plain, sweep)),
    "crossed_grid": (lambda g: crossed(g, even=False), (plain, sweep, lambda g: sweep(g, centre=2.0))),
    "epochs_left_out": (
        lambda g: with_epochs(g, g.uniform(4.1, 60)),
        (lambda g: with_epochs(g, g.uniform(1, 4)), plain),
    ),
    "no_irreducible_loss": (lambda g: shifted(g, g.uniform(0.1, 0.2)), (plain, sweep)),
    "no_one_surface": (lambda g: of_two_texts(g, (0, 3, 6)), (lambda g: of_two_texts(g, (0, 3)), plain, sweep)),
    "no_surface": (
        lambda g: few(g) if g.random() < 0.5 else one_ratio(g),
        (plain, sweep, crossed),
    ),
    "outliers": (lambda g: with_bad(g, g.uniform(0.05, 0.25)), (lambda g: fit_sweep(*ladder(g, sd=0.0)),)),
    "surface_only": (plain, (sweep, few)),
}
