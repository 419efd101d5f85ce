"""The JSON form of a fit has the promised keys, and no others."""

import json

import numpy as np
import pytest

from isoflop.fit import fit_as_json, fit_sweep
from isoflop.fit.rows import Curves
from tests.fit.known_sweeps import CHINCHILLA, known_sweep, surface_sweep, valley, with_noise

KEYS = {
    "profiles": "budget_flops n_points vertex n_opt n_opt_ci d_opt d_opt_ci loss_opt curvature rmse",
    "targets": "budget_flops n_opt n_opt_ci_statistical n_opt_ci n_opt_model_error d_opt d_opt_ci loss "
    "loss_ci_statistical loss_ci loss_model_error tokens_per_param estimator extrapolation_decades credible bands "
    "loss_credible n_opt_shrunk d_opt_shrunk",
    "scorecard": "n_fitted budget_flops decades n_opt n_opt_ci n_opt_seen error_decades held loss loss_ci loss_seen "
    "loss_model_error loss_held",
    "findings": "code severity message hint values",
}
FRONTIER = "exponent_a exponent_a_ci exponent_b exponent_b_ci coef_n coef_d n_profiles"
ESTIMATE = [*FRONTIER.split()[:4], "n_opt", "n_opt_ci", "n_used"]
ESTIMATORS = {
    "parabola": "",
    "robust": "",
    "cubic": "",
    "surface": "E A B alpha beta residuals objective lack_of_fit_f lack_of_fit_p at_bound E_ci A_ci B_ci alpha_ci "
    "beta_ci",
    "joint": "valley_weight exponent_a_valley exponent_a_surface below above floor_scatter residual_sd",
    "recommended": "coef_n coef_d estimator reason window_decades outliers fitted_budgets degrees_of_freedom readings "
    "loss_law",
    "envelope": "",
    "envelope_unannealed": "",
}
SWEEP = surface_sweep((1e18, 1e19, 1e20, 1e21))
ON_THE_WAY = Curves(SWEEP[0] / 2, SWEEP[1], SWEEP[2] / 2, SWEEP[3] + 0.3)


def _document(columns, **options):
    return json.loads(json.dumps(fit_as_json(fit_sweep(*columns, **options)), allow_nan=False))


def test_the_document_has_the_promised_keys():
    document = _document(with_noise(SWEEP, np.random.default_rng(10), 0.002), targets=[1e23], curves=ON_THE_WAY)
    assert list(document) == [
        "level", "profiles", "frontier", "estimators", "targets", "scorecard", "credible_decades",
        "loss_credible_decades", "suggested", "findings", "n_budgets", "bootstrap",
    ]  # fmt: skip
    for name, keys in KEYS.items():
        assert document[name], name
        assert all(list(entry) == keys.split() for entry in document[name]), name
    assert list(document["frontier"]) == FRONTIER.split()
    assert list(document["estimators"]) == [*ESTIMATORS, "surface_squares"]
    assert document["estimators"]["surface_squares"] is None
    assert document["bootstrap"] is None
    for name, keys in ESTIMATORS.items():
        assert set(document["estimators"][name]) == {*ESTIMATE, *keys.split()}, name


def test_the_recommended_estimate_is_read_at_every_budget_and_names_its_law_of_the_loss():
    document = _document(with_noise(SWEEP, np.random.default_rng(10), 0.002), targets=[1e21])
    recommended = document["estimators"]["recommended"]
    assert [reading["budget_flops"] for reading in recommended["readings"]] == [1e18, 1e19, 1e20, 1e21]
    assert recommended["readings"][3] == document["targets"][0]
    assert recommended["n_opt"] == [reading["n_opt"] for reading in recommended["readings"]]
    law = recommended["loss_law"]
    assert list(law) == ["E", "K", "gamma", "gamma_ci", "source"]
    predicted = law["E"] + law["K"] * 1e21 ** -law["gamma"]
    assert document["targets"][0]["loss"] == pytest.approx(predicted, rel=1e-9)
    assert [band["margin"] for band in document["targets"][0]["bands"]] == ["noise", "0.1 %", "0.5 %", "1 %"]


def test_the_estimator_repeats_the_frontier_and_the_floors():
    document = _document(known_sweep(), level=0.8)
    parabola = document["estimators"]["parabola"]
    assert document["level"] == 0.8
    assert parabola["exponent_a"] == document["frontier"]["exponent_a"]
    assert parabola["n_opt"] == [profile["n_opt"] for profile in document["profiles"]]


def test_without_a_frontier_its_places_are_null():
    document = _document(valley(1e18, offsets=np.linspace(0.1, 1, 7)), targets=[1e20])
    assert document["frontier"] is None
    assert document["estimators"]["parabola"] == dict.fromkeys(FRONTIER.split()[:4]) | {
        "n_opt": [None],
        "n_opt_ci": [None],
        "n_used": 7,
    }
    assert document["profiles"][0]["vertex"] == "below"
    (target,) = document["targets"]
    assert {key for key, value in target.items() if value is not None} == {"budget_flops", "estimator", "bands"}
    assert target["bands"] == []


def test_profiles_that_are_not_listed_are_counted():
    rows = 60
    budgets = np.geomspace(1e18, 1e20, rows)
    n_params = 1e8 * (budgets / 1e18) ** 0.5 * np.tile([0.4, 1.0, 2.5], 20)
    loss = np.exp(CHINCHILLA.log_loss(np.log(n_params), np.log(budgets / 6 / n_params)))
    document = _document((budgets, n_params, budgets / 6 / n_params, loss))
    assert (len(document["profiles"]), document["n_budgets"]) == (50, rows)
    (finding,) = [one for one in document["findings"] if one["code"] == "no_profiles"]
    assert "Only the first 50 are listed." in finding["message"]
    assert _document(SWEEP)["n_budgets"] == 4
