"""The JSON form of a fit has the promised keys, and no others."""

import json

import numpy as np

from isoflop.fit import fit_as_json, fit_sweep
from tests.fit.known_sweeps import known_sweep, valley, with_noise

KEYS = {
    "profiles": "budget_flops n_points vertex n_opt n_opt_ci d_opt d_opt_ci loss_opt curvature rmse",
    "targets": "budget_flops n_opt n_opt_ci_statistical n_opt_ci d_opt d_opt_ci loss loss_ci tokens_per_param "
    "estimator extrapolation_decades",
    "findings": "code severity message hint values",
}
FRONTIER = "exponent_a exponent_a_ci exponent_b exponent_b_ci coef_n coef_d n_profiles"


def _document(columns, **options):
    return json.loads(json.dumps(fit_as_json(fit_sweep(*columns, **options)), allow_nan=False))


def test_the_document_has_the_promised_keys():
    document = _document(with_noise(known_sweep(), np.random.default_rng(10), 0.002), targets=[1e21])
    assert set(document) == {"level", "profiles", "frontier", "estimators", "targets", "findings"}
    for name, keys in KEYS.items():
        assert document[name]
        assert all(list(entry) == keys.split() for entry in document[name])
    assert list(document["frontier"]) == FRONTIER.split()
    assert list(document["estimators"]) == ["parabola"]
    assert list(document["estimators"]["parabola"]) == [*FRONTIER.split()[:4], "n_opt"]


def test_the_estimator_repeats_the_frontier_and_the_floors():
    document = _document(known_sweep(), level=0.8)
    parabola = document["estimators"]["parabola"]
    assert document["level"] == 0.8
    assert parabola["exponent_a"] == document["frontier"]["exponent_a"]
    assert parabola["n_opt"] == [profile["n_opt"] for profile in document["profiles"]]


def test_without_a_frontier_its_places_are_null():
    document = _document(valley(1e18, offsets=np.linspace(0.1, 1, 7)), targets=[1e20])
    assert document["frontier"] is None
    assert document["estimators"]["parabola"] == dict.fromkeys(FRONTIER.split()[:4]) | {"n_opt": [None]}
    assert document["profiles"][0]["vertex"] == "below"
    (target,) = document["targets"]
    assert {key for key, value in target.items() if value is not None} == {"budget_flops", "estimator"}
