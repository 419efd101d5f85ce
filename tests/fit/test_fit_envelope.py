"""Approach 1: the lower envelope, of the ends of runs and of their curves."""

import dataclasses

import numpy as np
import pytest

from isoflop.fit import fit_sweep
from isoflop.fit.estimators.envelope import envelope_of_curves, envelope_of_ends
from isoflop.fit.rows import Curves, sort_rows
from tests.fit.known_sweeps import CHINCHILLA, codes, surface_sweep


def points(n_params, n_tokens, extra=0.0):
    n, d = (np.asarray(grid, dtype=float).ravel() for grid in np.broadcast_arrays(n_params, n_tokens))
    return Curves(6 * n * d, n, d, np.exp(CHINCHILLA.log_loss(np.log(n), np.log(d))) + extra)


def rows_of(ends):
    return sort_rows(ends.flops, ends.n_params, ends.n_tokens, ends.loss)


SIZES = np.geomspace(1e7, 1e10, 40)[:, None]


def test_ends_of_many_sizes_give_the_exponent_of_the_surface():
    budgets = np.geomspace(1e19, 1e21, 5)
    ends = points(SIZES, budgets / (6 * SIZES))
    found = envelope_of_ends(sort_rows(np.tile(budgets, len(SIZES)), ends.n_params, ends.n_tokens, ends.loss))
    assert found.annealed
    assert found.budget_flops == pytest.approx(budgets)
    assert found.n_line.slope == pytest.approx(CHINCHILLA.exponent_a, abs=0.03)
    assert found.n_line.slope + found.d_line.slope == pytest.approx(1)


def test_annealed_curves_give_the_exponent_of_the_surface():
    found = envelope_of_curves(points(SIZES, np.geomspace(1e9, 1e11, 60)))
    inside = [(c, n) for c, n in zip(found.budget_flops, found.n_opt, strict=True) if 1e19 < c < 3e20]
    slope = np.polyfit(*np.log10(inside).T, 1)[0]
    assert not found.annealed
    assert slope == pytest.approx(CHINCHILLA.exponent_a, abs=0.05)


def test_a_point_that_a_cheaper_one_beats_is_no_reading():
    good = points(np.array([1e8, 3e8]), np.array([2e9, 6e9]))
    bad = dataclasses.replace(good, **{
        name: np.append(getattr(good, name), value)
        for name, value in (("flops", 1e20), ("n_params", 1e9), ("n_tokens", 1e20 / 6e9), ("loss", 9.0))
    })  # fmt: skip
    assert envelope_of_ends(rows_of(bad)) == envelope_of_ends(rows_of(good))


def test_the_order_of_points_changes_nothing():
    ends = points(SIZES, np.geomspace(1e19, 1e21, 5) / (6 * SIZES))
    order = np.random.default_rng(0).permutation(len(ends.loss))
    mixed = Curves(*(getattr(ends, field.name)[order] for field in dataclasses.fields(ends)))
    assert envelope_of_ends(rows_of(mixed)) == envelope_of_ends(rows_of(ends))
    assert envelope_of_curves(mixed) == envelope_of_curves(ends)


def test_too_few_points_have_no_envelope():
    one = points(np.full(1, 1e8), np.full(1, 2e9))
    assert envelope_of_ends(rows_of(one)) is None
    assert envelope_of_curves(one) is None
    assert envelope_of_curves(points(np.zeros(0), np.zeros(0))) is None


def test_an_un_annealed_envelope_changes_no_estimate_and_no_finding():
    columns = surface_sweep(np.geomspace(1e18, 1e20, 5))
    # far above its compute, most for large models
    curves = points(columns[1], columns[2] / 2, extra=columns[1] / 1e9)
    plain, beside = fit_sweep(*columns), fit_sweep(*columns, curves=curves)
    assert plain.estimators.envelope is plain.estimators.envelope_unannealed is None
    assert beside.estimators.envelope_unannealed.exponent_a != beside.estimators.envelope.exponent_a
    assert beside.estimators.recommended == plain.estimators.recommended
    assert codes(beside) == codes(plain)
