"""Figures of estimators that take every budget by itself."""

import math

import matplotlib as mpl
import matplotlib.colors
import matplotlib.ticker
import numpy as np
from drawing import (
    BLUE,
    CHINCHILLA,
    GREEN,
    LAWS,
    LEVEL,
    RED,
    SKEWED,
    centred_bias,
    law_rows,
    panels,
    parabola_curve,
    read,
    say,
    sizes_axis,
)
from matplotlib.figure import Figure
from scipy.interpolate import Akima1DInterpolator

from isoflop.fit.estimators.akima import fit_akima
from isoflop.fit.estimators.cubic import cubic_floors
from isoflop.fit.estimators.parabola import budget_floors, find_valleys, fit_frontier, fit_parabola, pool_noise
from isoflop.fit.estimators.robust import rows_on_parabolas
from isoflop.fit.intervals import student_quantile


def sweep() -> Figure:
    """Valleys, floors and frontier of one sweep."""
    rows = read("llama3")
    valleys = find_valleys(rows)
    noise = pool_noise(valleys)
    frontier = fit_frontier(budget_floors(valleys), noise, LEVEL)
    assert noise and frontier
    figure, (left, right) = panels(2)
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(valleys)))
    for part, valley, shade in zip(rows.split(), valleys, shades, strict=True):
        left.plot(part.n_params, part.loss, "o", ms=3, color=shade)
        assert valley.on_params
        left.plot(*parabola_curve(valley.on_params), "-", lw=1, color=shade)
        if valley.floors:
            floor = valley.floors[0]
            half = student_quantile(LEVEL, noise.degrees_of_freedom) * noise.on_params * floor.spread
            left.plot(10**floor.x, floor.loss, "v", ms=6, color=RED, mec="white", mew=0.6)
            right.errorbar(valley.budget_flops, 10**floor.x,
                           [[10**floor.x - 10 ** (floor.x - half)], [10 ** (floor.x + half) - 10**floor.x]],
                           fmt="v", ms=5, color=shade, capsize=2)  # fmt: skip
    c = np.geomspace(rows.budget_flops.min(), rows.budget_flops.max(), 20)
    right.plot(c, frontier.coef_n * c**frontier.exponent_a, "--", color=RED, lw=1.2,
               label=f"N_opt ~ C^{frontier.exponent_a:.3f}")  # fmt: skip
    left.plot([], [], "v", color=RED, label="floor of the parabola")
    left.set(xscale="log", xlabel="parameters N", ylabel="loss (nats per token, normalised)",
             title="Ten budgets, dark to light, and their valleys")  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="budget C (training FLOPs)", ylabel="N_opt (parameters)",
              title="The frontier through the floors")  # fmt: skip
    sizes_axis(left)
    left.legend(loc="upper right")
    right.legend()
    say("sweep", exponent_a=frontier.exponent_a, exponent_b=frontier.exponent_b)
    return figure


def parabola() -> Figure:
    """A floor with its interval, and what skew does to it."""
    rows = read("llama3")
    valleys = find_valleys(rows)
    noise = pool_noise(valleys)
    k = 5
    part, valley = rows.split()[k], valleys[k]
    assert noise and valley.floors and valley.on_params
    floor = valley.floors[0]
    half = student_quantile(LEVEL, noise.degrees_of_freedom) * noise.on_params * floor.spread
    figure, (left, right) = panels(2)
    left.plot(part.n_params, part.loss, "o", ms=4, color="black", label="runs")
    left.plot(*parabola_curve(valley.on_params), color=BLUE, label="least squares")
    below = floor.loss - 0.0006
    left.plot([10 ** (floor.x - half), 10 ** (floor.x + half)], [below] * 2, "-|", color=RED, lw=2, ms=8,
              label="floor, 90 % interval")  # fmt: skip
    left.plot(10**floor.x, below, "o", ms=5, color=RED)
    left.set(xscale="log", xlabel="parameters N", ylabel="loss (nats per token, normalised)",
             title=f"Llama 3 at {valley.budget_flops:.0e} FLOPs")  # fmt: skip
    sizes_axis(left)
    left.legend(loc="upper center")
    widths = np.linspace(0.1, 1.25, 24)
    for (name, law), colour, style in zip(LAWS.items(), (BLUE, RED), ("-", "--"), strict=True):
        bias = np.array([centred_bias(law, float(width)) for width in widths])
        right.plot(widths, bias, style, color=colour, label=name)
        say("parabola", law=name, bias_at_half=float(np.interp(0.5, widths, bias)),
            bias_at_one=float(np.interp(1.0, widths, bias)))  # fmt: skip
    right.axhline(0, color="black", lw=0.8)
    right.set(xlabel="half-width of the grid (decades of N)", ylabel="bias of log10 N_opt (decades)",
              title="Bias without noise, grid centred on the optimum")  # fmt: skip
    right.legend()
    return figure


def robust() -> Figure:
    """A budget whose bad runs move the parabola."""
    rows = read("porian_short_warmup")
    keep = rows_on_parabolas(rows)
    moves = []
    for k, budget in enumerate(rows.budgets):
        own = rows.budget_flops == budget
        plain, masked = find_valleys(rows.take(own))[0], find_valleys(rows.take(own & keep))[0]
        if plain.floors and masked.floors:
            moves.append((abs(plain.floors[0].x - masked.floors[0].x), k))
    best = max(moves)[1]
    own = rows.budget_flops == rows.budgets[best]
    figure, (left, right) = panels(2)
    for axes in (left, right):
        for rows_, style, label in ((own & keep, "o", "kept"), (own & ~keep, "x", "set aside")):
            part = rows.take(rows_)
            axes.plot(part.n_params, part.loss, style, ms=6 if style == "x" else 4, color="black", label=label)
        for rows_, colour, style, label in ((own, RED, "--", "all rows"), (own & keep, BLUE, "-", "robust")):
            fitted = find_valleys(rows.take(rows_))[0].on_params
            assert fitted
            axes.plot(*parabola_curve(fitted, 0.1), style, color=colour, label=label)
            if fitted.floor:
                axes.axvline(10**fitted.floor.x, ls=":", color=colour, lw=1.2)
        axes.set(xscale="log", xlabel="parameters N", ylabel="loss (nats per token)")
        sizes_axis(axes)
    right.set_xlim(None, 3e7)
    sizes_axis(right)
    low = rows.loss[own].min()
    right.set_ylim(low - 0.05, low + 0.35)
    left.set_title(f"Porian et al., short warm-up, {rows.budgets[best]:.1e} FLOPs")
    right.set_title("The same, lowest 0.35 nats (dotted: floors)")
    left.legend()
    say("robust", budget=float(rows.budgets[best]), moved=max(moves)[0], set_aside=int((~keep).sum()), rows=len(rows))
    return figure


def cubic() -> Figure:
    """A skewed valley by parabola and cubic; bias against noise."""
    part = law_rows(SKEWED, [1e20], [np.linspace(-1, 1, 9)])
    x = np.log10(part.n_params)
    true = SKEWED.optimum(20.0)[0]
    figure, (left, right) = panels(2)
    fitted = fit_parabola(x, part.loss)
    assert fitted and fitted.floor
    third = np.polynomial.Polynomial.fit(x, part.loss, 3)
    grid = np.linspace(x.min(), x.max(), 200)
    left.plot(part.n_params, part.loss, "o", ms=4, color="black", label="runs without noise")
    left.plot(*parabola_curve(fitted), "--", color=RED, label="parabola")
    left.plot(10**grid, third(grid), color=BLUE, label="cubic")
    left.axvline(10**true, ymax=0.55, color=GREEN, lw=1.4, ls=":", label="true optimum")
    left.set(xscale="log", xlabel="parameters N", ylabel="loss (nats per token)", title="alpha 0.50, beta 0.20")
    sizes_axis(left)
    left.legend(loc="upper center")
    widths, generator = np.linspace(0.4, 1.2, 9), np.random.default_rng(2)
    errors = np.array([floor_errors(float(width), generator) for width in widths])
    for column, colour, style, name in ((0, RED, "--", "parabola"), (1, BLUE, "-", "cubic")):
        right.plot(widths, errors[:, column], style, color=colour, marker="o", ms=3, label=name)
    right.set(xlabel="half-width of the grid (decades of N)", ylabel="rms error of log10 N_opt (decades)",
              title="9 sizes, noise of 0.005 nats, 400 repetitions", ylim=(0, None))  # fmt: skip
    right.legend()
    say("cubic", ratio_of_sd=floor_spread_ratio())
    return figure


def floor_errors(half_width: float, generator: np.random.Generator) -> tuple[float, float]:
    """Root mean square errors of the floors of parabola and cubic, decades."""
    found: list[tuple[float, float]] = []
    true = SKEWED.optimum(20.0)[0]
    offsets = np.linspace(-half_width, half_width, 9)
    while len(found) < 400:
        rows = law_rows(SKEWED, [1e20], [offsets], generator.normal(0, 0.005, 9))
        floors, _ = cubic_floors(rows)
        plain = find_valleys(rows)[0].floors
        if floors and plain:
            found.append((plain[0].x - true, floors[0].on_params.x - true))
    first, second = np.sqrt((np.array(found) ** 2).mean(axis=0)).tolist()
    return first, second


def floor_spread_ratio() -> float:
    """Standard error of a cubic's floor over a parabola's, of a symmetric valley."""
    rows = law_rows(CHINCHILLA, [1e20], [np.linspace(-0.5, 0.5, 7)])
    plain = find_valleys(rows)[0].floors
    assert plain
    return cubic_floors(rows)[0][0].on_params.spread / plain[0].spread


def akima() -> Figure:
    """A curve through every point."""
    generator = np.random.default_rng(4)
    offsets, true = np.linspace(-0.6, 0.6, 8), CHINCHILLA.optimum(20.0)[0]
    figure, (left, right) = panels(2)
    part = law_rows(CHINCHILLA, [1e20], [offsets], generator.normal(0, 0.008, 8))
    x = np.log10(part.n_params)
    grid = np.linspace(x[0], x[-1], 400)
    curve = np.exp(Akima1DInterpolator(np.log(part.n_params), np.log(part.loss))(grid * math.log(10)))
    fitted = fit_parabola(x, part.loss)
    assert fitted
    left.plot(part.n_params, part.loss, "o", ms=4, color="black", label="runs, noise of 0.008 nats")
    left.plot(10**grid, curve, color=BLUE, label="Akima")
    left.plot(*parabola_curve(fitted), "--", color=RED, label="parabola")
    left.axvline(10**true, ymax=0.55, color=GREEN, ls=":", label="true optimum")
    left.set(xscale="log", xlabel="parameters N", ylabel="loss (nats per token)", title="alpha 0.35, beta 0.37")
    sizes_axis(left)
    left.legend(loc="upper center")
    found = []
    while len(found) < 500:
        rows = law_rows(CHINCHILLA, [1e20], [offsets], generator.normal(0, 0.008, 8))
        lowest = fit_akima(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss).n_opt
        floors = find_valleys(rows)[0].floors
        if lowest and floors:
            found.append((math.log10(lowest[0]) - true, floors[0].x - true))
    errors = np.array(found)
    bins = np.linspace(-0.5, 0.5, 31)
    right.hist(errors[:, 1], bins, color=RED, alpha=0.45, label="parabola")
    right.hist(errors[:, 0], bins, histtype="step", color=BLUE, lw=1.6, label="Akima")
    right.set(xlabel="error of log10 N_opt (decades)", ylabel="repetitions of 500", title="The same budget, repeated")
    right.legend()
    say("akima", sd_akima=float(errors[:, 0].std()), sd_parabola=float(errors[:, 1].std()))
    return figure
