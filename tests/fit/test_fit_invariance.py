"""What must not matter does not: units, the zero of the loss, the order of rows, copies of the whole sweep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.fit import fit_as_json, fit_sweep
from tests.fit.known_sweeps import known_sweep, with_noise

SETTINGS = settings(deadline=None, derandomize=True, max_examples=25)
COLUMNS = with_noise(known_sweep(), np.random.default_rng(6), 0.01)
ORIGINAL = fit_sweep(*COLUMNS, targets=[1e21])
FACTORS = st.floats(-6, 6).map(lambda decades: 10**decades)


def _floors(fit, field):
    return [getattr(profile, field) for profile in fit.profiles]


@SETTINGS
@given(n_factor=FACTORS, d_factor=FACTORS)
def test_other_units_of_n_and_d_scale_the_answers_and_keep_the_exponents(n_factor, d_factor):
    budgets, n_params, n_tokens, loss = COLUMNS
    fit = fit_sweep(budgets, n_params * n_factor, n_tokens * d_factor, loss, targets=[1e21])
    assert _floors(fit, "n_opt") == pytest.approx([n_factor * n for n in _floors(ORIGINAL, "n_opt")], rel=1e-9)
    assert _floors(fit, "d_opt") == pytest.approx([d_factor * d for d in _floors(ORIGINAL, "d_opt")], rel=1e-9)
    assert fit.frontier.exponent_a == pytest.approx(ORIGINAL.frontier.exponent_a, abs=1e-9)
    assert fit.frontier.exponent_a_ci == pytest.approx(ORIGINAL.frontier.exponent_a_ci, abs=1e-9)
    assert fit.targets[0].d_opt_ci == pytest.approx([d_factor * d for d in ORIGINAL.targets[0].d_opt_ci], rel=1e-8)


@SETTINGS
@given(shift=st.floats(-100, 100), factor=st.floats(1e-3, 1e3))
def test_another_zero_and_unit_of_the_loss_keep_floors_and_intervals(shift, factor):
    *others, loss = COLUMNS
    fit = fit_sweep(*others, shift + factor * loss)
    assert _floors(fit, "n_opt") == pytest.approx(_floors(ORIGINAL, "n_opt"), rel=1e-6)
    assert np.array(_floors(fit, "n_opt_ci")) == pytest.approx(np.array(_floors(ORIGINAL, "n_opt_ci")), rel=1e-6)
    assert _floors(fit, "curvature") == pytest.approx([factor * c for c in _floors(ORIGINAL, "curvature")], rel=1e-6)


@SETTINGS
@given(order=st.permutations(range(len(COLUMNS[0]))))
def test_the_order_of_rows_changes_no_bit(order):
    fit = fit_sweep(*(column[list(order)] for column in COLUMNS), targets=[1e21])
    assert fit_as_json(fit) == fit_as_json(ORIGINAL)


@SETTINGS
@given(copies=st.integers(2, 5))
def test_copies_of_every_row_keep_the_estimates_and_count_as_points(copies):
    fit = fit_sweep(*(np.repeat(column, copies) for column in COLUMNS))
    assert _floors(fit, "n_opt") == pytest.approx(_floors(ORIGINAL, "n_opt"), rel=1e-10)
    assert fit.frontier.exponent_b == pytest.approx(ORIGINAL.frontier.exponent_b, rel=1e-10)
    assert _floors(fit, "n_points") == [7 * copies] * 3


@pytest.mark.slow
@SETTINGS
@given(level=st.floats(0.01, 0.98), more=st.floats(0.005, 0.019))
def test_a_higher_level_gives_wider_intervals_around_the_same_answers(level, more):
    narrow, wide = (fit_sweep(*COLUMNS, level=each, targets=[1e21]) for each in (level, level + more))
    assert wide.targets[0].n_opt == narrow.targets[0].n_opt
    for field in ("n_opt_ci_statistical", "n_opt_ci", "d_opt_ci"):
        (low, high), (lower, higher) = getattr(narrow.targets[0], field), getattr(wide.targets[0], field)
        assert lower < low < high < higher
