"""A finding with two severities takes the higher where its condition is worse."""

import numpy as np
import pytest

from isoflop.finding import Severity
from isoflop.fit import fit_sweep
from tests.fit.known_sweeps import SKEWED, published, surface_sweep, with_noise

FIVE = np.geomspace(1e18, 1e20, 5)


def severity(code, columns):
    (finding,) = [one for one in fit_sweep(*columns).findings if one.code == code]
    return finding.severity


@pytest.mark.parametrize(("drift", "expected"), [(0.3, Severity.INFO), (1.0, Severity.WARNING)], ids=["near", "far"])
def test_estimators_that_differ_a_little_from_the_joint_valley_are_no_warning(drift, expected):
    columns = surface_sweep(FIVE, law=SKEWED, drift=drift, half_width=1.0)
    assert severity("estimators_disagree", with_noise(columns, np.random.default_rng(1), 0.0003)) is expected


@pytest.mark.parametrize(("n_bad", "expected"), [(3, Severity.INFO), (4, Severity.WARNING)], ids=str)
def test_more_than_a_tenth_of_the_rows_set_aside_is_a_warning(n_bad, expected):
    columns = with_noise(surface_sweep(FIVE), np.random.default_rng(2), 0.001)
    bad = np.zeros(35)
    bad[[3, 11, 24, 31][:n_bad]] = 0.3
    assert severity("outliers", (*columns[:3], columns[3] + bad)) is expected


@pytest.mark.parametrize("code", ["scorecard_missed", "scattered_floors"])
def test_what_foretells_no_misses_is_an_info(code):
    assert severity(code, published("chinchilla_scalefit")) is Severity.INFO
