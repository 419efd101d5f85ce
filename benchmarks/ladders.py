"""How well the surface answers where no budget has a valley: simulated ladders, clean and with diverged runs.

    python benchmarks/ladders.py [TABLES]

A ladder is several sizes, each on several ratios of tokens to parameters; a diverged run ends 0.1 to 4 nats too high.
Printed are, for each kind of table: the rms and the median error of the exponent a, that of plain least squares of all
runs, how many 90 % intervals held it, good runs set aside and bad ones kept, per table, and how often Huber's surface
answered instead of least squares.
"""

import sys

import numpy as np

from isoflop.fit import Columns
from isoflop.fit.estimators.choice import choose
from isoflop.fit.estimators.fitted_rows import select
from isoflop.fit.estimators.surface import LEAST_SQUARES, solve_surface
from isoflop.fit.intervals import student_quantile
from isoflop.fit.laws import SurfaceLaw

Kind = tuple[int, int, int, float]
LAWS = {
    "even": SurfaceLaw.of(1.8169, 482.01, 2085.43, 0.3478, 0.3658),
    "skewed": SurfaceLaw.of(1.69, 406.4, 410.7, 0.5, 0.2),
}
# Sizes, ratios, diverged runs, noise in nats.
TABLES = ((3, 4, 0, 0.004), (4, 4, 1, 0.004), (5, 6, 0, 0.004), (5, 6, 3, 0.004), (6, 8, 8, 0.004), (10, 24, 20, 0.004))


def draw(law: SurfaceLaw, kind: Kind, generator: np.random.Generator) -> tuple[Columns, set[int]]:
    """One table, and which of its runs diverged."""
    n_sizes, n_ratios, n_bad, sd = kind
    n_params = np.repeat(np.geomspace(3e7, 1e9, n_sizes), n_ratios)
    n_tokens = n_params * np.tile(np.geomspace(5, 100, n_ratios), n_sizes)
    loss = np.exp(law.log_loss(np.log(n_params), np.log(n_tokens))) + generator.normal(0, sd, len(n_params))
    bad = generator.choice(len(loss), n_bad, replace=False)
    loss[bad] += generator.uniform(0.1, 4, n_bad)
    return Columns(6 * n_params * n_tokens, n_params, n_tokens, loss), set(bad.tolist())


def measure(law: SurfaceLaw, kind: Kind, tables: int) -> str:
    """One line of the output."""
    generator = np.random.default_rng(1)
    errors, plain, held, good_lost, bad_kept, huber, silent = [], [], [], 0, 0, 0, 0
    for _ in range(tables):
        columns, bad = draw(law, kind, generator)
        rows = select(columns).rows
        theta = solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss, delta=LEAST_SQUARES).theta
        plain.append(theta[4] / (theta[3] + theta[4]) - law.exponent_a)
        choice = choose(rows)
        if choice is None or choice.surface is None:
            silent += 1
            continue
        a, variance = choice.on_params.exponent
        errors.append(a - law.exponent_a)
        held.append(abs(errors[-1]) <= student_quantile(0.9, choice.degrees_of_freedom) * np.sqrt(variance))
        good_lost += len(set(choice.outliers) - bad)
        bad_kept += len(bad - set(choice.outliers))
        huber += choice.surface.disagree
    rms = [float(np.sqrt(np.mean(np.square(some)))) for some in (errors, plain)]
    return (
        f"{rms[0]:.4f} {np.median(np.abs(errors)):.4f} plain {rms[1]:.4f} held {np.mean(held):.2f} lost "
        f"{good_lost / tables:.3f} kept {bad_kept / tables:.3f} huber {huber / tables:.3f} silent {silent / tables:.3f}"
    )


def main() -> None:
    """Print one line per law and kind of table."""
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    for name, law in LAWS.items():
        for kind in TABLES:
            print(f"{name:7}{kind[0] * kind[1]:4} runs, {kind[2]:2} diverged: {measure(law, kind, tables)}", flush=True)


if __name__ == "__main__":
    main()
