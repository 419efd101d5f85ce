"""Figures of the joint valley: its shape, shrinkage, scatter and outliers."""

import math

import matplotlib as mpl
import matplotlib.colors
import matplotlib.ticker
import numpy as np
from drawing import (
    BLUE,
    CHINCHILLA,
    GREEN,
    GREY,
    LEVEL,
    ORANGE,
    PURPLE,
    RED,
    SWEEPS,
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

from isoflop.fit.estimators.choice import choose
from isoflop.fit.estimators.joint_objective import Axis, JointObjective
from isoflop.fit.estimators.joint_valley import JointValley
from isoflop.fit.estimators.outliers import FALSE_ALARMS, rows_on_valley
from isoflop.fit.estimators.surface import parameter_covariance, solve_surface, surface_lines
from isoflop.fit.intervals import student_quantile
from isoflop.fit.lines import Mixture
from isoflop.fit.rows import sort_rows
from isoflop.fit.valley import height


def above_floor(valley: JointValley, x: Array, t: Array) -> tuple[Array, Array, Array]:
    """v / ln 10 (decades from the ridge), scale e^s and loss above the floor (nats) of the joint valley."""
    p, q, k, kappa, low, high = valley.theta.tolist()
    off = x - p - q * t
    scale = np.exp(k - kappa * t)
    return off, scale, scale * height(math.log(10) * off, math.exp(low), math.exp(high), np.expm1)


def joint() -> Figure:
    """All budgets of a sweep on one valley."""
    choice = chosen("marin_comma")
    fit, rows = joint_of(choice), choice.rows
    valley = fit.valley
    x, t = np.log10(rows.n_params), np.log10(rows.budget_flops) - valley.line.log_c_mean
    off, scale, _ = above_floor(valley, x, t)
    height = (rows.loss - valley.floors[rows.group]) / scale
    figure, (left, right) = panels(2, ratios=(1.25, 1))
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(rows.budgets)))
    for k, budget in enumerate(rows.budgets):
        own = rows.group == k
        left.plot(off[own], height[own], "o", ms=3.5, color=shades[k], label=f"{budget:.0e}")
    grid = np.linspace(off.min(), off.max(), 200)
    shape = above_floor(valley, grid + valley.line.middle, np.zeros(200))
    left.plot(grid, shape[2] / shape[1], color="black", lw=1.5)
    plain = np.polynomial.Polynomial.fit(off, height, 2)
    left.plot(grid, plain(grid), "--", color=RED, lw=1.2)
    left.plot([], [], color="black", label="joint valley")
    left.plot([], [], "--", color=RED, label="parabola")
    left.axvline(0, color=GREY, lw=0.8)
    left.set(xlabel="log10 N - log10 of the ridge (decades)", ylabel="(loss - floor) / depth (dimensionless)",
             title="Marin: seven budgets on one valley")  # fmt: skip
    left.legend(ncols=2, title="budget (FLOPs)", title_fontsize=8)
    surface_fit = fit.surface
    residual = rows.loss - np.exp(surface_fit.log_loss(np.log(rows.n_params), np.log(rows.n_tokens)))
    right.plot(off, residual, "x", ms=5, color=RED, label="additive surface")
    right.plot(off, valley.residual, "o", ms=3.5, color=BLUE, label="joint valley")
    right.axhline(0, color="black", lw=0.8)
    right.set(xlabel="log10 N - log10 of the ridge (decades)", ylabel="residual (nats)",
              title=f"Lack of fit F = {fit.lack_of_fit:.0f}")  # fmt: skip
    right.legend()
    say("joint", below=math.exp(valley.theta[4]), above=math.exp(valley.theta[5]), F=fit.lack_of_fit, weight=fit.weight)
    return figure


def shrinkage() -> Figure:
    """The weight of the valley, and what is mixed in seven sweeps."""
    figure, (left, right) = panels(2, ratios=(1, 1.35), height=3.4)
    f = np.geomspace(0.5, 100, 400)
    left.plot(f, np.maximum(0, 1 - 1 / f), color="black")
    shades = [BLUE, RED, GREEN, ORANGE, PURPLE, GREY, "black"]
    for k, name in enumerate(SWEEPS):
        choice = chosen(name)
        fit = joint_of(choice)
        left.plot(fit.lack_of_fit, fit.weight, "osD^vP*"[k], color=shades[k], ms=6)
        surface_a, valley_a = fit.on_params.surface.exponent[0], fit.on_params.valley.exponent[0]
        a, variance = fit.on_params.exponent
        half = student_quantile(LEVEL, fit.degrees_of_freedom) * math.sqrt(variance)
        right.errorbar(a, -k, xerr=half, fmt="osD^vP*"[k], color=shades[k], capsize=3, ms=6)
        right.plot(surface_a, -k + 0.24, "|", color=RED, ms=9, mew=2)
        right.plot(valley_a, -k + 0.24, "|", color=BLUE, ms=9, mew=2)
        say("shrinkage", sweep=name, F=fit.lack_of_fit, weight=fit.weight, surface=surface_a, valley=valley_a, a=a,
            low=a - half, high=a + half, left_out=len(choice.outliers), scatter=fit.valley.scatter.sd)  # fmt: skip
    left.set(xscale="log", xlabel="lack of fit F of the surface", ylabel="weight of the valley", title="1 - 1/F")
    right.plot([], [], "|", color=RED, ms=9, mew=2, label="surface")
    right.plot([], [], "|", color=BLUE, ms=9, mew=2, label="valley")
    right.errorbar([], [], xerr=[], fmt="o", color="black", capsize=3, label="mixed, 90 % interval")
    right.set(xlabel="exponent a of N_opt ~ C^a", title="What is mixed", yticks=-np.arange(len(SWEEPS)),
              yticklabels=list(SWEEPS.values()), ylim=(-7.9, 0.6))  # fmt: skip
    right.legend(ncols=3, loc="lower center", fontsize=7.5, columnspacing=1, handletextpad=0.3)
    return figure


def scatter() -> Figure:
    """Floors of single budgets about the ridge."""
    choice = chosen("chinchilla_scalefit")
    rows, fit = choice.rows, joint_of(choice)
    valley = fit.valley
    log_c = np.log10(rows.budget_flops)
    axis = Axis(np.log10(rows.n_params), log_c - valley.line.log_c_mean, rows.loss, np.ones(len(rows)), rows.group,
                valley.line.log_c_mean)  # fmt: skip
    slopes = JointObjective(axis, valley.theta[4:], 0.0).jacobian(valley.theta[None], np.arange(1))[0][0]
    information = np.bincount(rows.group, slopes**2)
    step = np.bincount(rows.group, slopes * valley.residual) / information
    own = fit.residual_sd / np.sqrt(information)
    figure, (axes,) = panels(1, width=6.2)
    at = np.log10(rows.budgets)
    line = np.array([valley.ridge.at(float(c))[0] - valley.line.at(float(c))[0] for c in at])
    sd = valley.scatter.sd
    axes.fill_between(
        rows.budgets, line - sd, line + sd, color=BLUE, alpha=0.15, lw=0, label=f"scatter, {sd:.3f} decades"
    )
    axes.plot(rows.budgets, line, color=BLUE, label="ridge, allowing for scatter")
    axes.axhline(0, color=RED, ls="--", lw=1.2, label="ridge, weighted by noise alone")
    axes.errorbar(
        rows.budgets, step, own, fmt="o", color="black", capsize=3, ms=4, label="floor of one budget, ± own sd"
    )
    axes.set(xscale="log", xlabel="budget C (training FLOPs)", ylabel="log10 N, from the ridge (decades)",
             title="Chinchilla (ml-scalefit)", ylim=(-0.26, 0.3))  # fmt: skip
    axes.legend(ncols=2, loc="upper center")
    say("scatter", sd=sd, p=valley.scatter.p_value, plain_a=valley.line.slope, ridge_a=valley.ridge.slope)
    for n_budgets in (5, 8):
        for sd in (0.03, 0.08):
            held, without = scatter_coverage(n_budgets, sd)
            say("scatter coverage", budgets=n_budgets, sd=sd, held=held, without_allowance=without)
    return figure


def scatter_coverage(n_budgets: int, sd: float, sweeps: int = 100) -> tuple[float, float]:
    """How often 90 % intervals of a hold it where floors scatter by `sd` decades: as they are, and by noise alone."""
    budgets = 8.1e20 / 3.0 ** np.arange(n_budgets - 1, -1, -1)
    held = np.zeros((sweeps, 2), dtype=bool)
    for k in range(sweeps):
        generator = np.random.default_rng([13, n_budgets, k])
        offsets = [np.linspace(-0.5, 0.5, 7)] * n_budgets
        exact = law_rows(CHINCHILLA, budgets.tolist(), offsets)
        n = exact.n_params * 10 ** generator.normal(0, sd, n_budgets)[exact.group]
        loss = exact.loss * np.exp(generator.normal(0, 0.002, len(exact)))
        choice = choose(sort_rows(exact.budget_flops, n, exact.budget_flops / (6 * n), loss))
        assert choice
        fit = joint_of(choice)
        errors = parameter_covariance(fit.surface, choice.rows, np.ones(len(choice.rows)))
        lines = surface_lines(fit.surface, fit.cost, errors, fit.valley.line.log_c_mean)
        assert lines
        alone = Mixture(lines[0], fit.valley.line, fit.weight)
        for place, (law, freedom) in enumerate(
            ((choice.on_params, choice.degrees_of_freedom), (alone, fit.valley.degrees_of_freedom))
        ):
            value, variance = law.exponent
            half = student_quantile(LEVEL, freedom) * math.sqrt(variance)
            held[k, place] = abs(value - CHINCHILLA.exponent_a) <= half
    with_allowance, without = held.mean(axis=0).tolist()
    return with_allowance, without


def mask() -> Figure:
    """Which rows no smooth valley explains."""
    rows = read("chinchilla_isoflop")
    huber = solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss)
    keep, fit = rows_on_valley(rows, huber)
    assert fit
    x, t = np.log10(rows.n_params), np.log10(rows.budget_flops) - fit.valley.line.log_c_mean
    relative = (rows.loss - fit.valley.floors[rows.group] - above_floor(fit.valley, x, t)[2]) / rows.loss
    freedom = int(keep.sum()) - len(rows.budgets) - 6
    scale = math.sqrt(float((relative[keep] ** 2).sum()) / freedom)
    limit = student_quantile(1 - FALSE_ALARMS / len(rows), freedom - 1)
    figure, (axes,) = panels(1, width=6.2)
    axes.plot(rows.n_params[keep], 100 * relative[keep], "o", ms=3.5, color=BLUE, label="kept")
    axes.plot(rows.n_params[~keep], 100 * relative[~keep], "x", ms=7, mew=2, color=RED, label="left out")
    for sign in (-1, 1):
        axes.axhline(100 * sign * scale * limit, color=GREY, ls="--", lw=1)
    axes.plot([], [], "--", color=GREY, label="Bonferroni limit, before leverage")
    axes.set(xscale="log", xlabel="parameters N", ylabel="residual about the valley (% of the loss)",
             title=f"Chinchilla (Epoch AI), {len(rows)} runs")  # fmt: skip
    axes.set_yscale("symlog", linthresh=2)
    axes.set(ylim=(-60, 80))
    ticks = (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    sizes_axis(axes)
    axes.legend(ncols=3, loc="upper center")
    say("mask", left_out=int((~keep).sum()), limit_sd=limit, limit_percent=100 * scale * limit)
    return figure
