"""A trial in this process: what it times, and what it says where nothing can be timed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop.corpus import Corpus
from isoflop.rundir import RunDir
from isoflop.train.process import Stop
from isoflop.train.trial import FEWEST_STEPS, Trial, TrialFailed, TrialTimes, try_out
from tests.train.conftest import CPU, make_run


@pytest.fixture
def trial(tmp_path: Path, corpus: Corpus, corpora: Path) -> Trial:
    return Trial(
        run=make_run(corpus, n_steps=100_000),
        execution=CPU,
        folder=tmp_path / "1",
        corpora=corpora,
        compiled=tmp_path / "compiled",
        coordinator_pid=os.getpid(),
        visible_device="",
        seconds=5.0,
    )


def outcome(trial: Trial, stop: Stop | None = None) -> TrialTimes | TrialFailed | None:
    return try_out(trial, RunDir(trial.folder), stop or Stop())


def test_a_trial_times_at_least_twenty_steps_a_loss_and_a_checkpoint(trial: Trial) -> None:
    times = outcome(trial)
    assert isinstance(times, TrialTimes)
    assert times.n_steps >= FEWEST_STEPS
    assert 0 < times.seconds_per_step < 1
    assert times.eval_seconds > 0 and times.checkpoint_seconds > 0
    assert times.memory_bytes >= 0
    parts = times.n_steps * times.seconds_per_step + times.eval_seconds + times.checkpoint_seconds
    assert times.apart >= parts  # what a run does not spend beside its steps, its evaluation and its checkpoints


def test_steps_are_capped_and_a_run_of_few_steps_takes_no_more_than_it_has(trial: Trial) -> None:
    capped = outcome(replace(trial, seconds=1e-9))
    assert isinstance(capped, TrialTimes) and capped.n_steps == 1
    few = outcome(replace(trial, run=trial.run.model_copy(update={"n_steps": 5})))
    assert isinstance(few, TrialTimes) and few.n_steps == 4
    one = outcome(replace(trial, run=trial.run.model_copy(update={"n_steps": 1})))
    assert isinstance(one, TrialTimes) and one.n_steps == 1


def test_more_tokens_than_the_held_out_text_has_are_not_waited_for(trial: Trial) -> None:
    some, all_of = (
        outcome(replace(trial, run=trial.run.model_copy(update={"eval_tokens": n}))) for n in (10**6, 10**12)
    )
    assert isinstance(some, TrialTimes) and isinstance(all_of, TrialTimes)
    assert all_of.eval_seconds < 100 * some.eval_seconds


def test_a_shape_that_does_not_fit_the_memory_is_said_to(trial: Trial) -> None:
    shape = replace(trial.run.shape, width=2**30, d_ff=2**30)
    found = outcome(replace(trial, run=trial.run.model_copy(update={"shape": shape})))
    assert found == TrialFailed("ran out of memory")


def test_a_loss_that_explodes_and_a_corpus_that_is_gone_are_said(trial: Trial, tmp_path: Path) -> None:
    hot = trial.run.optimizer.model_copy(update={"learning_rate": 1e9})
    found = outcome(replace(trial, run=trial.run.model_copy(update={"optimizer": hot})))
    assert isinstance(found, TrialFailed) and found.reason.startswith("failed: ArithmeticError: step ")
    found = outcome(replace(trial, corpora=tmp_path / "nowhere"))
    assert isinstance(found, TrialFailed) and found.reason.startswith("met an obstacle: ")


def test_a_trial_that_is_asked_to_stop_says_nothing(trial: Trial) -> None:
    stop = Stop()
    stop._ask(15, None)
    assert outcome(trial, stop) is None
