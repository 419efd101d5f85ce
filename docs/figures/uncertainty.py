"""Figures of intervals, noise and bands."""

import math
from collections.abc import Callable

import numpy as np
from drawing import (
    BLUE,
    CHINCHILLA,
    GREEN,
    GREY,
    LEVEL,
    ORANGE,
    RED,
    Array,
    chosen,
    joint_of,
    law_rows,
    panels,
    read,
    say,
    sizes_axis,
)
from matplotlib.figure import Figure
from scipy.special import ndtri
from valley import above_floor

from isoflop.fit import fit_sweep
from isoflop.fit.estimators.joint import fit_joint
from isoflop.fit.estimators.joint_valley import JointValley
from isoflop.fit.estimators.parabola import fit_parabola
from isoflop.fit.intervals import student_quantile
from isoflop.fit.noise import read_noise
from isoflop.fit.rows import sort_rows


def intervals() -> Figure:
    """Coverage of intervals of the exponent by degrees of freedom."""
    generator = np.random.default_rng(5)
    figure, (axes,) = panels(1, width=6.2)
    sizes = (4, 5, 6, 7, 9, 12)
    held = np.array([exponent_coverage(n, generator) for n in sizes])
    freedom = [3 * (n - 3) for n in sizes]
    for column, mark, colour, name in ((0, "o", BLUE, "Student t, pooled noise"), (1, "s", GREEN, "normal quantile"),
                                       (2, "x", RED, "bootstrap of rows within budgets")):  # fmt: skip
        axes.plot(freedom, 100 * held[:, column], marker=mark, color=colour, label=name)
        say("intervals", kind=name, coverage=np.round(held[:, column], 3).tolist())
    axes.axhline(90, color="black", lw=1, ls="--", label="nominal")
    axes.set(xlabel="residual degrees of freedom (3 budgets of 4 to 12 sizes)", ylabel="coverage of a (%)",
             ylim=(40, 100), xticks=freedom,
             title="Intervals of the parabola's exponent, exact parabolas, 1000 sweeps")  # fmt: skip
    axes.legend(loc="lower right")
    return figure


def exponent_coverage(n_sizes: int, generator: np.random.Generator, sweeps: int = 1000, refits: int = 200) -> Array:
    """How often t, normal and bootstrap intervals of the slope through three vertices hold the truth."""
    x, lever, noise, q = np.linspace(-0.6, 0.6, n_sizes), np.array([-1.0, 0.0, 1.0]), 0.01, student_quantile
    design = np.column_stack([np.ones(n_sizes), x, x**2])
    held = np.zeros(3)
    for _ in range(sweeps):
        loss = 0.4 * x**2 + generator.normal(0, noise, (3, n_sizes))
        fits = [fit_parabola(x, row) for row in loss]
        floors = [fit.floor for fit in fits if fit and fit.floor]
        freedom = 3 * (n_sizes - 3)
        sd = math.sqrt(sum(fit.sse for fit in fits if fit) / freedom)
        slope = float(lever @ [floor.x for floor in floors]) / 2
        error = sd * math.sqrt(sum((w * floor.spread) ** 2 for w, floor in zip(lever, floors, strict=True))) / 2
        held[0] += abs(slope) <= q(LEVEL, freedom) * error
        held[1] += abs(slope) <= float(ndtri(0.95)) * error
        counts = generator.multinomial(n_sizes, np.full(n_sizes, 1 / n_sizes), (refits, 3)).astype(float)
        counts = counts[((counts > 0).sum(axis=2) >= 3).all(axis=1)]
        gram = np.einsum("bkn,ni,nj->bkij", counts, design, design)
        right = np.einsum("bkn,ni,kn->bki", counts, design, loss)
        coefficients = np.linalg.solve(gram, right[..., None])[..., 0]
        slopes = (-coefficients[..., 1] / (2 * coefficients[..., 2])) @ lever / 2
        low, high = np.quantile(slopes, [0.05, 0.95])
        held[2] += low <= 0 <= high
    return held / sweeps


def noise() -> Figure:
    """Unequal noise of budgets, and runs that share a trunk."""
    choice = chosen("porian_short_warmup", 0.6)
    assert choice.noise and choice.noise.weights is not None
    per_decade = math.exp(choice.noise.trend.slope / 2)
    rows = choice.rows
    used = 1 / np.sqrt([choice.noise.weights[rows.group == k][0] for k in range(len(rows.budgets))])
    figure, (left, right) = panels(2)
    left.plot(rows.budgets, choice.noise.budget_sd, "o", color="black", ms=5, label="residual sd of the budget")
    own = choice.noise.budget_sd
    left.plot(rows.budgets, used * math.sqrt(float((own**2).mean() / (used**2).mean())), "_", color=BLUE, ms=14, mew=2,
              label="as weighted, relative")  # fmt: skip
    left.set(xscale="log", ylim=(0, None), xlabel="budget C (training FLOPs)", ylabel="residual sd (nats)",
             title=f"Porian, short warm-up: noise x {per_decade:.2f} per decade")  # fmt: skip
    left.legend()
    correlations = (0.0, 0.2, 0.4, 0.6, 0.8)
    found = [read_correlation(value) for value in correlations]
    right.plot([0, 0.8], [0, 0.8], "--", color=GREY, label="as true")
    right.errorbar(correlations, [mean for mean, _ in found], [sd for _, sd in found], fmt="o-", color=BLUE, capsize=3,
                   label="as read, mean ± sd")  # fmt: skip
    say("noise", per_decade=per_decade, trend_p=choice.noise.trend.p_value, unequal_p=choice.noise.unequal_p)
    say("trunks", true=correlations, read=[round(mean, 3) for mean, _ in found])
    right.set(xlabel="true correlation of runs that share a trunk", ylabel="correlation read from the residuals",
              title="200 simulated sweeps each")  # fmt: skip
    right.legend()
    return figure


def read_correlation(correlation: float, sweeps: int = 200) -> tuple[float, float]:
    """Mean and standard deviation of the correlation that residuals show, of sizes branched at five budgets."""
    generator = np.random.default_rng(6)
    budgets, ladder = np.geomspace(1e18, 1e20, 5), np.arange(-12, 13) / 6
    offsets = [ladder + CHINCHILLA.optimum(19.0)[0] - CHINCHILLA.optimum(math.log10(c))[0] for c in budgets]
    near = [np.abs(off) <= 0.55 for off in offsets]
    exact = law_rows(CHINCHILLA, budgets.tolist(), [off[own] for off, own in zip(offsets, near, strict=True)])
    size = np.concatenate([np.flatnonzero(own) for own in near])
    found = []
    for _ in range(sweeps):
        shared, own = generator.normal(0, 1, len(ladder))[size], generator.normal(0, 1, len(size))
        errors = 0.004 * (math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)
        rows = sort_rows(exact.budget_flops, exact.n_params, exact.n_tokens, exact.loss + errors,
                         trunk=[str(number) for number in size])  # fmt: skip
        fit = fit_joint(rows, tokens=False)
        assert fit
        found.append(read_noise(rows, fit.valley.residual, fit.degrees_of_freedom).trunk_correlation or 0.0)
    return float(np.mean(found)), float(np.std(found))


def bands() -> Figure:
    """Sizes that lose no more than a margin."""
    name = "chinchilla_scalefit"
    rows = read(name)
    budget = float(rows.budget_flops.max())
    target = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss, targets=[budget]).targets[0]
    fit = joint_of(chosen(name))
    assert target.n_opt and target.n_opt_ci and target.loss is not None
    x = math.log10(target.n_opt) + np.linspace(-0.75, 0.75, 300)
    t = np.full(300, math.log10(budget) - fit.valley.line.log_c_mean)
    moved = valley_at(fit.valley, math.log10(target.n_opt), float(t[0]))
    figure, (axes,) = panels(1, width=6.2)
    axes.plot(10**x, target.loss + moved(x), color="black", lw=1.5, label="predicted loss")
    for band, colour in zip(target.bands, (BLUE, GREEN, ORANGE, RED), strict=True):
        assert band.n_params
        low, high = band.n_params
        axes.hlines(
            target.loss + band.nats, low, high, color=colour, lw=2.5, label=f"{band.margin}, {band.nats:.4f} nats"
        )
        say("bands", margin=band.margin, nats=band.nats, low=low, high=high)
    axes.axvspan(*target.n_opt_ci, ymax=0.5, color=GREY, alpha=0.15, lw=0, label="90 % interval of N_opt")
    axes.set(xscale="log", xlabel="parameters N", ylabel="loss (nats per token)",
             title=f"Chinchilla (ml-scalefit) at {budget:.0e} FLOPs")  # fmt: skip
    sizes_axis(axes)
    axes.legend(loc="upper center")
    say("bands", n_opt=target.n_opt, low=target.n_opt_ci[0], high=target.n_opt_ci[1])
    return figure


def valley_at(valley: JointValley, log_n: float, t: float) -> Callable[[Array], Array]:
    """Loss above the floor as a function of log10 N, with the optimum moved to `log_n`."""
    ridge = valley.line.middle + valley.line.slope * t
    return lambda x: above_floor(valley, x - log_n + ridge, np.full(len(x), t))[2]
