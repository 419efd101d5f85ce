"""FLOPs of one command: from what every attempt began with to what it left, each step once."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from isoflop.engine.notices import AttemptEnded, AttemptStarted
from isoflop.run_spec import Job
from isoflop.rundir import RunDir
from isoflop.rundir.layout import dir_of_run
from isoflop.sweep.spent import Spending
from tests.run_examples import RUN
from tests.store.store_examples import make_result

JOB = Job((RUN,))
PER_STEP = RUN.planned_flops / RUN.n_steps


def keep(artifacts: Path, steps: int | None) -> None:
    """A checkpoint of the run after so many steps; none for None."""
    state = RunDir(dir_of_run(artifacts, RUN.run_id)).checkpoint_path(RUN.run_id)
    state.parent.mkdir(parents=True, exist_ok=True)
    state.unlink(missing_ok=True)
    if steps is not None:
        said = {"run_id": RUN.run_id, "progress": json.dumps({"n_tokens": steps * RUN.batch_tokens})}
        state.write_bytes(save({"a": torch.zeros(1)}, said))


def started(number: int) -> AttemptStarted:
    return AttemptStarted(JOB.job_id, number, 0, "cpu", 0.0)


def ended(number: int) -> AttemptEnded:
    times = {"started_at": 0.0, "ended_at": 1.0, "at": 1.0}
    what = {"outcome": "interrupted", "reason": "asked to", "log_path": Path("log.txt")}
    return AttemptEnded(JOB.job_id, (RUN.run_id,), number, 0, "hal", "cpu", **times, **what)  # type: ignore[arg-type]


@pytest.fixture
def spending(tmp_path: Path) -> Spending:
    return Spending(tmp_path)


def test_a_run_that_goes_on_counts_what_was_left_of_it(tmp_path: Path, spending: Spending) -> None:
    keep(tmp_path, 30)
    spending.expect([JOB])
    spending.begin(started(2))
    spending.finish(make_result(RUN))
    spending.end(ended(2))
    assert spending.flops == 70 * PER_STEP


def test_an_interrupted_attempt_counts_what_its_checkpoint_keeps_and_the_next_one_the_rest(
    tmp_path: Path, spending: Spending
) -> None:
    spending.expect([JOB])
    keep(tmp_path, 20)  # it was quick: the coordinator hears of the start only now
    spending.begin(started(1))
    spending.end(ended(1))
    assert spending.flops == 20 * PER_STEP
    spending.begin(started(2))
    spending.finish(make_result(RUN))
    spending.end(ended(2))
    assert spending.flops == RUN.planned_flops


def test_a_run_that_ended_before_its_start_was_heard_of_counts_what_was_left_of_it(
    tmp_path: Path, spending: Spending
) -> None:
    keep(tmp_path, 30)
    spending.expect([JOB])
    keep(tmp_path, None)  # a run that has ended needs no state
    RunDir(dir_of_run(tmp_path, RUN.run_id)).write_result(make_result(RUN))
    spending.begin(started(2))
    spending.finish(make_result(RUN))
    assert spending.flops == 70 * PER_STEP


def test_an_attempt_that_begins_anew_counts_whole(tmp_path: Path, spending: Spending) -> None:
    """As with smaller micro-batches, after memory ran out."""
    spending.expect([JOB])
    spending.begin(started(1))
    keep(tmp_path, 20)
    spending.end(ended(1))
    keep(tmp_path, None)
    spending.begin(started(2))
    spending.finish(make_result(RUN))
    assert spending.flops == 120 * PER_STEP


def test_an_attempt_that_never_began_counts_nothing(tmp_path: Path, spending: Spending) -> None:
    keep(tmp_path, 30)
    spending.expect([JOB])
    spending.end(ended(2))
    assert spending.flops == 0.0
