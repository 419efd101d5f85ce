"""Clouds of frontiers from resampled runs."""

import numpy as np
import pytest

from isoflop.fit import fit_sweep
from tests.fit.known_sweeps import CHINCHILLA, known_sweep, surface_sweep, with_noise

NOISY = with_noise(surface_sweep(np.geomspace(1e18, 1e21, 6)), np.random.default_rng(1), 0.005)


def slopes(fit):
    return np.array([line.slope for line in fit.cloud.n_lines])


def test_a_cloud_spreads_as_widely_as_the_interval_of_its_surface():
    fit = fit_sweep(*NOISY, bootstrap=400, residuals="squares")
    low, high = fit.estimators.surface.estimate.exponent_a_ci
    cloud_low, cloud_high = np.quantile(slopes(fit), [0.05, 0.95])
    assert cloud_high - cloud_low == pytest.approx(high - low, rel=0.35)
    assert np.median(slopes(fit)) == pytest.approx(fit.estimators.surface.estimate.exponent_a, abs=(high - low) / 6)


def test_every_frontier_is_that_of_a_surface_at_6_n_d():
    fit = fit_sweep(*NOISY, bootstrap=20)
    assert len(fit.cloud.n_lines) == 20
    for n_line, d_line in zip(fit.cloud.n_lines, fit.cloud.d_lines, strict=True):
        for log_c in (18.0, 22.0):
            assert n_line.at(log_c)[0] + d_line.at(log_c)[0] == pytest.approx(log_c - np.log10(6))
        assert n_line.at(20.0)[1] == 0


def test_equal_rows_give_equal_clouds_and_none_is_drawn_unasked():
    first, again = (fit_sweep(*NOISY, bootstrap=20) for _ in range(2))
    assert (slopes(first) == slopes(again)).all()
    assert fit_sweep(*NOISY).cloud is None


def test_runs_that_leave_the_surface_open_have_no_cloud():
    one_budget = surface_sweep([1e19])
    assert fit_sweep(*(column[:4] for column in one_budget), bootstrap=20).cloud is None
    assert fit_sweep(*known_sweep()[:3], known_sweep()[3] - 5, bootstrap=20).cloud is None


def test_exact_runs_have_a_cloud_of_one_frontier():
    fit = fit_sweep(*surface_sweep(np.geomspace(1e18, 1e21, 6)), bootstrap=20)
    assert slopes(fit) == pytest.approx(np.full(20, CHINCHILLA.exponent_a), abs=1e-6)
