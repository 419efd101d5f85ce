"""Robust parabolas: which runs they leave out, by a deletion test written with numpy's own polynomials."""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from isoflop.finding import Severity
from isoflop.fit import fit_sweep
from isoflop.fit.estimators.robust import rows_on_parabolas
from isoflop.fit.results.profile import Vertex
from isoflop.fit.rows import sort_rows
from tests.fit.known_sweeps import surface_sweep, valley, with_noise

N_SIZES = 7


def _design(x):
    return np.vander(x, 3)


def _with_a_run_off(columns, position, standard_errors):
    """`columns` where one run lies that many standard errors of a new run off the parabola of the others."""
    budget, n_params, n_tokens, loss = columns
    others = np.arange(len(loss)) != position
    squares, freedom = 0.0, -1
    for one in np.unique(budget):
        own = others & (budget == one)
        design = _design(np.log10(n_params[own] / n_params[own].mean()))
        coefficients, (left,), *_ = np.linalg.lstsq(design, loss[own], rcond=None)
        squares, freedom = squares + left, freedom + int((budget == one).sum()) - 3
        if one == budget[position]:
            new = _design(np.log10(n_params[[position]] / n_params[own].mean()))[0]
            expected, room = float(new @ coefficients), 1 + float(new @ np.linalg.inv(design.T @ design) @ new)
    moved = loss.copy()
    moved[position] = expected + standard_errors * math.sqrt(squares / freedom * room)
    return budget, n_params, n_tokens, moved


def _limit(n_rows, freedom):
    """Of a run judged by others that have `freedom`: no run of a clean sweep is beyond it in 19 of 20."""
    return float(student.isf(0.05 / (2 * n_rows), freedom))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("position", [0, 3, 9, 13], ids=["smallest", "floor", "middle", "largest"])
@pytest.mark.parametrize("n_budgets", [2, 4])
def test_a_run_is_left_out_where_the_others_deny_it_and_only_there(n_budgets, position, sign):
    parts = [valley(budget) for budget in np.geomspace(1e18, 1e20, n_budgets)]
    exact = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
    columns = with_noise(exact, np.random.default_rng(2), 0.003)
    n_rows, freedom = n_budgets * N_SIZES, n_budgets * (N_SIZES - 3)
    # by itself the run costs a degree of freedom; once it is out, the others are judged with one less
    fair = _with_a_run_off(columns, position, sign * 0.985 * _limit(n_rows, freedom - 1))
    bad = _with_a_run_off(columns, position, sign * 1.015 * _limit(n_rows, freedom - 2))
    assert rows_on_parabolas(sort_rows(*fair)).all()
    assert np.flatnonzero(~rows_on_parabolas(sort_rows(*bad))).tolist() == [position]


@pytest.mark.parametrize("far", [1e3, 1e12, 1e60], ids=str)
def test_a_run_however_far_off_is_left_out_alone(far):
    parts = [valley(budget) for budget in (1e18, 1e19, 1e20)]
    exact = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
    *columns, loss = with_noise(exact, np.random.default_rng(2), 0.003)
    loss[10] += far
    assert np.flatnonzero(~rows_on_parabolas(sort_rows(*columns, loss))).tolist() == [10]


def _with_bad_runs_in_every_budget(sd=0.003):
    """A sweep of which one run diverged at each budget: no parabola of all runs has its floor where it is."""
    budget, n_params, n_tokens, loss = with_noise(surface_sweep((1e18, 1e19, 1e20)), np.random.default_rng(4), sd)
    bad = loss.copy()
    bad[[3, 10, 17]] += [4.0, 2.5, 1.2]
    return budget, n_params, n_tokens, bad


def test_a_diverged_run_in_every_budget_does_not_silence_the_sweep():
    columns = _with_bad_runs_in_every_budget()
    fit = fit_sweep(*columns, targets=[1e21])
    good = np.ones(len(columns[0]), dtype=bool)
    good[[3, 10, 17]] = False
    clean = fit_sweep(*(column[good] for column in columns), targets=[1e21])
    assert sum(profile.vertex is Vertex.INSIDE for profile in fit.profiles) < 2
    assert fit.estimators.recommended.outliers == (3, 10, 17)
    assert fit.targets[0].n_opt == pytest.approx(clean.targets[0].n_opt, rel=0.05)
    severities = {finding.code: finding.severity for finding in fit.findings}
    assert severities["outliers"] is Severity.WARNING
    assert severities["few_budgets"] is Severity.WARNING
    assert "no_target" not in severities


def test_floors_outside_the_sizes_are_no_reason_to_set_a_bad_run_aside_and_answer():
    budget, n_params, n_tokens, loss = with_noise(surface_sweep(centre=2.0), np.random.default_rng(4), 0.003)
    loss[[3, 10]] += 3.0
    fit = fit_sweep(budget, n_params, n_tokens, loss, targets=[1e21])
    assert fit.estimators.recommended is None
    assert {"few_budgets", "no_target"} <= {f.code for f in fit.findings if f.severity is Severity.ERROR}
