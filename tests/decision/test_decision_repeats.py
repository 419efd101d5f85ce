"""Repeated data against the formula worked by hand, and its limits."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.decision.repeats import effective_tokens, repeats_of, repeats_sentence
from isoflop.errors import IsoflopError
from isoflop.fit.laws import SurfaceLaw

LAW = SurfaceLaw.of(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
TOKENS = st.floats(1e3, 1e15)


@pytest.mark.parametrize(
    ("epochs", "worth"),
    [
        (0.5, 0.5),
        (1, 1.0),
        (4, 3.72561),  # 1 + 15.387756 (1 - e^(-3 / 15.387756)): 3 / 15.387756 = 0.194960, e^- = 0.822868
        (16, 10.58249),  # 15 / 15.387756 = 0.974801, e^- = 0.377267
        (40, 15.16739),  # 39 / 15.387756 = 2.534483, e^- = 0.079303
    ],
)
def test_tokens_read_again_are_worth_what_the_formula_gives_by_hand(epochs, worth):
    assert effective_tokens(epochs * 1e9, 1e9) == pytest.approx(worth * 1e9, rel=2e-5)


@settings(deadline=None, derandomize=True)
@given(unique=TOKENS, epochs=st.floats(0.01, 1e6), more=st.floats(1, 100))
def test_repeats_add_worth_and_never_more_than_fresh_tokens_or_sixteen_corpora(unique, epochs, more):
    worth = effective_tokens(epochs * unique, unique)
    assert worth <= effective_tokens(epochs * more * unique, unique) * (1 + 1e-12)
    assert worth <= epochs * unique * (1 + 1e-12)
    assert worth <= (1 + 15.387756) * unique * (1 + 1e-12)


@settings(deadline=None, derandomize=True)
@given(unique=TOKENS)
def test_the_first_repeated_token_is_worth_a_fresh_one(unique):
    assert effective_tokens(unique * 1.001, unique) == pytest.approx(unique * 1.001, rel=1e-6)


@settings(deadline=None, derandomize=True)
@given(n_tokens=TOKENS, epochs=st.floats(0.1, 1000))
def test_the_cost_is_the_difference_of_two_losses_and_only_repeats_have_one(n_tokens, epochs):
    repeats = repeats_of(n_tokens / epochs, 1e9, n_tokens, LAW)

    def data_term(tokens):
        return 2085.43 * tokens**-0.3658

    expected = data_term(repeats.effective_tokens) - data_term(n_tokens)
    assert repeats.cost_nats == pytest.approx(expected, abs=1e-9, rel=1e-6)
    assert repeats.cost_nats >= 0
    assert math.isclose(repeats.corpus_for_nearly_free, n_tokens / 4)


def test_a_corpus_of_a_quarter_of_the_tokens_is_read_four_times():
    repeats = repeats_of(1e9, 1e8, 2e10, LAW)
    again = repeats_of(repeats.corpus_for_nearly_free, 1e8, 2e10, LAW)
    assert (repeats.epochs, again.epochs) == (20, 4)
    assert again.cost_nats < 0.01 < 0.07 < repeats.cost_nats


@pytest.mark.parametrize(
    ("corpus", "law", "sentence"),
    [
        (
            1e11, LAW,
            "14.0 epochs of your corpus cost about 0.011 nats and are worth 978B fresh tokens; 350B unique tokens "
            "would need 4 epochs, which are nearly free.",
        ),
        (
            5e11, None,
            "2.80 epochs of your corpus are worth 1.35T fresh tokens; up to 4 epochs are nearly free.",
        ),
        (2e12, LAW, "No token is repeated: 0.70 epochs of your corpus."),
    ],
)  # fmt: skip
def test_one_sentence_says_what_repetition_costs(corpus, law, sentence):
    assert repeats_sentence(repeats_of(corpus, 72e9, 1.4e12, law)) == sentence


@pytest.mark.parametrize("corpus", [0.0, -1.0, float("nan")])
def test_a_corpus_of_no_tokens_is_refused(corpus):
    with pytest.raises(IsoflopError, match="The corpus in tokens is"):
        repeats_of(corpus, 1e9, 1e10, None)
