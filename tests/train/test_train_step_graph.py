"""The step that a GPU records: on a CPU it runs as it stands, and does what the plain step does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from isoflop.corpus import Corpus
from isoflop.rundir.layout import weights_path
from isoflop.train.loop import Training
from isoflop.train.progress import Ending
from isoflop.train.schedule import rate_factor
from isoflop.train.step_graph import MOST_STEPS
from tests.run_examples import OPTIMIZER
from tests.train.conftest import CPU, StopAt, make_run, run_it

GRAPH = CPU.model_copy(update={"step": "graph"})
SHAPES = [(2, 16, 1, 16), (1, 32, 2, 16), (3, 24, 1, 24), (4, 64, 2, 32), (2, 128, 4, 32), (6, 48, 3, 16)]
DEVICE = torch.device("cpu")


def training(corpus: Corpus, how: Any = GRAPH, **changes: object) -> Training:
    return Training(make_run(corpus, **changes), corpus, how, DEVICE, StopAt())


def losses_of(made: Training, n_steps: int) -> list[float]:
    losses = []
    while made.progress.step < n_steps:
        assert made.step() is None
        losses.append(made.last_loss)
    return losses


def losses_in_chunks(made: Training, n_steps: int) -> list[float]:
    """Every loss of the log, not only the last of a chunk."""
    losses: list[float] = []
    count = made._count

    def counted(loss: float) -> str | None:
        losses.append(loss)
        return count(loss)

    made._count = counted  # type: ignore[method-assign]
    while made.progress.step < n_steps:
        assert made.advance() is None
    return losses


@pytest.mark.slow(5)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_two_hundred_losses_are_those_of_the_plain_step(corpus: Corpus, shape: tuple[int, int, int, int]) -> None:
    n_layers, width, n_heads, head_dim = shape
    plain = make_run(corpus)
    sizes = {"n_layers": n_layers, "width": width, "n_heads": n_heads, "head_dim": head_dim, "d_ff": 2 * width}
    # A rate at which rounding grows slowly: what is compared is the step, not chaos.
    changes = {
        "n_steps": 200,
        "shape": replace(plain.shape, **sizes),
        "optimizer": OPTIMIZER.model_copy(update={"learning_rate": 1e-3}),
    }
    one = losses_of(training(corpus, CPU, **changes), 200)
    other = losses_in_chunks(training(corpus, GRAPH, **changes), 200)
    assert len(other) == 200
    assert other == pytest.approx(one, abs=2e-5)
    assert one[-1] < one[0] - 0.5


@pytest.mark.parametrize("parts", [64, 3], ids=["whole", "micro-batches"])
def test_gradients_are_clipped_and_rates_follow_the_schedule(corpus: Corpus, tmp_path: Path, parts: int) -> None:
    tight = OPTIMIZER.model_copy(update={"grad_clip": 0.01})
    run = make_run(corpus, optimizer=tight)
    update = {"micro_batch_sequences": parts}
    one = run_it(run, corpus, tmp_path / "plain", how=CPU.model_copy(update=update))
    other = run_it(run, corpus, tmp_path / "graph", how=GRAPH.model_copy(update=update))
    assert one.heldout is not None and other.heldout is not None
    assert other.heldout.nats_per_token == pytest.approx(one.heldout.nats_per_token, abs=1e-4)
    assert other.progress.n_tokens == one.progress.n_tokens == run.n_tokens
    assert [point[:2] for point in other.progress.curve] == [point[:2] for point in one.progress.curve]


@pytest.mark.parametrize("stops", [(4,), (3, 6)], ids=str)
def test_an_interrupted_run_ends_with_the_same_bits(corpus: Corpus, tmp_path: Path, stops: tuple[int, ...]) -> None:
    run = make_run(corpus)
    whole = run_it(run, corpus, tmp_path / "whole", how=GRAPH)
    folder = tmp_path / "parts"
    for stop in stops:
        part = run_it(run, corpus, folder, how=GRAPH, stop_at=stop)
        assert (part.ending, part.progress.step >= stop) == (Ending.INTERRUPTED, True)
    assert run_it(run, corpus, folder, how=GRAPH).heldout == whole.heldout
    one, other = (load_file(weights_path(at, run.run_id)) for at in (tmp_path / "whole", folder))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_first_step_that_is_not_finite_is_named_and_neither_it_nor_a_later_one_is_taken(corpus: Corpus) -> None:
    made, plain = training(corpus), training(corpus, CPU)
    assert made.advance() is None
    losses_of(plain, made.progress.step)
    for model in (made.model, plain.model):
        with torch.no_grad():
            model.lm_head.weight[0, 0] = float("nan")
    weights = [weight.detach().clone() for weight in made.weights]
    moments = [made.optimizer.state[weight]["exp_avg"].clone() for weight in made.weights]
    step, made.n_at_once = made.progress.step, 16
    assert made.advance() == plain.step()
    assert made.progress.step == step
    for weight, before, moment in zip(made.weights, weights, moments, strict=True):
        assert torch.equal(torch.nan_to_num(weight), torch.nan_to_num(before))
        assert torch.equal(made.optimizer.state[weight]["exp_avg"], moment)
        assert made.optimizer.state[weight]["step"] == step


class NoHostReads(TorchDispatchMode):
    """Refuses what waits for the device."""

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::item")
        if f.name() in read:
            raise AssertionError(f"the host reads: {f.name()}")
        return f(*args, **(kwargs or {}))


def test_a_step_reads_nothing_back(corpus: Corpus) -> None:
    made = training(corpus)
    assert made.advance() is None
    assert made.fast is not None
    made.fast._row.zero_()
    with NoHostReads():
        made.fast._step()
    with pytest.raises(AssertionError, match="the host reads"), NoHostReads():
        made.fast._log[0, 0].item()


def test_a_chunk_ends_with_the_run_and_takes_no_longer_than_a_stop_may_wait(corpus: Corpus) -> None:
    made = training(corpus, n_steps=7)
    assert made.advance() is None
    assert made.progress.step == 4
    assert 1 <= made.n_at_once <= MOST_STEPS
    while made.progress.step < 7:
        assert made.advance() is None
    assert made.progress.n_tokens == made.run.n_tokens


def test_rates_are_each_groups_own(corpus: Corpus) -> None:
    made = training(corpus)
    made.n_at_once = 3
    assert made.advance() is None
    factor = rate_factor(2, made.run.n_steps, made.run.schedule)
    for group in made.optimizer.param_groups:
        assert float(group["lr"]) == pytest.approx(group["peak_lr"] * factor, rel=1e-6)
