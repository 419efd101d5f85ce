"""For every finding code of a fit, inputs where it must appear and inputs where it must not, drawn at random.

`FAMILIES` holds one family a code, but for those of runs without valleys (surface_families.py). A new code needs a line
there: a function from a generator to a fit for each side.
What several codes draw has a name, so that it is fitted once a seed.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.fit import SweepFit, fit_sweep
from isoflop.fit.laws import SurfaceLaw
from tests.fit.known_sweeps import SKEWED, Columns, Draw, rows_of, stack, surface_sweep, valley, with_noise

Generator = np.random.Generator


@dataclass(frozen=True)
class Family:
    """Fits of inputs drawn at random: those that must have the finding, and kinds that must not."""

    appears: Draw
    absent: tuple[Draw, ...]


def a_law(generator: Generator) -> SurfaceLaw:
    """A surface whose valleys are nearly symmetric."""
    alpha = generator.uniform(0.32, 0.4)
    return SurfaceLaw.of(generator.uniform(1.5, 2.0), 480.0, 2000.0, alpha, alpha + generator.uniform(-0.02, 0.02))


def some_budgets(generator: Generator, number: int = 5) -> np.ndarray:
    """Budgets that span two decades or a little more."""
    first = 10 ** generator.uniform(17.5, 19.0)
    return np.geomspace(first, first * 10 ** generator.uniform(2.0, 2.4), number)


def exact(generator: Generator, *, number: int = 5, law: SurfaceLaw | None = None, **options: float) -> Columns:
    """A well-made sweep without noise."""
    return surface_sweep(some_budgets(generator, number), law=law or a_law(generator), **options)


def noisy(generator: Generator, columns: Columns, sd: float = 0.001) -> Columns:
    """The same with the noise of good training."""
    return with_noise(columns, generator, sd)


def well(generator: Generator, **options: float) -> Columns:
    """A well-made sweep."""
    return noisy(generator, exact(generator, **options))


def fit_well(generator: Generator) -> SweepFit:
    """The fit of a well-made sweep."""
    return fit_sweep(*well(generator))


def fit_exact(generator: Generator) -> SweepFit:
    """The fit of a well-made sweep without noise."""
    return fit_sweep(*exact(generator))


def with_budget(generator: Generator, offsets: np.ndarray, *, curvature: float | None = None) -> SweepFit:
    """A well-made sweep and another budget, three times the largest, with sizes at `offsets` from its optimum."""
    law = a_law(generator)
    columns = noisy(generator, exact(generator, law=law))
    budget = 3 * columns[0].max()
    last = rows_of(law, budget, 10 ** (law.optimum(np.log10(budget))[0] + offsets))
    if curvature is not None:
        last = (*last[:3], last[3].min() + curvature * offsets**2)
    return fit_sweep(*stack(columns, noisy(generator, last)))


def with_loss(columns: Columns, loss: np.ndarray) -> Columns:
    """The same rows with other losses."""
    return (*columns[:3], loss)


def jittered(columns: Columns, generator: Generator, spread: float) -> Columns:
    """Each row with a budget of its own, up to a share of `spread` larger."""
    return (columns[0] * (1 + spread * generator.uniform(0, 1, len(columns[0]))), *columns[1:])


def side(generator: Generator) -> float:
    """1 or -1."""
    return float(generator.choice([-1.0, 1.0]))


def _no_log_loss(generator: Generator, **question: object) -> SweepFit:
    columns = well(generator, number=int(generator.integers(2, 4)))
    return fit_sweep(*with_loss(columns, columns[3] - np.median(columns[3])), **question)


def _one_bad(generator: Generator) -> SweepFit:
    columns = well(generator)
    bad = np.zeros(len(columns[3]))
    bad[generator.integers(7, len(bad) - 7)] = generator.uniform(0.2, 2.0)
    return fit_sweep(*with_loss(columns, columns[3] + bad))


def _scattered(generator: Generator) -> SweepFit:
    law, budgets = a_law(generator), some_budgets(generator, 6)
    signs = side(generator) * np.array([1, -1, 1, -1, 1, -1])
    moved = zip(budgets, generator.uniform(0.08, 0.12) * signs, strict=True)
    parts = []
    for budget, shift in moved:
        log_n = law.optimum(np.log10(budget))[0] + np.linspace(-0.6, 0.6, 7)
        loss = rows_of(law, budget, 10**log_n)[3]
        parts.append((np.full(7, budget), 10 ** (log_n + shift), budget / 6 / 10 ** (log_n + shift), loss))
    return fit_sweep(*noisy(generator, stack(*parts), 0.0005))


def bent(generator: Generator) -> Columns:
    """Floors whose exponent changes half-way through the budgets."""
    law, budgets = a_law(generator), np.geomspace(1e18, 10 ** generator.uniform(20.8, 21.2), 8)
    middle, bend = np.log10(budgets).mean(), generator.uniform(0.3, 0.4) * side(generator)
    parts = []
    for budget in budgets:
        log_c = np.log10(budget)
        log_n = law.optimum(log_c)[0] + np.linspace(-0.6, 0.6, 7)
        loss = rows_of(law, budget, 10**log_n)[3]
        log_n = log_n + bend * max(log_c - middle, 0.0)
        parts.append((np.full(7, budget), 10**log_n, budget / 6 / 10**log_n, loss))
    return noisy(generator, stack(*parts), 0.0005)


def _fit_bent(generator: Generator) -> SweepFit:
    return fit_sweep(*bent(generator))


def _dear(generator: Generator, power: float) -> SweepFit:
    law, parts = a_law(generator), []
    for budget in some_budgets(generator):
        log_n = law.optimum(np.log10(budget))[0] + np.linspace(-0.6, 0.6, 7)
        log_d = np.log10(budget / 6) - power * log_n
        loss = np.exp(law.log_loss(log_n * np.log(10), log_d * np.log(10)))
        parts.append((np.full(7, budget), 10**log_n, 10**log_d, loss))
    return fit_sweep(*noisy(generator, stack(*parts)))


def _replicated(generator: Generator, half_width: float, sd: float) -> Columns:
    law, budgets = a_law(generator), some_budgets(generator)
    parts = [surface_sweep(budgets, law=law, half_width=half_width) for _ in range(3)]
    return noisy(generator, stack(*parts), sd)


def _shallow(generator: Generator) -> SweepFit:
    return fit_sweep(*_replicated(generator, 0.04, 0.005))


def _one_bad_repeat(generator: Generator, number: int = 5) -> SweepFit:
    law, budgets = a_law(generator), some_budgets(generator, number)
    columns = noisy(generator, stack(*(surface_sweep(budgets, law=law, half_width=0.6) for _ in range(3))))
    bad = np.zeros(len(columns[3]))
    bad[generator.integers(len(bad))] = generator.uniform(0.5, 5.0)
    return fit_sweep(*with_loss(columns, columns[3] + bad))


def _unequal(generator: Generator) -> SweepFit:
    columns = exact(generator, n_sizes=9)
    sd = np.where(columns[0] == columns[0].min(), 0.006, 0.001)
    return fit_sweep(*with_loss(columns, columns[3] + generator.normal(0, 1, len(sd)) * sd))


def _equal(generator: Generator) -> SweepFit:
    columns = exact(generator)
    same = 0.001 * generator.permutation([1, -1, 0, 1, -1, 0, 0])
    return fit_sweep(*with_loss(columns, columns[3] + np.tile(same, 5)))


def _trunks(generator: Generator, *, named: bool) -> SweepFit:
    columns = exact(generator)
    errors = np.tile(generator.normal(0, 0.003, 7), 5) + generator.normal(0, 0.001, 35)
    trunk = [f"size {row % 7}" for row in range(35)]
    return fit_sweep(*with_loss(columns, columns[3] + errors), trunk=trunk if named else None)


def _skewed(generator: Generator, *, drift: float = 0.0, half_width: float = 0.6) -> SweepFit:
    return fit_sweep(*well(generator, law=SKEWED, drift=drift, half_width=half_width))


def _level_floors(generator: Generator) -> SweepFit:
    budgets = some_budgets(generator, 3)
    return fit_sweep(*stack(*(valley(budget, curvature=generator.uniform(0.2, 0.6)) for budget in budgets)))


def _not_additive(generator: Generator) -> SweepFit:
    """Parabolas that keep their curvature while their floors fall."""
    budgets, floors = some_budgets(generator, 6), 2.0 + np.geomspace(2.0, generator.uniform(0.4, 0.6), 6)
    parts = [
        valley(budget, np.linspace(-0.8, 0.8, 9), floor=floor) for budget, floor in zip(budgets, floors, strict=True)
    ]
    return fit_sweep(*noisy(generator, stack(*parts), 0.0005))


def _flat(generator: Generator) -> SweepFit:
    columns = noisy(generator, exact(generator), 0.01)
    return fit_sweep(*stack(columns, valley(3 * columns[0].max(), np.linspace(-0.6, 0.6, 7), curvature=0.004)))


def _narrow(generator: Generator) -> SweepFit:
    flat = valley(10 ** generator.uniform(17, 20), offsets=[-1e-3, 0.0, 1e-3, 1.5e-3], curvature=1e-3)
    return fit_sweep(*with_loss(flat, flat[3] + [1e-3, 0.0, 0.0, 1e-3]), level=1 - 1e-12)


def _target(generator: Generator, decades: float, **options: float) -> SweepFit:
    columns = well(generator, **options)
    return fit_sweep(*columns, targets=[columns[0].max() * 10**decades])


def _near_target(generator: Generator) -> SweepFit:
    return _target(generator, 0.5)


def _suggest(generator: Generator, count: int, sd: float) -> SweepFit:
    columns = noisy(generator, exact(generator), sd)
    return fit_sweep(*columns, targets=[10 * columns[0].max()], suggest=count)


def _copies(generator: Generator) -> SweepFit:
    columns, number = well(generator), generator.integers(1, 5)
    return fit_sweep(*(np.concatenate([column, column[:number]]) for column in columns))


def _another_recipe(generator: Generator) -> SweepFit:
    """The last two of six budgets end higher or lower than the others foretell, at the same sizes."""
    columns = exact(generator, number=6)
    later = columns[0] > np.unique(columns[0])[3]
    shift = generator.choice([-1, 1]) * generator.uniform(0.15, 0.3)
    return fit_sweep(*noisy(generator, with_loss(columns, columns[3] + shift * later)))


def _shuffled(generator: Generator) -> SweepFit:
    columns = well(generator)
    return fit_sweep(*columns[:2], generator.permutation(columns[2]), columns[3])


def _windowed(generator: Generator, half_width: float, window: float | None) -> SweepFit:
    return fit_sweep(*well(generator, half_width=half_width, n_sizes=11), window=window)


def _wider_than_its_window(generator: Generator) -> SweepFit:
    return _windowed(generator, 1.4, 0.6)


def _bent_by_far_sizes(
    generator: Generator, *, window: float | None = None, bend: float = 0.5, sd: float = 0.006
) -> SweepFit:
    """Large models train the worse the larger the budget: as far from the floor as no window reaches."""
    budgets, law = some_budgets(generator, 6), a_law(generator)
    columns = surface_sweep(budgets, law=law, half_width=1.5, n_sizes=13)
    offset = np.tile(np.linspace(-1.5, 1.5, 13), 6)
    worse = np.repeat(np.linspace(0.0, generator.uniform(0.8, 1.2), 6), 13) * np.maximum(offset - 0.6, 0.0)
    target = 100 * budgets[-1]
    spoilt = noisy(generator, with_loss(columns, columns[3] + bend * worse), sd)
    return fit_sweep(*spoilt, targets=[target], window=window)


def _of_few_budgets(generator: Generator, number: int) -> SweepFit:
    return fit_sweep(*well(generator, number=number))


def _twins(generator: Generator) -> SweepFit:
    budget = 10 ** generator.uniform(17, 21)
    return fit_sweep(*stack(*(valley(each) for each in (budget, budget * (1 + 10 ** generator.uniform(-14, -5))))))


FAMILIES: dict[str, Family] = {
    "too_few_runs": Family(lambda g: with_budget(g, np.linspace(-0.3, 0.3, g.integers(1, 4))), (fit_well,)),
    "near_budgets": Family(lambda g: fit_sweep(*jittered(well(g), g, 10 ** g.uniform(-9, -1.4))), (fit_well,)),
    "few_sizes": Family(lambda g: with_budget(g, np.linspace(-0.6, 0.6, g.integers(4, 6))), (fit_well,)),
    "no_profiles": Family(lambda g: fit_sweep(*jittered(well(g), g, 0.5)), (fit_well,)),
    "few_budgets": Family(lambda g: _of_few_budgets(g, g.integers(1, 3)), (lambda g: _of_few_budgets(g, 3), fit_well)),
    "no_frontier": Family(_twins, (fit_well, lambda g: _of_few_budgets(g, 2))),
    "window_idle": Family(lambda g: _windowed(g, 0.7, 0.6), (_wider_than_its_window, fit_well)),
    "wide_grid": Family(lambda g: _windowed(g, g.uniform(1.2, 1.6), None), (fit_well, _wider_than_its_window)),
    "no_log_loss": Family(_no_log_loss, (fit_well,)),
    "unbracketed": Family(lambda g: with_budget(g, side(g) * np.linspace(0.2, 1.1, 7)), (fit_well,)),
    "concave": Family(lambda g: with_budget(g, np.linspace(-0.6, 0.6, 7), curvature=-g.uniform(0.1, 1.0)), (fit_well,)),
    "off_centre": Family(lambda g: with_budget(g, np.linspace(-1.0, 0.1, 7)), (fit_well,)),
    "drifting_centre": Family(
        lambda g: _skewed(g, drift=0.3 * side(g)), (fit_well, _skewed, lambda g: _skewed(g, drift=0.05))
    ),
    "skewed_valley": Family(lambda g: _skewed(g, half_width=1.0), (fit_well,)),
    "flat_valley": Family(_flat, (fit_well,)),
    "noise_fills_valley": Family(
        _shallow,
        (lambda g: fit_sweep(*_replicated(g, 0.6, 0.001)), _one_bad_repeat, lambda g: _one_bad_repeat(g, 1)),
    ),
    "unequal_noise": Family(_unequal, (_equal,)),
    "shared_trunks": Family(lambda g: _trunks(g, named=True), (lambda g: _trunks(g, named=False),)),
    "estimators_disagree": Family(lambda g: _skewed(g, drift=0.3, half_width=1.0), (fit_well,)),
    "surface_at_bound": Family(_level_floors, (fit_well,)),
    "surface_rejected": Family(_not_additive, (fit_well,)),
    "scattered_floors": Family(_scattered, (fit_well,)),
    "outliers": Family(_one_bad, (fit_well,)),
    "not_6nd": Family(lambda g: _dear(g, g.uniform(1.08, 1.2)), (lambda g: _dear(g, 1.0),)),
    "scorecard_missed": Family(_fit_bent, (fit_exact,)),
    "credible_extrapolation": Family(
        fit_exact,
        (_fit_bent, _shallow, _shuffled),
    ),
    "loss_scorecard_missed": Family(_another_recipe, (fit_exact, _shallow)),
    "credible_loss": Family(fit_exact, (_another_recipe, _shuffled)),
    "window_disagrees": Family(
        _bent_by_far_sizes,
        (
            fit_well,
            lambda g: _bent_by_far_sizes(g, window=0.6),
            lambda g: _bent_by_far_sizes(g, bend=0.0),
        ),
    ),
    "no_target": Family(lambda g: fit_sweep(*well(g, number=1), targets=[1e22]), (_near_target,)),
    "far_extrapolation": Family(
        lambda g: _target(g, g.uniform(1.05, 4.0)), (lambda g: _target(g, 0.95), lambda g: _target(g, -1.0))
    ),
    "loss_not_fitted": Family(lambda g: _no_log_loss(g, targets=[1e21]), (_near_target,)),
    "nothing_to_suggest": Family(
        lambda g: fit_sweep(*well(g, number=1), suggest=3), (lambda g: _suggest(g, 3, 0.001),)
    ),
    "little_to_gain": Family(lambda g: _suggest(g, 3, 1e-5), (lambda g: _suggest(g, 7, 1e-5),)),
    "surface_only": Family(lambda g: fit_sweep(*jittered(well(g), g, 0.5), targets=[1e22]), (_near_target,)),
    "no_interval": Family(_narrow, (fit_well, lambda g: _target(g, 2.0))),
    "identical_rows": Family(_copies, (fit_well,)),
    "tokens_unrelated": Family(_shuffled, (fit_well,)),
}
