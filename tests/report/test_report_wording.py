"""The numbers of a fit in words."""

import math

from isoflop.report.fit_wording import interval


def test_an_interval_without_bounds_is_a_dash():
    assert interval(None) == "-"
    assert interval((1e6, math.pi * 1e6)) == "1.00M to 3.14M"
