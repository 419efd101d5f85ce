"""Ranks: several processes that train one run come to the bits of one that takes the same parts one after the other."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from isoflop.corpus import Corpus
from isoflop.run_spec import RunSpec
from isoflop.rundir import Assignment, Execution, ExitCode, RunDir
from isoflop.rundir.layout import weights_path
from isoflop.train.loop import train
from isoflop.train.progress import Ending, Trained
from isoflop.train.rank_processes import _end_with_a_dead_rank, ranks_of
from isoflop.train.ranks import RankLost, joined
from tests.run_examples import OPTIMIZER
from tests.train.conftest import CPU, StopAt, make_run, run_it

Train = Callable[..., Trained]


@pytest.fixture
def ranks_train(corpus: Corpus, corpora: Path) -> Train:
    """Trains a run as a worker does that was given several devices; its rank 0 is this process."""

    def work(run: RunSpec, folder: Path, how: Execution, *, stop: StopAt | None = None) -> Trained:
        folder.mkdir(exist_ok=True)
        assignment = Assignment(folder, 1, corpora, folder, folder, 0, "", None, None)
        with ranks_of(run, assignment, how) as ranks:
            saved = RunDir(folder).checkpoint_dir
            trained = train(run, corpus, how, checkpoints=saved, watcher=stop or StopAt(), ranks=ranks)
        assert not list(folder.glob(".*")), "the file where the ranks met is left"
        return trained

    return work


def weights(folder: Path, run: RunSpec) -> dict[str, torch.Tensor]:
    return load_file(weights_path(folder, run.run_id))


def assert_same_bits(one: tuple[Trained, Path], other: tuple[Trained, Path], run: RunSpec) -> None:
    assert one[0].ending is other[0].ending is Ending.COMPLETED
    assert one[0].heldout == other[0].heldout
    assert one[0].progress.curve == other[0].progress.curve
    these, those = weights(one[1], run), weights(other[1], run)
    assert these.keys() == those.keys()
    assert all(torch.equal(these[name], those[name]) for name in these)


def halves(n_sequences: int) -> tuple[Execution, Execution]:
    """A batch in two parts: one after the other in one process, and at once in two."""
    part = -(-n_sequences // 2)
    alone = CPU.model_copy(update={"micro_batch_sequences": part})
    return alone, CPU.model_copy(update={"world_size": 2})


@pytest.mark.slow(8)
def test_two_ranks_equal_accumulation_in_one_process_to_the_bit(
    corpus: Corpus, tmp_path: Path, ranks_train: Train
) -> None:
    run = make_run(corpus, n_steps=60, batch_sequences=5)
    alone, together = halves(5)
    one = run_it(run, corpus, tmp_path / "one", how=alone)
    two = ranks_train(run, tmp_path / "two", together)
    assert_same_bits((one, tmp_path / "one"), (two, tmp_path / "two" / "checkpoint"), run)
    undivided = run_it(run, corpus, tmp_path / "undivided")
    assert undivided.progress.curve != one.progress.curve, "the parts must round otherwise than the whole"


@pytest.mark.slow(20)
def test_ranks_stop_at_one_step_and_go_on_to_the_same_bits(corpus: Corpus, tmp_path: Path, ranks_train: Train) -> None:
    """Asked between two micro-batches, where only one of them hears it."""
    run = make_run(corpus)
    together = CPU.model_copy(update={"world_size": 2, "micro_batch_sequences": 1})
    whole = ranks_train(run, tmp_path / "whole", together)
    stopped = ranks_train(run, tmp_path / "parts", together, stop=StopAt(piece=40))
    assert stopped.ending is Ending.INTERRUPTED
    assert stopped.progress.step == 19  # two pieces of work in each step
    resumed = ranks_train(run, tmp_path / "parts", together)
    assert_same_bits((whole, tmp_path / "whole/checkpoint"), (resumed, tmp_path / "parts/checkpoint"), run)


@pytest.mark.slow(8)
def test_a_loss_that_explodes_ends_every_rank_at_that_step(corpus: Corpus, tmp_path: Path, ranks_train: Train) -> None:
    wild = OPTIMIZER.model_copy(update={"learning_rate": 1e4, "grad_clip": 1e9})
    run = make_run(corpus, optimizer=wild)
    alone, together = halves(run.batch_sequences)
    one = run_it(run, corpus, tmp_path / "one", how=alone)
    two = ranks_train(run, tmp_path / "two", together)
    assert one.ending is two.ending is Ending.DIVERGED
    assert one.reason == two.reason


def test_ranks_that_begin_at_different_steps_do_not_train(tmp_path: Path) -> None:
    """As with a checkpoint that only some of them can read."""
    with joined(0, 1, "cpu", tmp_path / "meeting") as ranks:
        ranks.agree_on(7)
        ranks._all_reduce = lambda bounds, how: bounds.copy_(torch.tensor([7, 0]))  # type: ignore[method-assign] # the other began at 0
        with pytest.raises(RankLost, match="begins at step 7"):
            ranks.agree_on(7)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        pytest.param("kill -9 $$", -signal.SIGKILL, id="killed"),
        pytest.param("exit 77", ExitCode.OUT_OF_MEMORY, id="out of memory"),
        pytest.param("exit 1", ExitCode.RANK_LOST, id="otherwise"),
    ],
)
def test_rank_0_ends_as_the_engine_must_know_of_the_rank_that_ended(ends: str, expected: int) -> None:
    """Where nothing else would end it: it waits for the other, as NCCL does."""
    waiting = os.fork()
    if waiting == 0:
        ranks = [subprocess.Popen(["/bin/sh", "-c", command]) for command in (ends, "exec sleep 60")]
        _end_with_a_dead_rank(ranks, threading.Event())
    _, status = os.waitpid(waiting, 0)
    assert os.waitstatus_to_exitcode(status) == expected


def test_an_execution_of_several_processes_takes_plain_steps_only() -> None:
    assert Execution.model_validate_json(CPU.model_dump_json(exclude={"world_size"})) == CPU, "as older job files are"
    with pytest.raises(ValidationError, match="operation by operation"):
        Execution.model_validate({**CPU.model_dump(), "step": "native", "world_size": 2})
