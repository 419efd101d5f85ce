"""Every finding code of a fit: a family of inputs where it must appear, and one where it must not."""

import pytest

from isoflop.registry import FINDING_CODES
from tests.fit.finding_families import FAMILIES
from tests.fit.known_sweeps import codes_of
from tests.fit.surface_families import SURFACE_FAMILIES

SEEDS = range(4)


def test_every_code_of_a_fit_has_a_family() -> None:
    assert FAMILIES.keys() | SURFACE_FAMILIES.keys() == FINDING_CODES["fit"].keys()


@pytest.mark.parametrize("code", FAMILIES)
def test_a_finding_appears_on_every_input_of_its_family(code: str) -> None:
    for seed in SEEDS:
        assert code in codes_of(FAMILIES[code].appears, seed), f"seed {seed}"


@pytest.mark.parametrize("code", FAMILIES)
def test_a_finding_is_absent_from_inputs_without_its_cause(code: str) -> None:
    for number, draw in enumerate(FAMILIES[code].absent):
        for seed in SEEDS:
            assert code not in codes_of(draw, seed), f"kind {number}, seed {seed}"
