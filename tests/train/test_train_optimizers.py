"""SGD and Muon on every road of the step: eager, recorded (run as it stands on a CPU), and in C++."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from isoflop.corpus import Corpus
from isoflop.errors import IsoflopError
from isoflop.run_spec import OptimizerSpec
from isoflop.rundir import Execution
from isoflop.rundir.layout import weights_path
from isoflop.step_library import FLAGS, library_path
from isoflop.train.checkpoint import load_checkpoint, save_checkpoint
from isoflop.train.loop import Training
from isoflop.train.model import build_model
from isoflop.train.native_step import NativeStep
from isoflop.train.optimizer import build_optimizer, clip_gradients, set_rate
from isoflop.train.progress import Ending
from isoflop.train.schedule import rate_factor
from tests.run_examples import OPTIMIZER, RUN
from tests.train.conftest import CPU, StopAt, make_run, run_it
from tests.train.test_train_step_graph import NoHostReads, losses_in_chunks, losses_of

SGD = OPTIMIZER.model_copy(update={"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "writing_rate_scale": 0.5})
MUON = SGD.model_copy(update={"kind": "muon", "learning_rate": 0.005, "momentum": 0.95})
ROADS = {
    "eager": CPU,
    "graph": CPU.model_copy(update={"step": "graph"}),
    **{
        name: CPU.model_copy(update={"step": "native", "instructions": name})
        for name in FLAGS
        if library_path(name) is not None
    },
}
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
each_optimizer = pytest.mark.parametrize("spec", [SGD, pytest.param(MUON, marks=needs_muon)], ids=lambda s: s.kind)
each_fast_road = pytest.mark.parametrize("how", [ROADS[name] for name in ROADS if name != "eager"], ids=[*ROADS][1:])


def training(corpus: Corpus, how: Execution, spec: OptimizerSpec, **changes: object) -> Training:
    run = make_run(corpus, optimizer=spec, **changes)
    return Training(run, corpus, how, torch.device("cpu"), StopAt())


def state_of(made: Training) -> list[Tensor]:
    """Copies of every weight and every moment."""
    moments = [made.optimizer.state[w][name] for w in made.weights for name in sorted(made.optimizer.state[w])]
    return [tensor.detach().clone() for tensor in (*made.weights, *moments)]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    """To the bit; a NaN equals a NaN."""
    return all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(one, other, strict=True))


@each_optimizer
@each_fast_road
@pytest.mark.parametrize("clip", [0.05, 1e9], ids=["clipped", "whole"])
def test_losses_are_those_of_the_plain_step(corpus: Corpus, how: Execution, spec: OptimizerSpec, clip: float) -> None:
    spec = spec.model_copy(update={"grad_clip": clip})
    plain = losses_of(training(corpus, CPU, spec, n_steps=30), 30)
    ours = losses_in_chunks(training(corpus, how, spec, n_steps=30), 30)
    assert len(ours) == 30
    # Muon makes singular values that are rounding alone as large as the others.
    exact, loose = (2e-5, 2e-5) if spec.kind == "sgd" else (1e-3, 0.15)
    assert ours[:3] == pytest.approx(plain[:3], abs=exact)
    assert ours == pytest.approx(plain, abs=loose)
    assert plain[-1] < plain[0] - 0.3


@each_optimizer
@pytest.mark.parametrize("how", ROADS.values(), ids=ROADS)
def test_an_interrupted_run_ends_with_the_same_bits(
    corpus: Corpus, tmp_path: Path, how: Execution, spec: OptimizerSpec
) -> None:
    run = make_run(corpus, optimizer=spec, n_steps=20)
    whole = run_it(run, corpus, tmp_path / "whole", how=how)
    part = run_it(run, corpus, tmp_path / "parts", stop_at=3, how=how)
    assert (whole.ending, part.ending) == (Ending.COMPLETED, Ending.INTERRUPTED)
    assert 3 <= part.progress.step < 20
    assert run_it(run, corpus, tmp_path / "parts", how=how).heldout == whole.heldout
    one, other = (load_file(weights_path(tmp_path / at, run.run_id)) for at in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@each_optimizer
@each_fast_road
def test_a_step_that_is_not_finite_moves_nothing(corpus: Corpus, how: Execution, spec: OptimizerSpec) -> None:
    made = training(corpus, how, spec)
    assert made.advance() is None
    with torch.no_grad():
        made.model.lm_head.weight[0, 0] = math.nan
    step, before = made.progress.step, state_of(made)
    made.n_at_once = 5
    problem = made.advance()
    assert problem is not None and problem.startswith(f"step {step + 1} of 40: loss nan")
    assert made.progress.step == step
    assert equal(state_of(made), before)


@each_optimizer
def test_steps_before_a_recording_move_nothing(corpus: Corpus, spec: OptimizerSpec) -> None:
    """What a GPU does first, with `bad` set: on fresh moments and on used ones, with finite numbers."""
    made = training(corpus, ROADS["graph"], spec)
    made.fast = made._record()
    for _ in range(2):
        before = state_of(made)
        made.fast._bad.fill_(1.0)
        made.fast._rates.fill_(0.1)
        made.fast._row.zero_()
        made.fast._step()
        assert equal(state_of(made), before)
        made.fast._bad.zero_()
        assert made.advance() is None
        assert not equal(state_of(made), before)


@each_optimizer
def test_a_recorded_step_reads_nothing_back(corpus: Corpus, spec: OptimizerSpec) -> None:
    made = training(corpus, ROADS["graph"], spec)
    assert made.advance() is None
    assert made.fast is not None
    made.fast._row.zero_()  # type: ignore[union-attr]
    with NoHostReads():
        made.fast._step()


def gradients_of(corpus: Corpus, spec: OptimizerSpec) -> tuple[Training, dict[str, Tensor]]:
    """A training whose gradients are made and clipped, and copies of them."""
    made = training(corpus, CPU, spec)
    losses_of(made, 2)
    made._accumulate(made.batches(2))
    norm = torch.nn.utils.get_total_norm([w.grad for w in made.weights if w.grad is not None])
    clip_gradients(made.weights, norm, spec.grad_clip)
    return made, {name: w.grad.clone() for name, w in made.model.named_parameters() if w.grad is not None}


def rate_of(name: str, spec: OptimizerSpec) -> tuple[float, bool]:
    """The peak rate of a weight by its name, written out, and whether it decays."""
    if name == "lm_head.weight":
        return spec.learning_rate * spec.head_rate_scale, True
    if name.endswith(("q_norm.weight", "k_norm.weight")) and spec.kind == "sgd":
        return spec.learning_rate * spec.hidden_rate_scale, False
    if "norm" in name or "embed" in name:
        return spec.learning_rate, False
    writes = "o_proj" in name or "down_proj" in name
    return spec.learning_rate * spec.hidden_rate_scale * (spec.writing_rate_scale if writes else 1.0), True


def test_an_update_of_sgd_is_momentum_and_decay_apart(corpus: Corpus) -> None:
    made, gradients = gradients_of(corpus, SGD)
    before = {n: w.detach().clone() for n, w in made.model.named_parameters()}
    moving = {n: made.optimizer.state[w]["momentum_buffer"].clone() for n, w in made.model.named_parameters()}
    set_rate(made.optimizer, 0.5)
    made.optimizer.step()
    for name, weight in made.model.named_parameters():
        rate, decays = rate_of(name, SGD)
        momentum = 0.9 * moving[name] + gradients[name]
        expected = before[name] * (1 - 0.5 * SGD.decay_per_step * decays) - 0.5 * rate * momentum
        assert torch.allclose(weight, expected, rtol=1e-6, atol=1e-7), name


@needs_muon
def test_an_update_of_muon_is_torchs_own_for_hidden_matrices_and_adamw_for_the_rest(corpus: Corpus) -> None:
    made, gradients = gradients_of(corpus, MUON)
    expected = {}
    for name, weight in made.model.named_parameters():
        copy = torch.nn.Parameter(weight.detach().clone())
        copy.grad = gradients[name].clone()
        rate, decays = rate_of(name, MUON)
        settings: dict[str, Any] = {"lr": 0.5 * rate, "weight_decay": MUON.decay_per_step / rate * decays}
        hidden = weight.dim() == 2 and "embed" not in name and "lm_head" not in name
        other = (
            torch.optim.Muon([copy], momentum=0.95, **settings)
            if hidden
            else torch.optim.AdamW([copy], betas=(0.9, 0.98), eps=1e-8, **settings)
        )
        assert ("momentum_buffer" in made.optimizer.state[weight]) == hidden
        other.state[copy] = {key: value.clone() for key, value in made.optimizer.state[weight].items()}
        other.step()
        expected[name] = copy.detach()
    set_rate(made.optimizer, 0.5)
    made.optimizer.step()
    for name, weight in made.model.named_parameters():
        assert torch.allclose(weight, expected[name], rtol=1e-5, atol=1e-7), name


@each_optimizer
@pytest.mark.parametrize("how", [ROADS[name] for name in ROADS if name in FLAGS], ids=[n for n in ROADS if n in FLAGS])
@pytest.mark.parametrize("parts", [64, 3], ids=["whole", "in parts"])
def test_an_update_in_cpp_is_that_of_torch_for_the_same_gradient(
    corpus: Corpus, how: Execution, spec: OptimizerSpec, parts: int
) -> None:
    made = training(corpus, how.model_copy(update={"micro_batch_sequences": parts}), spec)
    made.n_at_once = 3
    assert made.advance() is None
    other = training(corpus, CPU, spec)
    with torch.no_grad():
        for mine, theirs in zip(made.weights, other.weights, strict=True):
            theirs.copy_(mine)
            other.optimizer.state[theirs] = {name: t.clone() for name, t in made.optimizer.state[mine].items()}
    made.n_at_once = 1
    assert made.advance() is None
    assert isinstance(made.fast, NativeStep)
    for name, weight in other.model.named_parameters():
        weight.grad = made.fast.gradients[name].clone()
    gradients = [weight.grad for weight in other.weights if weight.grad is not None]
    if spec.kind == "sgd":  # for Muon, they were clipped in place
        clip_gradients(other.weights, torch.nn.utils.get_total_norm(gradients), spec.grad_clip)
    set_rate(other.optimizer, rate_factor(3, made.run.n_steps, made.run.schedule))
    other.optimizer.step()
    for mine, theirs in zip(state_of(made), state_of(other), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-7)


@each_optimizer
def test_momentum_reaches_the_trainer(corpus: Corpus, spec: OptimizerSpec) -> None:
    other = spec.model_copy(update={"momentum": 0.5})
    one, two = (losses_of(training(corpus, CPU, how), 8) for how in (spec, other))
    assert one[0] == two[0]
    assert one[-1] != two[-1]


@pytest.mark.parametrize("lost", ["optimizer.", "model.norm.weight", "of another optimizer"])
def test_a_checkpoint_without_what_the_optimizer_keeps_counts_as_absent(
    corpus: Corpus, tmp_path: Path, lost: str
) -> None:
    saved, path = training(corpus, CPU, OPTIMIZER if lost.startswith("of") else SGD), tmp_path / "state.safetensors"
    assert saved.step() is None
    save_checkpoint(path, "a" * 12, saved.model, saved.optimizer, saved.progress)
    if not lost.startswith("of"):
        with safe_open(path, framework="pt") as file:
            metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        save_file({key: value for key, value in tensors.items() if not key.startswith(lost)}, path, metadata)
    fresh = training(corpus, CPU, SGD)
    before = [weight.detach().clone() for weight in fresh.weights]
    assert load_checkpoint(path, "a" * 12, fresh.model, fresh.optimizer) is None
    assert all(torch.equal(one, other) for one, other in zip(before, fresh.weights, strict=True))


def test_a_torch_without_muon_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    model = build_model(RUN.shape, seed=0)
    assert isinstance(build_optimizer(model, SGD), torch.optim.SGD)
    with pytest.raises(IsoflopError, match=r"has no Muon, which recipe\.optimizer = 'muon' asks for"):
        build_optimizer(model, MUON)
