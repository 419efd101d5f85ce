"""Published laws against the numbers their papers print."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from isoflop.fit.laws import PUBLISHED, published_law

NAMES = [law.name for law in PUBLISHED]
BUDGETS = st.floats(10, 30).map(lambda log_c: 10**log_c)


@pytest.mark.parametrize(
    ("name", "budget", "n_params", "n_tokens", "within"),
    [
        # Hoffmann et al. 2022, table 3; tokens of the last row are printed with two digits.
        ("chinchilla-1", 1.92e19, 400e6, 8.0e9, 0.02),
        ("chinchilla-1", 1.21e20, 1e9, 20.2e9, 0.02),
        ("chinchilla-1", 1.23e22, 10e9, 205.1e9, 0.02),
        ("chinchilla-1", 5.76e23, 67e9, 1.5e12, 0.07),
        ("chinchilla-1", 3.85e24, 175e9, 3.7e12, 0.03),
        # Table A3; the row of 1T parameters took no part in the coefficient.
        ("chinchilla-2", 1.84e19, 400e6, 7.7e9, 0.02),
        ("chinchilla-2", 1.32e22, 10e9, 219.5e9, 0.02),
        ("chinchilla-2", 6.88e23, 67e9, 1.7e12, 0.03),
        ("chinchilla-2", 1.59e26, 1e12, 26.5e12, 0.03),
        # Table A3, approach 3.
        ("chinchilla-3-unrounded", 2.21e19, 400e6, 9.2e9, 0.05),
        ("chinchilla-3-unrounded", 2.46e22, 10e9, 410.1e9, 0.05),
        ("chinchilla-3-unrounded", 1.71e24, 67e9, 4.1e12, 0.05),
        # The printed law misses the same rows by as much as its digits are rounded.
        ("chinchilla-3", 2.46e22, 10e9, 410.1e9, 0.30),
        # Llama 3 report, section 3.2.1 (6 N D of its own two numbers is 5 % above its 3.8e25).
        ("llama-3", 3.8e25, 402e9, 16.55e12, 0.04),
        # Kaplan et al. 2020, table 6: a PF-day; tokens at the critical batch are printed as 2e10, which is twice.
        ("kaplan", 8.64e19, 1.3e9, 2e10 / 2, 0.12),
    ],
)  # fmt: skip
def test_a_law_gives_the_optimum_that_its_paper_prints(name, budget, n_params, n_tokens, within):
    law = published_law(name)
    assert law.n_opt(budget) == pytest.approx(n_params, rel=within)
    assert law.d_opt(budget) == pytest.approx(n_tokens, rel=within)


@pytest.mark.parametrize(
    ("name", "a", "b", "within"),
    [
        ("chinchilla-1", 0.50, 0.50, 1e-12),  # Hoffmann et al. 2022, table 2
        ("chinchilla-2", 0.49, 0.51, 1e-12),
        ("chinchilla-3", 0.46, 0.54, 0.009),
        ("chinchilla-3-unrounded", 0.46, 0.54, 0.005),
        ("epoch", 0.5126, 0.4874, 1e-4),  # Besiroglu et al. 2024
        ("llama-3", 0.47, 0.53, 0.008),
        ("kaplan", 0.73, 0.27, 1e-12),  # as Hoffmann et al. 2022 quote it in table 2
    ],
)
def test_exponents_are_those_printed(name, a, b, within):
    law = published_law(name)
    assert (law.exponent_a, law.exponent_b) == (pytest.approx(a, abs=within), pytest.approx(b, abs=within))


def test_epochs_correction_gives_the_twenty_tokens_per_parameter_that_chinchilla_had():
    # Besiroglu et al. 2024, abstract and figure 5: consistent with the ratio of 20 that Chinchilla was trained at.
    law = published_law("epoch")
    assert 17 < law.d_opt(5.76e23) / law.n_opt(5.76e23) < 27


@pytest.mark.parametrize("name", ["chinchilla-3", "epoch"])
@pytest.mark.parametrize("budget", [1e18, 5.76e23])
def test_the_optimum_of_a_surface_is_where_a_search_finds_it(name, budget):
    law = published_law(name)
    e, a, b, alpha, beta = {
        "chinchilla-3": (1.69, 406.4, 410.7, 0.34, 0.28), "epoch": (1.8169, 482.01, 2085.43, 0.3478, 0.3658)
    }[name]  # fmt: skip

    def loss(log_n):
        return e + a * math.exp(-alpha * log_n) + b * (budget / 6 / math.exp(log_n)) ** -beta

    found = minimize_scalar(loss, bounds=(10, 35), method="bounded", options={"xatol": 1e-9})
    assert law.n_opt(budget) == pytest.approx(math.exp(found.x), rel=1e-4)
    assert law.loss(budget) == pytest.approx(found.fun, rel=1e-12)


@pytest.mark.parametrize("name", ["chinchilla-1", "chinchilla-2", "llama-3", "kaplan"])
def test_a_law_without_a_surface_has_no_loss(name):
    assert published_law(name).loss(1e21) is None


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(budget=BUDGETS)
def test_every_law_spends_the_budget_at_six_flops_per_parameter_and_token(name, budget):
    law = published_law(name)
    assert 6 * law.n_opt(budget) * law.d_opt(budget) == pytest.approx(budget, rel=1e-9)
    assert law.n_opt(10 * budget) / law.n_opt(budget) == pytest.approx(10**law.exponent_a, rel=1e-9)


def test_an_unknown_law_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ValueError, match=r"no published law 'gopher'.*chinchilla-1.*kaplan"):
        published_law("gopher")


def test_names_are_distinct_and_every_law_says_where_it_is_from():
    assert len(set(NAMES)) == len(PUBLISHED) == 7
    assert all("arXiv" in law.source and law.label for law in PUBLISHED)
