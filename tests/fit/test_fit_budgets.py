"""Runs whose FLOPs were measured: which share a budget, and what their losses are at it."""

import numpy as np
import pytest

from isoflop.fit import fit_sweep
from isoflop.fit.budgets import CLEARLY_APART, WIDEST, group_budgets
from tests.fit.known_sweeps import CHINCHILLA, DATA, published, stack, surface_sweep

BUDGETS = (1e18, 3e18, 9e18, 2.7e19)
LAW_A = CHINCHILLA.beta / (CHINCHILLA.alpha + CHINCHILLA.beta)


def achieved(scatter, *, budgets=BUDGETS, n_sizes=7, tilt=False, seed=0):
    """Rows of a known law whose FLOPs lie within `scatter` of their budgets, and those budgets.

    With `tilt` the larger models have more FLOPs than they should, as where attention was not counted.
    """
    planned, n_params, _, _ = surface_sweep(budgets, n_sizes=n_sizes)
    off = np.random.default_rng(seed).uniform(-scatter, scatter, len(planned))
    if tilt:
        off = scatter * np.tile(np.linspace(-1, 1, n_sizes), len(budgets))
    flops = planned * np.exp(off)
    tokens = flops / (6 * n_params)
    return (flops, n_params, tokens, np.exp(CHINCHILLA.log_loss(np.log(n_params), np.log(tokens)))), planned


def n_budgets(found):
    return None if found is None else len(np.unique(found.budget_flops))


@pytest.mark.parametrize("scatter", [1e-15, 1e-6, 1e-3, 0.01, 0.05, 0.09])
@pytest.mark.parametrize("ratio", [1.6, 3.0, 10.0])
@pytest.mark.parametrize("seed", range(5))
def test_budgets_clearly_apart_are_found_whatever_their_scatter(scatter, ratio, seed):
    columns, planned = achieved(scatter, budgets=tuple(1e18 * ratio**i for i in range(4)), seed=seed)
    found = group_budgets(*columns)
    assert n_budgets(found) == 4
    # each run is with those that were planned with it
    assert len(np.unique(np.stack([planned, found.budget_flops]), axis=1)[0]) == 4
    assert np.abs(np.log(found.budget_flops / columns[0])).max() <= WIDEST


@pytest.mark.parametrize("tilt", [False, True])
@pytest.mark.parametrize("scatter", [0.01, 0.05, 0.09])
def test_losses_at_the_budget_are_those_of_the_law_there(scatter, tilt):
    columns, _ = achieved(scatter, tilt=tilt)
    found = group_budgets(*columns)
    exact = np.exp(CHINCHILLA.log_loss(np.log(columns[1]), np.log(found.budget_flops / (6 * columns[1]))))
    np.testing.assert_allclose(found.n_tokens, found.budget_flops / (6 * columns[1]), rtol=1e-12)
    np.testing.assert_allclose(found.loss, exact, rtol=1e-6)
    assert np.abs(columns[3] / exact - 1).max() > 1e-4  # the runs themselves are not there


def test_a_tilt_of_flops_that_bends_the_exponent_no_longer_does():
    """FLOPs that exceed their budget the more the larger the model move every floor; an even tilt moves a."""
    columns, planned = achieved(0.09, tilt=True)
    found = group_budgets(*columns)
    fit = fit_sweep(found.budget_flops, columns[1], found.n_tokens, found.loss)
    assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(LAW_A, abs=1e-4)
    unmoved = fit_sweep(planned, columns[1], columns[2], columns[3])
    assert abs(unmoved.estimators.recommended.estimate.exponent_a - LAW_A) > 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_one_diverged_run_does_not_carry_the_others_off(seed):
    columns, _ = achieved(0.05, seed=seed)
    clean = group_budgets(*columns).loss
    columns[3][9] = 10.4
    np.testing.assert_allclose(np.delete(group_budgets(*columns).loss, 9), np.delete(clean, 9), rtol=2e-4)


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("*.csv")))
def test_published_tables_stay_as_they_are(name):
    assert group_budgets(*published(name)) is None


def test_exactly_equal_budgets_stay_as_they_are():
    assert group_budgets(*surface_sweep(BUDGETS)) is None


def test_a_ladder_of_sizes_and_tokens_is_not_grouped():
    rng = np.random.default_rng(1)
    for n_rows in (20, 60, 200):
        n_params, n_tokens = 10 ** rng.uniform(7, 9, n_rows), 10 ** rng.uniform(9, 11, n_rows)
        loss = np.exp(CHINCHILLA.log_loss(np.log(n_params), np.log(n_tokens)))
        assert group_budgets(6 * n_params * n_tokens, n_params, n_tokens, loss) is None


@pytest.mark.parametrize(("apart", "grouped"), [(1.02, False), (1.004, True), (1 + 1e-12, True)])
def test_budgets_with_valleys_of_their_own_are_joined_only_where_they_are_the_same(apart, grouped):
    columns = surface_sweep((1e18, apart * 1e18, 1e19, 1e20))
    assert n_budgets(group_budgets(*columns)) == (3 if grouped else None)


def test_groups_that_are_not_clearly_apart_are_left_alone():
    columns, _ = achieved(0.09, budgets=tuple(1e18 * 1.25**i for i in range(6)))
    assert group_budgets(*columns) is None
    assert np.log(1.25) - 0.18 < CLEARLY_APART * 0.18


def test_a_run_that_stopped_early_joins_its_budget_only_where_it_is_near():
    columns = [column.copy() for column in surface_sweep(BUDGETS)]
    columns[0][3] *= 0.93
    columns[2][3] *= 0.93
    found = group_budgets(*columns)
    assert found.budget_flops[3] == 1e18  # the value that all others have
    assert found.moved.sum() == 1
    columns[0][3] *= 0.5
    assert group_budgets(*columns) is None


def test_a_group_without_a_common_value_has_the_geometric_mean():
    columns, _ = achieved(0.05)
    found = group_budgets(*columns)
    expected = np.exp(np.log(columns[0][:7]).mean())
    np.testing.assert_allclose(found.budget_flops[:7], expected, rtol=1e-12)


def test_a_tolerance_says_otherwise():
    columns, _ = achieved(0.01)
    assert group_budgets(*columns, tolerance=0.0) is None
    assert n_budgets(group_budgets(*columns, tolerance=0.03)) == 4
    assert n_budgets(group_budgets(*columns, tolerance=1e-9)) is None
    assert n_budgets(group_budgets(*columns, tolerance=3.0)) == 1
    with pytest.raises(ValueError, match="tolerance is -1"):
        group_budgets(*columns, tolerance=-1.0)


def test_named_budgets_take_the_runs_within_a_quarter_and_no_others():
    columns, planned = achieved(0.2)
    found = group_budgets(*columns, named=BUDGETS)
    np.testing.assert_array_equal(found.budget_flops, planned)
    only = group_budgets(*columns, named=BUDGETS[:2])
    np.testing.assert_array_equal(only.budget_flops[:14], planned[:14])
    np.testing.assert_array_equal(only.budget_flops[14:], columns[0][14:])
    assert only.moved[:14].all() and not only.moved[14:].any()


def test_planned_budgets_stay_and_take_the_others_in():
    columns, _ = achieved(0.02)
    ours = surface_sweep(BUDGETS, n_sizes=3)
    planned = np.repeat([True, False], [len(ours[0]), len(columns[0])])
    found = group_budgets(*stack(ours, columns), planned=planned)
    assert sorted(set(found.budget_flops)) == sorted(BUDGETS)
    assert not found.moved[planned].any()
    np.testing.assert_array_equal(found.loss[planned], ours[3])


def test_the_order_of_rows_changes_no_bit():
    columns, _ = achieved(0.05)
    order = np.random.default_rng(2).permutation(len(columns[0]))
    found, other = group_budgets(*columns), group_budgets(*(column[order] for column in columns))
    np.testing.assert_array_equal(found.budget_flops[order], other.budget_flops)
    np.testing.assert_array_equal(found.loss[order], other.loss)


def test_losses_without_logarithms_are_grouped_and_stay():
    columns, _ = achieved(0.02)
    found = group_budgets(*columns[:3], columns[3] - 5)
    assert n_budgets(found) == 4
    assert not found.loss_moved
    np.testing.assert_array_equal(found.loss, columns[3] - 5)


@pytest.mark.parametrize("how", [{}, {"tolerance": 0.1}, {"named": [1e18]}], ids=str)
def test_no_rows_stay_no_rows(how):
    assert group_budgets([], [], [], [], **how) is None
