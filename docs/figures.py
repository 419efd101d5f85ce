"""Draws the figures of docs/fitting.md and prints the numbers quoted there.

    python docs/figures.py [NAME ...]

Published data come from tests/data, the rest from known surfaces and seeded generators. A minute on one core.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.colors
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator
from scipy.special import ndtri

from isoflop.fit import fit_sweep
from isoflop.fit.akima import fit_akima
from isoflop.fit.choice import Choice, choose
from isoflop.fit.cubic import cubic_floors
from isoflop.fit.envelope import Curves, envelope_of_curves, envelope_of_ends
from isoflop.fit.frontier import fit_frontier, fit_lines
from isoflop.fit.intervals import Noise, model_half_width, student_quantile
from isoflop.fit.joint.mask import FALSE_ALARMS, rows_on_valley
from isoflop.fit.joint.objective import Axis, JointObjective
from isoflop.fit.joint.shrink import JointFit, fit_joint
from isoflop.fit.joint.solve import JointValley
from isoflop.fit.line import PowerLaw
from isoflop.fit.newton import minimise
from isoflop.fit.noise import read_noise
from isoflop.fit.parabola import Parabola, fit_parabola
from isoflop.fit.profile import budget_floors, find_valleys, pool_noise
from isoflop.fit.robust import rows_on_parabolas
from isoflop.fit.rows import Rows, sort_rows
from isoflop.fit.surface.law import SurfaceLaw
from isoflop.fit.surface.objective import SurfaceObjective
from isoflop.fit.surface.solve import HUBER_DELTA, LEAST_SQUARES, solve_surface
from isoflop.fit.window import in_window, reach

Array = NDArray[np.float64]
DOCS = Path(__file__).parent
DATA = DOCS.parent / "tests" / "data"
SWEEPS = {
    "chinchilla_isoflop": "Chinchilla (Epoch AI)",
    "chinchilla_scalefit": "Chinchilla (ml-scalefit)",
    "llama3": "Llama 3",
    "llama3_exp_loss": "Llama 3, exponential",
    "marin_comma": "Marin",
    "porian_short_warmup": "Porian, short warm-up",
    "porian_tuned": "Porian, tuned",
}
LEVEL = 0.90
# Besiroglu et al. 2024 (arXiv 2404.10102), and a law whose two exponents differ strongly.
CHINCHILLA = SurfaceLaw.of(1.8169, 482.01, 2085.43, 0.3478, 0.3658)
SKEWED = SurfaceLaw.of(1.69, 406.4, 410.7, 0.5, 0.2)
LAWS = {"alpha 0.35, beta 0.37": CHINCHILLA, "alpha 0.50, beta 0.20": SKEWED}
# Okabe and Ito's colours, told apart by every kind of colour vision.
BLUE, RED, GREEN, ORANGE, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#777777"
WINDOW = 0.6
# Readings along each simulated training curve.
READ = 40

STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.hashsalt": "isoflop",
}


def read(name: str) -> Rows:
    """A published sweep."""
    return sort_rows(*np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1).T)


def say(name: str, **numbers: object) -> None:
    """Print numbers that the text quotes."""
    print(name, ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                          for key, value in numbers.items()))  # fmt: skip


def panels(
    n: int, *, height: float = 3.1, width: float = 8.4, ratios: Sequence[float] = ()
) -> tuple[Figure, list[Axes]]:
    """A figure of `n` panels side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False, width_ratios=list(ratios) or None)[0]
    return figure, list(axes)


def sizes_axis(axes: Axes) -> None:
    """Ticks of parameters on a logarithmic axis: 20M, 50M, 1B."""
    low, high = axes.get_xlim()
    subs = (1, 2, 5) if math.log10(high / low) < 1.6 else (1, 3) if math.log10(high / low) < 2.6 else (1,)
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=subs, numticks=20))
    axes.xaxis.set_major_formatter(
        mpl.ticker.FuncFormatter(lambda n, _: f"{n / 1e9:g}B" if n >= 1e9 else f"{n / 1e6:g}M")
    )
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def parabola_curve(parabola: Parabola, margin: float = 0.0) -> tuple[Array, Array]:
    """N and loss along a fitted parabola, over its sizes."""
    x = np.linspace(parabola.low - margin, parabola.high + margin, 200)
    return 10**x, np.polynomial.polynomial.polyval(x - parabola.mean, parabola.coefficients)


def law_rows(law: SurfaceLaw, budgets: Sequence[float], offsets: Sequence[Array], noise: Array | float = 0.0) -> Rows:
    """Rows of a known surface at C = 6 N D; `offsets` in decades of N from each optimum."""
    n = np.concatenate([10 ** (law.optimum(math.log10(c))[0] + off) for c, off in zip(budgets, offsets, strict=True)])
    c = np.concatenate([np.full(len(off), budget) for budget, off in zip(budgets, offsets, strict=True)])
    d = c / (6 * n)
    return sort_rows(c, n, d, np.exp(law.log_loss(np.log(n), np.log(d))) + noise)


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


def centred_bias(law: SurfaceLaw, half_width: float, centre: float = 0.0, budget: float = 1e20) -> float:
    """By how much the floor of a parabola misses the optimum of a noise-free surface, decades."""
    offsets = np.linspace(-half_width, half_width, 9) + centre
    part = law_rows(law, [budget], [offsets])
    fitted = fit_parabola(np.log10(part.n_params), part.loss)
    assert fitted and fitted.floor
    return fitted.floor.x - law.optimum(math.log10(budget))[0]


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


def surface() -> Figure:
    """What is minimised, and the objective over the exponents."""
    rows = read("epoch240")
    log_n, log_d = np.log(rows.n_params), np.log(rows.n_tokens)
    figure, (left, right) = panels(2)
    r = np.linspace(-6, 6, 400) * 1e-3
    size = np.abs(r)
    huber = np.minimum(size, HUBER_DELTA) * (size - np.minimum(size, HUBER_DELTA) / 2)
    left.plot(1e3 * r, huber * 1e6, color=BLUE, label="Huber, delta = 0.001")
    left.plot(1e3 * r, r**2 / 2 * 1e6, "--", color=RED, label="squares")
    left.plot(1e3 * r, size * HUBER_DELTA * 1e6, ":", color=GREEN, lw=2, label="absolute, times delta")
    left.set(xlabel="residual of ln loss (thousandths)", ylabel="contribution (millionths)", ylim=(0, 8),
             title="What one row adds to the objective")  # fmt: skip
    left.legend(loc="upper center")
    alphas, betas = np.linspace(0.2, 0.6, 60), np.linspace(0.2, 0.6, 60)
    squares = np.array([[projected(rows, a, b) for a in alphas] for b in betas])
    low = squares.min()
    filled = right.contourf(alphas, betas, np.maximum(squares / low - 1, 1e-4), cmap="Greys",
                            levels=[0.03, 0.1, 0.3, 1, 3, 10], extend="both",
                            norm=mpl.colors.LogNorm(0.01, 20))  # fmt: skip
    figure.colorbar(filled, ax=right, label="squared error above the least, relative", format="%g", spacing="uniform")
    for delta, name, mark, colour in ((HUBER_DELTA, "Huber", "o", BLUE), (LEAST_SQUARES, "squares", "s", RED),
                                      (0.0, "absolute", "^", GREEN)):  # fmt: skip
        law = solve_surface(log_n, log_d, rows.loss, delta=delta).law
        right.plot(law.alpha, law.beta, mark, color=colour, mec="white", ms=5 if mark == "^" else 9, label=name)
        say("surface", residuals=name, alpha=law.alpha, beta=law.beta, a=law.exponent_a, E=math.exp(law.log_e))
    right.set(xlabel="alpha", ylabel="beta", title="Chinchilla, 240 points: E, A, B projected out")
    right.legend(loc="lower right", frameon=True)
    for name in ("epoch240", *SWEEPS):
        random_starts(name)
    return figure


def projected(rows: Rows, alpha: float, beta: float) -> float:
    """Least relative squared error with these exponents."""
    x, z = np.log(rows.n_params / 1e9), np.log(rows.n_tokens / 1e10)
    design = np.column_stack([np.ones_like(x), np.exp(-alpha * x), np.exp(-beta * z)]) / rows.loss[:, None]
    residual = 1 - design @ np.linalg.lstsq(design, np.ones(len(x)), rcond=None)[0]
    return float(residual @ residual)


def random_starts(name: str, n: int = 300) -> None:
    """How many random starts end at the optimum that the grid of starts finds, and how many below it."""
    rows = read(name)
    log_n, log_d = np.log(rows.n_params), np.log(rows.n_tokens)
    solution = solve_surface(log_n, log_d, rows.loss)
    best = solution.objective
    within = np.abs(np.log(rows.loss) - solution.log_loss(log_n, log_d)) <= HUBER_DELTA
    say("huber", sweep=name, share_within_delta=float(within.mean()))
    x, z = log_n - log_n.mean(), log_d - log_d.mean()
    problem = SurfaceObjective(x, z, np.log(rows.loss), np.ones((1, len(x))), HUBER_DELTA)
    generator = np.random.default_rng(3)
    parts = math.log(rows.loss.mean()) + generator.normal(-1, 1, (n, 3))
    _, values = minimise(problem, np.column_stack([parts, generator.uniform(0.1, 0.8, (n, 2))]))
    say("random starts", sweep=name, same=float((values <= best * (1 + 1e-6)).mean()),
        lower=int((values < best * (1 - 1e-9)).sum()))  # fmt: skip


def above_floor(valley: JointValley, x: Array, t: Array) -> tuple[Array, Array, Array]:
    """v / ln 10 (decades from the ridge), scale e^s and loss above the floor (nats) of the joint valley."""
    p, q, k, kappa, low, high = valley.theta.tolist()
    below, above = math.exp(low), math.exp(high)
    off = x - p - q * t
    v = math.log(10) * off
    scale = np.exp(k - kappa * t)
    return off, scale, scale * (np.expm1(-below * v) / below + np.expm1(above * v) / above)


def chosen(name: str, window: float | None = None) -> Choice:
    """The recommended estimate of a published sweep."""
    choice = choose(read(name), window=window)
    assert choice
    return choice


def joint_of(choice: Choice) -> JointFit:
    """Its joint fit."""
    assert choice.joint
    return choice.joint


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
    return figure


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


def window() -> Figure:
    """A wide grid, and forecasts with and without a window."""
    rows = read("porian_tuned")
    k = int(np.argmax(reach(rows)))
    own = rows.take(rows.budget_flops == rows.budgets[k])
    near = in_window(own, WINDOW)
    best = own.n_params[np.argmin(own.loss)]
    figure, (left, right) = panels(2, ratios=(1, 1.25))
    left.axvspan(best * 10**-WINDOW, best * 10**WINDOW, color=GREY, alpha=0.15, lw=0, label="window, ± 0.6 decades")
    left.plot(own.n_params, own.loss, "o", ms=4, color="black", label="runs")
    for part, colour, style, label in ((own, RED, "--", "all rows"), (own.take(near), BLUE, "-", "in the window")):
        fitted = fit_parabola(np.log10(part.n_params), part.loss)
        assert fitted
        left.plot(*parabola_curve(fitted), style, color=colour, label=label)
    left.set(xscale="log", xlabel="parameters N", ylabel="loss (nats per token)",
             title=f"Porian et al., tuned, {rows.budgets[k]:.1e} FLOPs")  # fmt: skip
    sizes_axis(left)
    left.legend(loc="upper center")
    wide = []
    for number, (name, label) in enumerate(SWEEPS.items()):
        rows = read(name)
        cut = rows.take(in_window(rows, WINDOW))
        errors = [rms([f.error for f in forecasts(part, recommended)]) for part in (rows, cut)]
        right.plot(errors, [-number] * 2, "-", color=GREY, lw=1)
        right.plot(errors[0], -number, "x", color=RED, ms=7, mew=2, label="all rows" if not number else None)
        right.plot(errors[1], -number, "o", color=BLUE, ms=6, label="in the window" if not number else None)
        say("window", sweep=label, all_rows=errors[0], windowed=errors[1], widest=max(reach(rows)))
        if len(cut) < len(rows):
            wide.append(errors)
    say(
        "window",
        wide_sweeps=len(wide),
        mean_all=float(np.mean(wide, axis=0)[0]),
        mean_in=float(np.mean(wide, axis=0)[1]),
    )
    right.set(yticks=-np.arange(len(SWEEPS)), yticklabels=list(SWEEPS.values()), xlim=(0, None),
              ylim=(-7.6, 0.6), xlabel="rms error of forecasts of log10 N_opt (decades)",
              title="Later floors from cheaper budgets")  # fmt: skip
    right.legend(ncols=2, loc="lower center")
    return figure


@dataclass(frozen=True)
class Ahead:
    """A later floor as cheaper budgets predict it, decades: distance, error, half-widths, that of the floor seen."""

    decades: float
    error: float
    statistical: float
    full: float
    seen: float


Law = Callable[[Rows], tuple[PowerLaw, int, float] | None]


def recommended(rows: Rows) -> tuple[PowerLaw, int, float] | None:
    """The recommended estimate: law, degrees of freedom, largest fitted budget."""
    choice = choose(rows)
    return (choice.on_params, choice.degrees_of_freedom, choice.fitted_budgets[1]) if choice else None


def plain(rows: Rows) -> tuple[PowerLaw, int, float] | None:
    """The same of the plain parabola."""
    valleys = find_valleys(rows)
    noise, floors = pool_noise(valleys), budget_floors(valleys)
    lines = fit_lines(floors, noise)
    return (lines[0], noise.degrees_of_freedom, floors[-1].budget_flops) if lines and noise else None


def forecasts(rows: Rows, law: Law) -> list[Ahead]:
    """Every later floor from every three or more of the cheapest budgets; all is fitted anew at each cut."""
    return list(_forecasts(rows, law))


def _forecasts(rows: Rows, law: Law) -> Iterator[Ahead]:
    valleys = find_valleys(rows)
    pooled = pool_noise(valleys)
    for cut in range(3, len(valleys)):
        fitted = law(rows.take(rows.budget_flops <= valleys[cut - 1].budget_flops))
        if fitted is None or sum(bool(v.floors) for v in valleys[:cut]) < 3:
            continue
        line, freedom, top = fitted
        for valley in valleys[cut:]:
            if valley.floors:
                log_c = math.log10(valley.budget_flops)
                value, variance = line.at(log_c)
                decades = log_c - math.log10(top)
                half = student_quantile(LEVEL, freedom) * math.sqrt(variance)
                full = math.hypot(half, model_half_width(decades, LEVEL))
                assert pooled
                own = student_quantile(LEVEL, pooled.degrees_of_freedom) * pooled.on_params * valley.floors[0].spread
                yield Ahead(decades, value - valley.floors[0].x, half, full, own)


def rms(values: Sequence[float]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


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


def model_error() -> Figure:
    """Forecast errors on published sweeps, and what the model error allows."""
    figure, (left, right) = panels(2)
    for axes, law, title in ((left, recommended, "recommended"), (right, plain, "parabola")):
        found = [(name, f) for name in SWEEPS for f in forecasts(read(name), law)]
        every = [f for _, f in found]
        decades, errors = np.array([f.decades for f in every]), np.array([f.error for f in every])
        held = np.abs(errors) <= [f.full for f in every]
        axes.plot(decades[held], errors[held], "o", ms=3, color=BLUE, alpha=0.7, label="in its full interval")
        axes.plot(decades[~held], errors[~held], "x", ms=4, color=RED, label="outside")
        grid = np.linspace(0, 3.3, 100)
        half = np.array([model_half_width(float(far), LEVEL) for far in grid])
        axes.fill_between(grid, -half, half, color=GREY, alpha=0.18, lw=0, label="model error alone, 90 %")
        axes.set(xlabel="decades beyond the fitted budgets", ylabel="predicted - seen log10 N_opt (decades)",
                 title=f"{title}: {len(every)} forecasts, {held.mean():.0%} held",
                 ylim=(-0.95, 1.25), xlim=(0, 3.4))  # fmt: skip
        axes.axhline(0, color="black", lw=0.8)
        statistical = float(np.mean([abs(f.error) <= f.statistical for f in every]))
        both = float(np.mean([abs(f.error) <= math.hypot(f.full, f.seen) for f in every]))
        say("model error", law=title, n=len(every), full=float(held.mean()), statistical=statistical, with_seen=both,
            rms_near=rms(errors[decades <= 1].tolist()), rms_far=rms(errors[decades > 1].tolist()))  # fmt: skip
        for name in SWEEPS:
            own = [f for sweep_name, f in found if sweep_name == name]
            say("  ", sweep=name, n=len(own), full=float(np.mean([abs(f.error) <= f.full for f in own])))
    left.legend(loc="upper left", fontsize=7.5)
    windowed = []
    for name in SWEEPS:
        rows = read(name)
        windowed += forecasts(rows.take(in_window(rows, WINDOW)), recommended)
    say("model error in window", n=len(windowed), full=float(np.mean([abs(f.error) <= f.full for f in windowed])))
    return figure


def noise() -> Figure:
    """Unequal noise of budgets, and runs that share a trunk."""
    choice = chosen("chinchilla_isoflop")
    assert choice.noise and choice.noise.weights is not None
    rows = choice.rows
    used = 1 / np.sqrt([choice.noise.weights[rows.group == k][0] for k in range(len(rows.budgets))])
    figure, (left, right) = panels(2)
    left.plot(rows.budgets, choice.noise.budget_sd, "o", color="black", ms=5, label="residual sd of the budget")
    own = choice.noise.budget_sd
    left.plot(rows.budgets, used * math.sqrt(float((own**2).mean() / (used**2).mean())), "_", color=BLUE, ms=14, mew=2,
              label="as weighted, relative")  # fmt: skip
    left.set(xscale="log", ylim=(0, 0.036), xlabel="budget C (training FLOPs)", ylabel="residual sd (nats)",
             title=f"Chinchilla (Epoch AI), Bartlett p = {choice.noise.unequal_p:.1g}")  # fmt: skip
    left.legend()
    correlations = (0.0, 0.2, 0.4, 0.6, 0.8)
    found = [read_correlation(value) for value in correlations]
    right.plot([0, 0.8], [0, 0.8], "--", color=GREY, label="as true")
    right.errorbar(correlations, [mean for mean, _ in found], [sd for _, sd in found], fmt="o-", color=BLUE, capsize=3,
                   label="as read, mean ± sd")  # fmt: skip
    say("noise", unequal_p=choice.noise.unequal_p, lowest=float(own.min()), highest=float(own.max()))
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


def loss_law() -> Figure:
    """The law through the floors."""
    rows = read("chinchilla_scalefit")
    grid = np.geomspace(float(rows.budget_flops.min()), 1e23, 40)
    fit = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss, targets=grid.tolist())
    assert fit.estimators.recommended and fit.estimators.recommended.loss_law
    law = fit.estimators.recommended.loss_law
    found = [(target.loss, target.loss_ci_statistical, target.loss_ci) for target in fit.targets]
    figure, (axes,) = panels(1, width=6.2)
    for which, name in ((2, "with model error"), (1, "statistical")):
        bounds = [one[which] for one in found if one[which]]
        axes.fill_between(grid, [low for low, _ in bounds], [high for _, high in bounds], color=BLUE, alpha=0.2, lw=0,
                          label=f"90 % interval, {name}")  # fmt: skip
    axes.plot(grid, [loss for loss, *_ in found], color=BLUE, label=f"E + K C^-{law.gamma:.3f}")
    axes.plot(np.unique(rows.budget_flops), joint_of(chosen("chinchilla_scalefit")).valley.floors, "o", ms=4,
              color="black", label="floors of the joint valley")  # fmt: skip
    axes.axhline(law.e, color=GREY, ls="--", lw=1, label=f"E = {law.e:.3f}")
    axes.set(xscale="log", xlabel="budget C (training FLOPs)", ylabel="loss at the optimum (nats per token)",
             title="Chinchilla (ml-scalefit)")  # fmt: skip
    axes.legend()
    say("loss law", E=law.e, gamma=law.gamma, gamma_ci=law.gamma_ci, source=law.source)
    return figure


def scorecard() -> Figure:
    """Forecasts of one sweep by its own cheaper budgets."""
    figure, both = panels(2)
    for axes, name in zip(both, ("porian_short_warmup", "porian_tuned"), strict=True):
        rows = read(name)
        fit = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss)
        assert fit.credible_decades is not None
        for forecast in fit.scorecard:
            half = math.log10(forecast.n_opt_ci[1] / forecast.n_opt_ci[0]) / 2
            axes.errorbar(forecast.decades + 0.012 * (forecast.n_fitted - 6), forecast.error_decades, half,
                          fmt="o" if forecast.held else "x", color=BLUE if forecast.held else RED, ms=4, lw=0.8,
                          mew=1.4)  # fmt: skip
        held = sum(forecast.held for forecast in fit.scorecard)
        axes.axvspan(0, fit.credible_decades, color=GREEN, alpha=0.12, lw=0, label="credible extrapolation")
        axes.plot([], [], "o", color=BLUE, label="held")
        axes.plot([], [], "x", color=RED, label="missed")
        axes.axhline(0, color="black", lw=0.8)
        axes.set(xlabel="decades beyond the fitted budgets", ylabel="predicted - seen log10 N_opt (decades)",
                 title=f"{SWEEPS[name]}: {held} of {len(fit.scorecard)} held", xlim=(0, None))  # fmt: skip
        say("scorecard", sweep=name, held=held, n=len(fit.scorecard), credible=fit.credible_decades)
    both[0].legend(loc="lower left")
    for name in SWEEPS:
        rows = read(name)
        cards = fit_sweep(rows.budget_flops, rows.n_params, rows.n_tokens, rows.loss).scorecard
        losses = sum(card.loss_ci[0] <= card.loss_seen <= card.loss_ci[1] for card in cards if card.loss_ci)
        say("  ", sweep=name, held=sum(card.held for card in cards), losses_held=losses, n=len(cards))
    return figure


def off_centre() -> Figure:
    """What an off-centre and a drifting grid do to the parabola."""
    figure, (left, right) = panels(2)
    half = 0.5
    for (name, law), colour, style in zip(LAWS.items(), (BLUE, RED), ("-", "--"), strict=True):
        places = np.linspace(-0.95, 0.95, 39)
        bias = np.array([centred_bias(law, half, centre=-place * half) for place in places])
        left.plot(places, bias, style, color=colour, label=name)
        drifts = np.linspace(-0.2, 0.2, 17)
        for off, mark in ((0.0, ""), (0.3, "o")):
            shifts = np.array([drift_bias(law, float(drift), off) for drift in drifts])
            right.plot(drifts, shifts, style, color=colour, marker=mark, markevery=4, ms=4)
            say("drift", law=name, centre=off, at_tenth=float(np.interp(0.1, drifts, shifts)))
        for place in (0.0, -0.6, 0.6, -0.9, 0.9):
            say("off centre", law=name, place=place, bias=float(np.interp(place, places, bias)))
    left.axvspan(-0.6, 0.6, color=GREY, alpha=0.12, lw=0)
    left.set(xlabel="true optimum in the grid (-1: smallest size, 1: largest)", ylabel="bias of log10 N_opt (decades)",
             title="Grid of ± 0.5 decades (grey: middle 60 %)")  # fmt: skip
    right.axvspan(-0.1, 0.1, color=GREY, alpha=0.12, lw=0)
    right.set(xlabel="drift of the grid's centre (decades per decade)", ylabel="bias of the exponent a",
              title="Five budgets, two decades (grey: no finding)")  # fmt: skip
    right.plot([], [], color=GREY, label="centred on average")
    right.plot([], [], color=GREY, marker="o", ms=4, label="0.3 decades too high on average")
    for axes in (left, right):
        axes.axhline(0, color="black", lw=0.8)
        axes.legend()
    return figure


def drift_bias(law: SurfaceLaw, drift: float, centre: float) -> float:
    """What parabolas on noise-free losses miss of the exponent a where the grid drifts."""
    budgets = np.geomspace(1e18, 1e20, 5)
    offsets = [np.linspace(-0.5, 0.5, 9) + centre + drift * (math.log10(c) - 19) for c in budgets]
    floors = budget_floors(find_valleys(law_rows(law, budgets.tolist(), offsets)))
    lines = fit_lines(floors, Noise(1.0, 1.0, 1))
    assert lines
    return lines[0].slope - law.exponent_a


FIGURES: dict[str, Callable[[], Figure]] = {
    drawing.__name__.replace("_", "-"): drawing
    for drawing in (
        sweep, parabola, robust, cubic, surface, joint, shrinkage, scatter, mask, window, akima, envelope, intervals,
        model_error, noise, bands, loss_law, scorecard, off_centre,
    )
}  # fmt: skip


def main(names: Sequence[str]) -> None:
    """Draw the figures of these names, or all."""
    with mpl.rc_context(STYLE):
        for name in names or FIGURES:
            drawn = FIGURES[name]()
            drawn.savefig(DOCS / "img" / f"fitting-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1:])
