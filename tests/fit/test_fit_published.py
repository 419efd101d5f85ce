"""The plain parabola on published sweeps, against an independent program and the papers' own numbers."""

import json

import numpy as np
import pytest

from isoflop.fit import Vertex, fit_sweep
from tests.fit.known_sweeps import DATA, codes, published

REFERENCE = json.loads((DATA / "reference.json").read_text())


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
    assert fit.targets[0].n_opt is fit.targets[0].extrapolation_decades is None
    assert codes(fit) == {"no_profiles", "no_target"}
    assert fit.findings[0].values == {"n_budgets": 240, "n_listed": 50}
