"""The figure of envelopes along training curves."""

import math
from collections.abc import Sequence

import numpy as np
from drawing import BLUE, CHINCHILLA, GREEN, GREY, RED, Array, panels, say
from matplotlib.figure import Figure

from isoflop.fit.estimators.envelope import envelope_of_curves, envelope_of_ends
from isoflop.fit.rows import Curves, sort_rows

# Readings along each simulated training curve.
READ = 40


def envelope() -> Figure:
    """Approach 1 of annealed points, and of curves whose schedules end elsewhere."""
    sizes, budgets = np.geomspace(3e6, 3e10, 41), np.geomspace(1e18, 1e21, 7)
    n, c = (grid.ravel() for grid in np.meshgrid(sizes, budgets))
    d = c / (6 * n)
    swept = envelope_of_ends(sort_rows(c, n, d, simulated(n, d, d)))
    # one schedule of 20 billion tokens for every size, read on the way
    long = np.full(READ, 2e10) * np.geomspace(0.02, 1, READ)
    n, d = (grid.ravel() for grid in np.meshgrid(sizes, long, indexing="ij"))
    loss, ended = simulated(n, d, np.full(len(d), 2e10)), d > 1.99e10
    figure, (left, right) = panels(2)
    for size in sizes[4::4]:
        left.plot(6 * n[n == size] * d[n == size], loss[n == size], color=GREY, lw=0.8)
    left.plot(
        6 * n[ended][4::4] * d[ended][4::4], loss[ended][4::4], "o", ms=3, color="black", label="end of the schedule"
    )
    on_the_way = envelope_of_curves(Curves(6 * n * d, n, d, loss))
    for found in (swept, on_the_way):
        assert found
        colour, style, name = (BLUE, "o", "annealed") if found.annealed else (RED, "x", "on the way")
        inside = [(x, y) for x, y in zip(found.budget_flops, found.n_opt, strict=True) if 9e17 < x < 1.1e21]
        right.plot(*zip(*inside, strict=True), style, ms=4, color=colour, label=f"{name}: a = {slope(inside):.3f}")
        say("envelope", annealed=found.annealed, a=slope(inside), a_of_all=found.n_line.slope, readings=len(inside))
    right.plot(budgets, [10 ** CHINCHILLA.optimum(math.log10(v))[0] for v in budgets], "--", color=GREEN,
               label=f"true: a = {CHINCHILLA.exponent_a:.3f}")  # fmt: skip
    left.set(xscale="log", xlabel="training FLOPs so far", ylabel="loss (nats per token)",
             title="One schedule of 20B tokens for every size", xlim=(1e17, 4e21), ylim=(2, 6))  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="training FLOPs", ylabel="parameters N of the best run",
              title="The lower envelope")  # fmt: skip
    left.legend()
    right.legend()
    return figure


def simulated(n: Array, d: Array, end: Array) -> Array:
    """Loss after `d` tokens of a schedule of `end`: at its end the known law, before it up to 5 % more."""
    return np.exp(CHINCHILLA.log_loss(np.log(n), np.log(d))) * (1 + 0.05 * (1 - d / end))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of log y on log x."""
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])
