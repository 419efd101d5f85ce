"""Data that cannot answer: findings and nulls, never an exception, a warning or a NaN."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.fit import Vertex, fit_as_json, fit_sweep
from isoflop.fit.rows import Curves
from tests.fit.known_sweeps import BUDGETS, CHINCHILLA, Columns, codes, known_sweep, stack, surface_sweep, valley


def _columns(n_params, loss, *, budget=1e18, n_tokens=None) -> Columns:
    n_params = np.asarray(n_params, dtype=float)
    tokens = 1e18 / 6 / n_params if n_tokens is None else np.asarray(n_tokens, dtype=float)
    return np.full(len(n_params), budget), n_params, tokens, np.broadcast_to(np.asarray(loss, float), n_params.shape)


def _scaled(budget=1.0, n_params=1.0, n_tokens=1.0, loss=1.0) -> Columns:
    factors = (budget, n_params, n_tokens, loss)
    return tuple(column * factor for column, factor in zip(known_sweep(), factors, strict=True))


SIZES = 10.0 ** np.arange(6, 12)

UNFITTABLE = {
    "no rows": _columns([], []),
    "one row": _columns([1e6], [3.0]),
    "two rows": _columns([1e6, 1e7], [3.0, 2.0]),
    "three rows": _columns([1e6, 1e7, 1e8], [3.0, 2.0, 3.0]),
    "one size": _columns([1e7] * 6, [3.0, 2.9, 3.1, 3.0, 2.8, 3.2]),
    "two sizes": _columns([1e7, 1e7, 1e8, 1e8, 1e8], [3.0, 2.9, 3.1, 3.0, 2.8]),
    "one row, five times": _columns([1e7] * 5, [3.0] * 5),
    "sizes equal after rounding": _columns(1e9 * (1 + np.finfo(float).eps * np.arange(5)), [3.0, 2.9, 2.8, 2.9, 3.0]),
    "one token count": _columns(SIZES, np.linspace(-1, 1, 6) ** 2, n_tokens=[1e9] * 6),
    "losses beyond a float's squares": _columns(SIZES, [1e300, 1e200, -1e300, 0.0, 1e308, 1e300]),
}
NO_FLOOR = {
    "constant loss": _columns(SIZES, 3.0),
    "constant loss with a rounding tail": _columns(SIZES, 0.1 + 0.2),
    "zero loss": _columns(SIZES, 0.0),
    "loss linear in log N": _columns(SIZES, np.linspace(3, 2, 6)),
    "loss falling ever faster": _columns(SIZES, -(np.linspace(0, 1, 6) ** 2)),
    "losses too small to bend": _columns(SIZES, 1e-310 * np.linspace(-1, 1, 6) ** 2),
}
FITTED = {
    "negative losses": (*known_sweep()[:3], known_sweep()[3] - 10),
    "huge losses": _scaled(loss=1e90),
    "tiny losses": _scaled(loss=1e-90),
    "huge sizes and few tokens": _scaled(n_params=1e250, n_tokens=1e-250),
    "tiny sizes and many tokens": _scaled(n_params=1e-290, n_tokens=1e290),
    "huge budgets": _scaled(budget=1e280),
    "tiny budgets": _scaled(budget=1e-300),
}


def _assert_finite_json(fit):
    json.dumps(fit_as_json(fit), allow_nan=False)


@pytest.mark.parametrize("columns", UNFITTABLE.values(), ids=UNFITTABLE)
def test_rows_that_determine_no_parabola_are_too_few(columns):
    fit = fit_sweep(*columns, targets=[1e20])
    assert {profile.vertex for profile in fit.profiles} <= {Vertex.TOO_FEW}
    assert fit.frontier is None
    assert codes(fit) - {"no_log_loss", "best_of_cells"} == {"no_profiles", "no_surface", "no_target"}
    _assert_finite_json(fit)


@pytest.mark.parametrize("columns", NO_FLOOR.values(), ids=NO_FLOOR)
def test_losses_that_do_not_bend_upwards_are_concave(columns):
    fit = fit_sweep(*columns, targets=[1e20])
    assert [profile.vertex for profile in fit.profiles] == [Vertex.CONCAVE]
    assert fit.profiles[0].n_opt is None
    assert codes(fit) - {"no_log_loss"} == {"concave", "few_budgets", "no_target"}
    _assert_finite_json(fit)


@pytest.mark.parametrize("columns", FITTED.values(), ids=FITTED)
def test_unusual_magnitudes_are_fitted_as_usual(columns):
    fit = fit_sweep(*columns, targets=[columns[0][0]])
    assert [profile.vertex for profile in fit.profiles] == [Vertex.INSIDE] * 3
    assert fit.frontier.exponent_a == pytest.approx(0.47, rel=1e-8)
    assert fit.targets[0].n_opt == pytest.approx(fit.profiles[0].n_opt, rel=1e-8)
    _assert_finite_json(fit)


def test_one_budget_keeps_its_profile_and_makes_no_frontier():
    fit = fit_sweep(*valley(1e18), targets=[1e18])
    assert fit.profiles[0].n_opt_ci is not None
    assert fit.frontier is None
    assert {"few_budgets", "no_target"} <= codes(fit)


def test_a_budget_of_replicates_alone_does_not_disturb_the_others():
    fit = fit_sweep(*stack(known_sweep(), valley(1e21, offsets=[0.0] * 6)))
    assert [profile.vertex for profile in fit.profiles] == [Vertex.INSIDE] * 3 + [Vertex.TOO_FEW]
    assert fit.frontier == fit_sweep(*known_sweep()).frontier


def test_budgets_that_differ_by_rounding_are_kept_apart_and_make_no_frontier():
    fit = fit_sweep(*known_sweep(budgets=[1e18, 1e18 * (1 + 1e-15)]), targets=[1e19])
    assert [profile.vertex for profile in fit.profiles] == [Vertex.INSIDE] * 2
    assert fit.frontier is None
    assert {"few_budgets", "no_frontier", "no_target"} <= codes(fit)


def test_a_target_beyond_the_range_of_a_float_is_left_empty():
    steep = stack(valley(1e18), *(tuple(c * f for c, f in zip(valley(1e18), (10, 1e9, 1e9, 1), strict=True)),))
    fit = fit_sweep(*steep, targets=[1e60])
    assert fit.frontier is not None
    assert fit.targets[0].n_opt is None
    assert "no_target" in codes(fit)
    _assert_finite_json(fit)


@pytest.mark.parametrize("budget", [2.2e17, 2.5e17, 3.3e17, 3.7e17, 4.5e17, 6.7e17], ids=str)
def test_a_precise_floor_beside_a_nearly_flat_one_has_an_interval(budget):
    # The variance at the precise floor is the difference of numbers 1e17 times larger.
    columns = stack(valley(budget), valley(1e19, curvature=1e-9))
    bump = np.tile([1e-10, -1e-10], 7)
    fit = fit_sweep(*columns[:3], columns[3] + bump, targets=[budget])
    low, high = fit.targets[0].n_opt_ci
    assert low < fit.targets[0].n_opt < high


VALUES = st.sampled_from([1e-300, 1e-9, 1.0, 1.0000000000000002, 2.0, 7.0, 1e9, 1e18, 1e300])
LOSSES = st.one_of(st.floats(-5, 5), st.floats(allow_nan=False, allow_infinity=False))


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    rows=st.lists(st.tuples(st.sampled_from(BUDGETS), VALUES, VALUES, LOSSES), max_size=30),
    level=st.sampled_from([1e-300, 0.9, 1 - 1e-16]),
)
def test_whatever_the_rows_the_fit_is_finite_json(rows, level):
    columns = np.array(rows, dtype=float).reshape(-1, 4).T
    _assert_finite_json(fit_sweep(*columns, level=level, targets=[1e-300, 1.0, 1e300]))


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, np.nan), (0, 0.0), (1, -1.0), (1, np.inf), (2, 0.0), (2, np.nan), (3, np.nan), (3, np.inf)],
    ids=str,
)
def test_a_number_that_the_caller_should_have_screened_is_refused(column, value):
    columns = [array.copy() for array in known_sweep()]
    columns[column][4] = value
    with pytest.raises(ValueError, match=rf"\[4\] is {value}"):
        fit_sweep(*columns)


def test_columns_of_different_lengths_are_refused():
    budgets, n_params, n_tokens, loss = known_sweep()
    with pytest.raises(ValueError, match="one length"):
        fit_sweep(budgets, n_params, n_tokens, loss[:-1])


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 90.0, float("nan")], ids=str)
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(ValueError, match="level"):
        fit_sweep(*known_sweep(), level=level)


@pytest.mark.parametrize("target", [0.0, -1e18, float("inf")], ids=str)
def test_a_target_that_is_no_budget_is_refused(target):
    with pytest.raises(ValueError, match="targets"):
        fit_sweep(*known_sweep(), targets=[target])


@pytest.mark.parametrize("residuals", ["huber", "squares", "absolute"])
@pytest.mark.parametrize("seed", range(5))
def test_a_constant_loss_on_scattered_rows_leaves_every_surface_in_its_bounds(residuals, seed):
    generator = np.random.default_rng(seed)
    budget = np.repeat([1e18, 1e19, 1e20, 1e21], 5)
    n_params = 10 ** generator.uniform(7, 10, 20)
    fit = fit_sweep(budget, n_params, budget / (6 * n_params), np.full(20, 2.0), residuals=residuals)
    surface = fit.estimators.surface
    assert surface is None or (0 < surface.law.alpha <= 3 and 0 < surface.law.beta <= 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trunk": ["a"]}, "trunk has 1 names"),
        ({"suggest": -1}, "negative"),
        ({"bootstrap": -1}, "negative"),
        ({"planned": [(0.0, 1e8)]}, "planned_flops"),
        ({"planned": [(1e18, math.nan)]}, "planned_params"),
        ({"loss_se": np.full(21, 1e200)}, "loss_se"),
        ({"curves": Curves(*np.full((4, 2), -1.0))}, "flops"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_malformed_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        fit_sweep(*surface_sweep(), **options)


def test_an_envelope_of_budgets_next_to_each_other_is_none():
    budget, n_params, n_tokens, loss = surface_sweep((1e18, 1e18 * (1 + 1e-15)))
    assert len(np.unique(budget)) == 2
    curves = Curves(budget / 2, n_params, n_tokens / 2, loss)
    assert fit_sweep(budget, n_params, n_tokens, loss, curves=curves).estimators.envelope is None


@pytest.mark.parametrize("half_width", [0.45, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("n_sizes", [5, 7])
def test_exact_losses_of_a_law_have_no_outliers_and_intervals_without_width(half_width, n_sizes):
    for n_budgets in (2, 3, 4, 5):
        budgets = np.geomspace(1e17, 1e20, n_budgets)
        fit = fit_sweep(*surface_sweep(budgets, half_width=half_width, n_sizes=n_sizes), targets=[1e21], suggest=2)
        assert fit.estimators.recommended.outliers == ()
        assert fit.estimators.recommended.estimate.exponent_a == pytest.approx(CHINCHILLA.exponent_a, abs=1e-5)


def test_equal_losses_with_as_many_tokens_as_parameters_have_a_fit() -> None:
    """Rounding makes the variance of the exponent negative there."""
    budgets = [c for c in (1e17, 3e17, 1e18, 3e18) for _ in range(6)]
    sizes = [(c / 6) ** 0.5 for c in budgets]
    for loss in (2.0, 3.5):
        fit_sweep(budgets, sizes, sizes, [loss] * 24, targets=[1e20])


def test_a_row_where_the_slopes_of_the_valley_leave_floating_point_is_no_warning() -> None:
    """One run of 0.008 parameters beside two budgets of five: heights of the joint valley are finite there."""
    rows = [
        (121689447.0, 0.00833033140888564, 2434665982.0, 4.5621),
        (1e17, 12131885.798705889, 1369113302.0, 4.3918),
        (1e17, 21742615.020669628, 769908964.0, 4.3185),
        (1e17, 38494947.368100196, 432951622.0, 4.3196),
        (1e17, 68980854.95759627, 243466591.0, 4.4055),
        (3.16e17, 12126782.777830143, 4327956669.0, 4.0792),
        (3.16e17, 21827054.21046036, 2433788926.0, 3.9506),
        (3.16e17, 38243252.40767256, 1368620102.0, 3.8899),
        (3.16e17, 68036243.59073982, 769631641.0, 3.8983),
        (3.16e17, 122659728.83778697, 432795678.0, 3.9785),
    ]
    json.dumps(fit_as_json(fit_sweep(*np.array(rows).T)), allow_nan=False)


@pytest.mark.parametrize("scale", [1e-80, 1e80])
def test_losses_of_any_scale_whose_runs_scatter_have_the_exponent_of_their_scale_1(scale: float) -> None:
    columns = surface_sweep(np.geomspace(1e18, 8e19, 5))
    noise = 1 + 0.002 * np.random.default_rng(0).normal(size=len(columns[3]))
    near, far = (fit_sweep(*columns[:3], columns[3] * noise * factor, targets=[1e22]) for factor in (1.0, scale))
    exponents = [fit.estimators.recommended.estimate.exponent_a for fit in (near, far)]
    assert exponents[1] == pytest.approx(exponents[0], rel=1e-6)
    json.dumps(fit_as_json(far), allow_nan=False)
