"""The figure of the surface."""

import math

import matplotlib as mpl
import matplotlib.colors
import matplotlib.ticker
import numpy as np
from drawing import BLUE, GREEN, RED, SWEEPS, panels, read, say
from matplotlib.figure import Figure

from isoflop.fit.estimators.surface import HUBER_DELTA, LEAST_SQUARES, solve_surface
from isoflop.fit.estimators.surface_objective import SurfaceObjective
from isoflop.fit.newton import minimise
from isoflop.fit.rows import Rows


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
