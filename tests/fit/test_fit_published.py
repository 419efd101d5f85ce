"""The plain parabola on published sweeps, against an independent program and the papers' own numbers."""

import json

import numpy as np
import pytest

from isoflop.fit import Vertex, fit_sweep
from isoflop.fit.estimators.akima import fit_akima
from isoflop.fit.estimators.outliers import rows_on_valley
from isoflop.fit.estimators.surface import parameter_covariance, solve_surface, surface_lines
from isoflop.fit.intervals import student_quantile
from isoflop.fit.lines import Mixture
from isoflop.fit.rows import in_window, sort_rows
from tests.fit.known_sweeps import DATA, codes, published

REFERENCE = json.loads((DATA / "reference.json").read_text())
ESTIMATES = json.loads((DATA / "reference_estimators.json").read_text())


@pytest.fixture(params=sorted(REFERENCE))
def sweep(request):
    return fit_sweep(*published(request.param)), REFERENCE[request.param]


def test_every_profile_agrees_with_the_reference(sweep):
    fit, reference = sweep
    assert len(fit.profiles) == len(reference["profiles"])
    for profile, expected in zip(fit.profiles, reference["profiles"], strict=True):
        assert profile.budget_flops == expected["budget_flops"]
        assert profile.n_points == expected["n_points"]
        assert (profile.vertex is Vertex.INSIDE) == expected["inside"]
        assert profile.curvature == pytest.approx(expected["n_curvature"], rel=1e-9)
        assert profile.d_coefficients[2] == pytest.approx(expected["d_curvature"], rel=1e-9)


def test_every_floor_agrees_with_the_reference(sweep):
    fit, reference = sweep
    for profile, expected in zip(fit.profiles, reference["profiles"], strict=True):
        if expected["inside"]:
            assert np.log10(profile.n_opt) == pytest.approx(expected["n_log10_opt"], abs=1e-9)
            assert np.log10(profile.d_opt) == pytest.approx(expected["d_log10_opt"], abs=1e-9)
            assert profile.loss_opt == pytest.approx(expected["n_loss"], abs=1e-9)
        else:
            assert profile.n_opt is profile.d_opt is profile.loss_opt is None


def test_the_frontier_agrees_with_the_reference(sweep):
    fit, reference = sweep
    assert fit.frontier.exponent_a == pytest.approx(reference["exponent_a"], abs=1e-9)
    assert fit.frontier.exponent_b == pytest.approx(reference["exponent_b"], abs=1e-9)
    assert np.log10(fit.frontier.coef_n) == pytest.approx(reference["log10_coef_n"], abs=1e-9)
    assert np.log10(fit.frontier.coef_d) == pytest.approx(reference["log10_coef_d"], abs=1e-9)
    assert fit.frontier.n_profiles == sum(profile["inside"] for profile in reference["profiles"])


def test_llama_3_gives_its_published_exponent_of_tokens():
    # Llama 3 report (arXiv 2407.21783), section 3.2.1: D_opt = 0.299 C^0.537.
    assert fit_sweep(*published("llama3")).frontier.exponent_b == pytest.approx(0.537, abs=0.003)


def test_chinchilla_gives_its_published_exponent_of_parameters():
    # Hoffmann et al. 2022 (arXiv 2203.15556), table 2, approach 2: a = 0.49.
    assert fit_sweep(*published("chinchilla_isoflop")).frontier.exponent_a == pytest.approx(0.49, abs=0.01)


def test_marin_exponents_are_fitted_apart_because_its_flops_are_not_6nd():
    frontier = fit_sweep(*published("marin_comma")).frontier
    assert frontier.exponent_a == pytest.approx(0.4049, abs=1e-4)
    assert frontier.exponent_b == pytest.approx(0.5724, abs=1e-4)


def test_the_chinchilla_valley_at_1e20_flops_is_unbracketed():
    fit = fit_sweep(*published("chinchilla_isoflop"))
    assert {p.budget_flops: p.vertex for p in fit.profiles if p.vertex is not Vertex.INSIDE} == {1e20: Vertex.BELOW}
    assert "unbracketed" in codes(fit)


def test_points_that_share_no_budget_are_listed_in_part_and_said_to_make_no_profile():
    fit = fit_sweep(*published("epoch240"), targets=[1e21])
    assert len(fit.profiles) == 50
    assert {profile.vertex for profile in fit.profiles} == {Vertex.TOO_FEW}
    assert fit.frontier is None
    assert fit.estimators.parabola.exponent_a is fit.estimators.joint is None
    assert (fit.estimators.surface.law.alpha, fit.estimators.surface.law.beta) == pytest.approx(
        (0.3473105, 0.3671724), abs=1e-6
    )
    assert fit.targets[0].estimator == "surface"
    assert codes(fit) == {"no_profiles", "outliers", "surface_only"}
    assert fit.findings[0].values == {"n_budgets": 240, "n_listed": 50}


@pytest.fixture(params=sorted(name for name in ESTIMATES if "robust" in ESTIMATES[name]))
def grouped(request):
    return request.param, ESTIMATES[request.param]


def test_robust_parabolas_keep_the_rows_and_give_the_exponents_of_the_reference(grouped):
    name, reference = grouped
    fit = fit_sweep(*published(name))
    assert fit.estimators.robust.exponent_a == pytest.approx(reference["robust"]["exponent_a"], abs=1e-9)
    assert fit.estimators.robust.exponent_b == pytest.approx(reference["robust"]["exponent_b"], abs=1e-9)
    assert fit.estimators.robust.n_used == sum(profile["n_used"] for profile in reference["robust"]["profiles"])


@pytest.mark.parametrize("name", ["porian_short_warmup", "porian_tuned"])
def test_akima_gives_the_exponents_that_porian_published(name):
    # Porian et al. 2024 (arXiv 2406.19146): 0.6035 and 0.4970, the former as the median of a noise bootstrap.
    reference = ESTIMATES[name]["akima"]
    fit = fit_akima(*published(name))
    assert fit.exponent_a == pytest.approx(reference["a"], abs=1e-9)
    assert fit.exponent_a == pytest.approx(reference["published"], abs=0.003)
    assert len(fit.n_opt) == reference["n_budgets"]


# Where the prior of the valley's shape matters, it differs from the reference's (docs/decisions.md): the joint estimate
# before its allowance for scattered floors agrees within these, decades and exponents.
CLOSE_DECADES, CLOSE_EXPONENT = 0.013, 0.003
# Of these the reference's own prior keeps a valley from adapting to a stray run; masks differ by that run.
OTHER_MASK = {("chinchilla_isoflop", "joint")}


def _without_scatter(rows, fit):
    """The surface's line with the errors of its parameters alone."""
    errors = parameter_covariance(fit.surface, rows, np.ones(len(rows)))
    return surface_lines(fit.surface, fit.cost, errors, fit.valley.line.log_c_mean)[0]


@pytest.mark.parametrize("kind", ["joint", "joint_window"])
def test_the_joint_valley_agrees_with_the_reference(grouped, kind):
    name, reference = grouped
    expected = reference[kind]
    rows = sort_rows(*published(name))
    if kind == "joint_window":
        rows = rows.take(in_window(rows, 0.6, wide=0.0))
    huber = solve_surface(np.log(rows.n_params), np.log(rows.n_tokens), rows.loss)
    keep, fit = rows_on_valley(rows, huber)
    assert len(rows) == expected["n_runs"]
    if (name, kind) in OTHER_MASK:
        assert (~keep).sum() == expected["n_masked"] - 1
        return
    assert (~keep).sum() == expected["n_masked"]
    plain = Mixture(_without_scatter(rows.take(keep), fit), fit.valley.line, fit.weight)
    largest = float(np.log10(rows.budget_flops.max()))
    assert plain.exponent[0] == pytest.approx(expected["exponent_a"], abs=CLOSE_EXPONENT)
    assert plain.at(largest)[0] == pytest.approx(expected["log10_n_opt_at_largest"], abs=CLOSE_DECADES)
    half = student_quantile(0.9, fit.valley.degrees_of_freedom) * np.sqrt(plain.exponent[1])
    assert half == pytest.approx(expected["half_widths"]["a"], rel=0.15)
