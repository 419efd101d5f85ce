"""Every finding on runs without valleys: a family of inputs where it must appear, and others where it must not."""

import pytest

from tests.fit.known_sweeps import codes_of
from tests.fit.surface_families import SURFACE_FAMILIES

SEEDS = range(8)


@pytest.mark.parametrize("code", SURFACE_FAMILIES)
def test_a_finding_appears_on_every_input_of_its_family_and_on_none_without_its_cause(code: str) -> None:
    appears, absent = SURFACE_FAMILIES[code]
    for seed in SEEDS:
        assert code in codes_of(appears, seed), f"seed {seed}"
        for number, draw in enumerate(absent):
            assert code not in codes_of(draw, seed), f"kind {number}, seed {seed}"
