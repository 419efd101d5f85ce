"""Columns and a question, or arrays and options one by one: the same fit either way, and refused alike."""

import dataclasses

import numpy as np
import pytest

from isoflop.fit import Columns, Curves, Question, fit_exponents, fit_sweep
from tests.fit.known_sweeps import SKEWED, surface_sweep, with_noise

ARRAYS = with_noise(surface_sweep(law=SKEWED, half_width=1.0), np.random.default_rng(3), 2e-3)
BUDGET, SIZE, TOKENS, LOSS = ARRAYS
N = len(LOSS)
OF_COLUMNS = {"loss_se": np.linspace(1e-4, 5e-3, N), "trunk": [f"t{i // 3}" for i in range(N)]}
OF_QUESTION = {
    "targets": [1e22, 3e20],
    "level": 0.7,
    "window": 0.5,
    "residuals": "squares",
    "suggest": 3,
    "bootstrap": 5,
    "curves": Curves(BUDGET / 2, SIZE, TOKENS / 2, LOSS + 0.2),
}


def test_the_two_calls_give_one_fit_with_everything_asked_at_once():
    columns, question = Columns(*ARRAYS, **OF_COLUMNS), Question(**OF_QUESTION)
    by_types = fit_sweep(columns, question)
    assert by_types == fit_sweep(*ARRAYS, **OF_COLUMNS, **OF_QUESTION)
    assert by_types == fit_sweep(columns=columns, question=question)
    named = dict(zip(("budget_flops", "n_params", "n_tokens", "loss"), ARRAYS, strict=True))
    assert by_types == fit_sweep(**named, **OF_COLUMNS, **OF_QUESTION)


@pytest.mark.parametrize("name", [*OF_COLUMNS, *OF_QUESTION])
def test_every_option_is_used_and_the_two_calls_use_it_alike(name):
    plain = fit_sweep(Columns(*ARRAYS))
    assert plain == fit_sweep(*ARRAYS)
    option = {name: (OF_COLUMNS | OF_QUESTION)[name]}
    of_columns = option if name in OF_COLUMNS else {}
    found = fit_sweep(Columns(*ARRAYS, **of_columns), Question(**(option if not of_columns else {})))
    assert found == fit_sweep(*ARRAYS, **option)
    assert found != plain


@pytest.mark.parametrize(
    "cut",
    [{"planned": [(1e19, 3e8)] * 40}, {"trainable": lambda _, n: round(n, -7) or None}],
    ids=["planned", "trainable"],
)
def test_suggestions_know_what_is_planned_and_what_can_be_trained_either_way(cut):
    question = Question(targets=[1e22], suggest=3, **cut)
    assert fit_sweep(Columns(*ARRAYS), question) == fit_sweep(*ARRAYS, targets=[1e22], suggest=3, **cut)
    assert fit_sweep(Columns(*ARRAYS), question) != fit_sweep(*ARRAYS, targets=[1e22], suggest=3)


def test_exponents_are_asked_for_in_both_ways_and_are_those_of_the_fit():
    question = Question(level=0.7, window=0.5)
    columns = Columns(*ARRAYS, **OF_COLUMNS)
    found = fit_exponents(columns, question)
    assert found == fit_exponents(*ARRAYS, **OF_COLUMNS, level=0.7, window=0.5)
    estimators = fit_sweep(columns, question).estimators
    assert found == (estimators.parabola, estimators.recommended.estimate)
    assert found != fit_exponents(columns)


def test_a_question_is_checked_when_it_is_asked_and_stays_as_it_is():
    targets = [1e21, 1e22]
    question = Question(targets=targets)
    targets.append(-1.0)
    assert question.targets == (1e21, 1e22)
    with pytest.raises(dataclasses.FrozenInstanceError):
        question.level = 0.5
    for options in ({"level": 1.0}, {"window": 0.0}, {"residuals": "l2"}, {"suggest": -1}, {"targets": [0.0]},
                    {"planned": [(1e20, -1.0)]}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(options)) if "suggest" not in options else "counts"):
            Question(**options)


@pytest.mark.parametrize("call", [fit_sweep, fit_exponents])
def test_an_option_that_does_not_exist_is_refused_by_name(call):
    with pytest.raises(TypeError, match="windwo"):
        call(*ARRAYS, windwo=0.6)
    with pytest.raises(TypeError, match="targets"):
        call(Columns(*ARRAYS), targets=[1e22])
    with pytest.raises(TypeError, match="loss"):
        call(BUDGET, SIZE, TOKENS)
