"""Ranks: several processes that train one run come to the bits of one that takes the same parts one after the other."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from isoflop.corpus import Corpus
from isoflop.run_spec import RunSpec
from isoflop.rundir import Assignment, Execution, RunDir
from isoflop.rundir.layout import weights_path
from isoflop.train.loop import train
from isoflop.train.progress import Ending, Trained
from isoflop.train.rank_processes import ranks_of
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


def test_a_loss_that_explodes_ends_every_rank_at_that_step(corpus: Corpus, tmp_path: Path, ranks_train: Train) -> None:
    wild = OPTIMIZER.model_copy(update={"learning_rate": 1e4, "grad_clip": 1e9})
    run = make_run(corpus, optimizer=wild)
    alone, together = halves(run.batch_sequences)
    one = run_it(run, corpus, tmp_path / "one", how=alone)
    two = ranks_train(run, tmp_path / "two", together)
    assert one.ending is two.ending is Ending.DIVERGED
    assert one.reason == two.reason
