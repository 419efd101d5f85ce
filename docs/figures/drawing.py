"""What all figures share: published sweeps, known laws, panels, colours."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.colors
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from isoflop.fit.estimators.choice import Choice, choose
from isoflop.fit.estimators.joint import JointFit
from isoflop.fit.estimators.parabola import Parabola, fit_parabola
from isoflop.fit.laws import SurfaceLaw
from isoflop.fit.rows import Rows, sort_rows

Array = NDArray[np.float64]
DOCS = Path(__file__).parents[1]
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


def centred_bias(law: SurfaceLaw, half_width: float, centre: float = 0.0, budget: float = 1e20) -> float:
    """By how much the floor of a parabola misses the optimum of a noise-free surface, decades."""
    offsets = np.linspace(-half_width, half_width, 9) + centre
    part = law_rows(law, [budget], [offsets])
    fitted = fit_parabola(np.log10(part.n_params), part.loss)
    assert fitted and fitted.floor
    return fitted.floor.x - law.optimum(math.log10(budget))[0]


def chosen(name: str, window: float | None = None) -> Choice:
    """The recommended estimate of a published sweep."""
    choice = choose(read(name), window=window)
    assert choice
    return choice


def joint_of(choice: Choice) -> JointFit:
    """Its joint fit."""
    assert choice.joint
    return choice.joint


def rms(values: Sequence[float]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
