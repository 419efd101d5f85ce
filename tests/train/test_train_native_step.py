"""The step in C++ does what the plain step does, in every shape, and says when it cannot."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from isoflop.corpus import Corpus, heldout_sequences
from isoflop.rundir import Execution
from isoflop.rundir.layout import weights_path
from isoflop.shape import ModelShape
from isoflop.step_library import FLAGS, Instructions, library_path, supports
from isoflop.train.loop import Training
from isoflop.train.model import Decoder, build_model
from isoflop.train.native_step import NativeStep, parameter_names
from isoflop.train.optimizer import build_optimizer, clip_gradients, rates, set_rate
from isoflop.train.progress import Ending, Interrupted, StepUnavailable
from tests.run_examples import OPTIMIZER
from tests.train.conftest import CPU, StopAt, make_run, run_it
from tests.train.test_train_step_graph import losses_in_chunks

BUILT: list[Instructions] = [name for name in FLAGS if library_path(name) is not None]
needs_library = pytest.mark.skipif(
    not BUILT, reason="no library of the C++ step is built here for this CPU: python setup.py build_ext --inplace"
)
pytestmark = needs_library
each_library = pytest.mark.parametrize("instructions", BUILT)
# Widths, heads and contexts that fill no vector, and some that do; layers, width, heads, head_dim, d_ff, vocabulary,
# context.
SHAPES = [
    ModelShape(2, 16, 1, 16, 48, 257, 64),
    ModelShape(2, 14, 1, 14, 37, 257, 64),
    ModelShape(3, 36, 3, 12, 96, 257, 64),
    ModelShape(1, 10, 2, 6, 20, 100, 13),
    ModelShape(2, 24, 1, 2, 33, 65, 17),
    ModelShape(2, 64, 2, 40, 160, 300, 100),
    ModelShape(1, 128, 4, 32, 256, 257, 33),
    ModelShape(1, 18, 1, 18, 16, 20, 2),
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def native(instructions: Instructions) -> Execution:
    return CPU.model_copy(update={"step": "native", "instructions": instructions})


def awake_model(shape: ModelShape, dtype: torch.dtype = torch.float32) -> Decoder:
    """A model in which no gradient is zero: the head, at first zero, and the gains are random."""
    model = build_model(shape, seed=0)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.lm_head.weight.normal_(0.0, 0.3, generator=noise)
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(0.2 * torch.randn(weight.shape, generator=noise))
    return model.to(dtype)


def a_batch(shape: ModelShape, n_sequences: int = 3, n_steps: int = 1) -> Tensor:
    size = (n_steps, n_sequences, shape.context_length + 1)
    return torch.randint(shape.vocab_size, size, generator=torch.Generator().manual_seed(2))


def step_of(model: Decoder, instructions: Instructions, *, at_once: int = 3, between: Any = lambda: None) -> NativeStep:
    optimizer = build_optimizer(model, OPTIMIZER)
    return NativeStep(model, optimizer, instructions, grad_clip=OPTIMIZER.grad_clip, at_once=at_once, between=between)


def take(step: NativeStep, tokens: Tensor) -> list[tuple[float, float]]:
    return step.take(tokens, [rates(step._optimizer, 0.5)] * len(tokens))


def torch_gradients(model: Decoder, batch: Tensor) -> tuple[float, dict[str, Tensor]]:
    loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: w.grad for name, w in model.named_parameters() if w.grad is not None}


@each_library
@each_shape
@pytest.mark.parametrize("at_once", [3, 2], ids=["whole", "in parts"])
def test_gradients_are_those_of_torch_in_float64(instructions: Instructions, shape: ModelShape, at_once: int) -> None:
    tokens = a_batch(shape)
    step = step_of(awake_model(shape), instructions, at_once=at_once)
    loss, expected = torch_gradients(awake_model(shape, torch.float64), tokens[0])
    ((own_loss, norm),) = take(step, tokens)
    assert own_loss == pytest.approx(loss, rel=1e-6)
    assert norm == pytest.approx(float(torch.stack([g.norm() for g in expected.values()]).norm()), rel=1e-5)
    assert set(step.gradients) == set(expected)
    for name, gradient in expected.items():
        # torch's own float32 differs by 1e-6 to 4e-6 of the largest number.
        assert torch.allclose(step.gradients[name].double(), gradient, rtol=0, atol=2e-5 * float(gradient.abs().max()))


@each_library
@each_shape
def test_one_update_is_that_of_torch(instructions: Instructions, shape: ModelShape) -> None:
    """Clipping included: AdamW is told the same gradients, so that every weight must agree."""
    tokens = a_batch(shape)
    mine, other = awake_model(shape), awake_model(shape)
    step = step_of(mine, instructions)
    ((_, norm),) = take(step, tokens)
    optimizer = build_optimizer(other, OPTIMIZER)
    for name, weight in other.named_parameters():
        weight.grad = step.gradients[name].clone()
    clip_gradients(list(other.parameters()), torch.tensor(norm), OPTIMIZER.grad_clip)
    set_rate(optimizer, 0.5)
    optimizer.step()
    for (name, one), two in zip(mine.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-6), name
        for key in ("exp_avg", "exp_avg_sq", "step"):
            ours, theirs = step._optimizer.state[one][key], optimizer.state[two][key]
            assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-12), (name, key)


@each_library
@each_shape
def test_losses_of_sequences_are_those_of_torch_in_float64(instructions: Instructions, shape: ModelShape) -> None:
    """Whole sequences, more of them than the step takes at once, and weights that stay as they are."""
    tokens = a_batch(shape, n_sequences=7)[0]
    model = awake_model(shape)
    before = [w.detach().clone() for w in model.parameters()]
    found = step_of(model, instructions, at_once=3).losses(tokens)
    with torch.no_grad():
        logits = awake_model(shape, torch.float64)(tokens[:, :-1])
    expected = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").mean(dim=1)
    assert found.dtype == torch.float64
    # torch's own float32 differs by up to 4e-7 of these losses of 4 to 7.
    assert torch.allclose(found, expected, rtol=3e-7, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


@each_library
def test_how_sequences_are_grouped_changes_no_bit_of_their_losses(instructions: Instructions) -> None:
    tokens = a_batch(SHAPES[2], n_sequences=11)[0]
    whole = step_of(awake_model(SHAPES[2]), instructions, at_once=11).losses(tokens)
    for at_once, sizes in ((1, [11]), (3, [4, 7]), (2, [1, 1, 9])):
        step = step_of(awake_model(SHAPES[2]), instructions, at_once=at_once)
        assert torch.equal(torch.cat([step.losses(part) for part in tokens.split(sizes)]), whole)


@each_library
def test_losses_follow_the_weights_and_show_a_nan(instructions: Instructions) -> None:
    tokens = a_batch(SHAPES[1], n_sequences=2)
    model = awake_model(SHAPES[1])
    step = step_of(model, instructions)
    before = step.losses(tokens[0])
    take(step, tokens)
    after = step.losses(tokens[0])
    assert not torch.equal(before, after)
    assert torch.equal(step_of(model, instructions).losses(tokens[0]), after)
    with torch.no_grad():
        model.norm.weight[0] = math.nan
    assert bool(step.losses(tokens[0]).isnan().all())


@each_library
@each_shape
def test_the_heldout_loss_is_that_of_torch(corpus: Corpus, instructions: Instructions, shape: ModelShape) -> None:
    changes = {"shape": replace(shape, vocab_size=257), "eval_tokens": 2000}
    ours, plain = (
        trained_a_little(corpus, how.model_copy(update={"eval_batch_tokens": 300}), changes)
        for how in (native(instructions), CPU)
    )
    plain.model.load_state_dict(ours.model.state_dict())
    found, expected = ours.evaluate(), plain.evaluate()
    windows = heldout_sequences(corpus, n_tokens=2000, context_length=shape.context_length)
    assert found.nats_per_token == float(step_of(ours.model, instructions).losses(torch.from_numpy(windows)).mean())
    assert found.n_tokens == expected.n_tokens
    assert found.nats_per_token == pytest.approx(expected.nats_per_token, rel=1e-6)
    assert found.standard_error == pytest.approx(expected.standard_error, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(expected.bits_per_byte, rel=1e-6)
    assert ours.progress.eval_seconds > 0


def trained_a_little(corpus: Corpus, how: Execution, changes: dict[str, Any]) -> Training:
    made = Training(make_run(corpus, **changes), corpus, how, torch.device("cpu"), StopAt())
    assert made.advance() is None
    return made


@each_library
def test_an_evaluation_that_was_interrupted_is_taken_again_to_the_bit(
    corpus: Corpus, tmp_path: Path, instructions: Instructions
) -> None:
    run = make_run(corpus)
    how = native(instructions).model_copy(update={"eval_batch_tokens": 64})
    expected = run_it(run, corpus, tmp_path / "whole", how=how)
    # All steps are taken: what hears the request is the evaluation, after the first of its eight passes.
    stopped = run_it(run, corpus, tmp_path / "parts", stop_at=run.n_steps, how=how)
    assert (stopped.ending, stopped.progress.step) == (Ending.INTERRUPTED, run.n_steps)
    resumed = run_it(run, corpus, tmp_path / "parts", how=how)
    assert resumed.heldout == expected.heldout


def losses(corpus: Corpus, how: Execution, n_steps: int, **changes: object) -> list[float]:
    """Every loss, also those within a chunk."""
    made = Training(make_run(corpus, n_steps=n_steps, **changes), corpus, how, torch.device("cpu"), StopAt())
    return losses_in_chunks(made, n_steps)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES[:6], ids=str)
def test_two_hundred_losses_are_those_of_the_plain_step(corpus: Corpus, shape: ModelShape) -> None:
    changes = {
        "shape": replace(shape, vocab_size=257, context_length=min(shape.context_length, 40)),
        "optimizer": OPTIMIZER.model_copy(update={"learning_rate": 1e-3}),
    }
    plain = losses(corpus, CPU, 200, **changes)
    for instructions in BUILT:
        ours = losses(corpus, native(instructions), 200, **changes)
        assert len(ours) == 200
        # A rate at which rounding grows slowly: what is compared is the step, not chaos.
        assert ours == pytest.approx(plain, abs=2e-4)


@each_library
@pytest.mark.parametrize("name", parameter_names(SHAPES[1]))
def test_a_nan_in_any_weight_is_noticed_and_nothing_moves(instructions: Instructions, name: str) -> None:
    shape = SHAPES[1]
    tokens = a_batch(shape, n_steps=3)
    model = awake_model(shape)
    step = step_of(model, instructions)
    take(step, tokens[:2])
    poisoned = dict(model.named_parameters())[name].data
    place = (int(tokens[2, 0, 0]),) if name == "embed_tokens.weight" else (-1,)
    poisoned[place] = poisoned[place] * math.nan
    before = {n: w.detach().clone() for n, w in model.named_parameters()}
    moments = [step._optimizer.state[w]["exp_avg_sq"].clone() for w in model.parameters()]
    log = take(step, tokens[[2, 0, 1]])
    assert len(log) == 1
    assert math.isnan(log[0][0]) or math.isnan(log[0][1])
    for (n, weight), moment in zip(model.named_parameters(), moments, strict=True):
        assert torch.equal(weight.nan_to_num(7.0), before[n].nan_to_num(7.0))
        assert torch.equal(step._optimizer.state[weight]["exp_avg_sq"], moment)
        assert step._optimizer.state[weight]["step"] == 2


@each_library
@pytest.mark.parametrize("at_once", [3, 1], ids=["whole", "in parts"])
def test_the_size_of_chunks_changes_no_bit(instructions: Instructions, at_once: int) -> None:
    shape = SHAPES[1]
    tokens = a_batch(shape, n_steps=7)
    one, other = awake_model(shape), awake_model(shape)
    all_at_once = take(step_of(one, instructions, at_once=at_once), tokens)
    step = step_of(other, instructions, at_once=at_once)
    assert [numbers for part in tokens.split([1, 4, 2]) for numbers in take(step, part)] == all_at_once
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@each_library
def test_attention_weights_too_large_to_keep_are_computed_again(instructions: Instructions) -> None:
    shape = ModelShape(4, 8, 8, 2, 8, 20, 700)  # 4 layers x 3 x 700 tokens x 8 heads x 704 is above 2^24
    tokens = a_batch(shape)
    _, expected = torch_gradients(awake_model(shape, torch.float64), tokens[0])
    step = step_of(awake_model(shape), instructions)
    take(step, tokens)
    for name, gradient in expected.items():
        assert torch.allclose(step.gradients[name].double(), gradient, rtol=0, atol=5e-5 * float(gradient.abs().max()))


@each_library
@pytest.mark.parametrize("at_once", [64, 3], ids=["whole", "in parts"])
def test_an_interrupted_run_ends_with_the_same_bits(
    corpus: Corpus, tmp_path: Path, instructions: Instructions, at_once: int
) -> None:
    run = make_run(corpus, n_steps=2600)  # more than two chunks
    how = native(instructions).model_copy(update={"micro_batch_sequences": at_once})
    whole = run_it(run, corpus, tmp_path / "whole", how=how)
    assert whole.ending is Ending.COMPLETED
    for stop in (1, 500):
        part = run_it(run, corpus, tmp_path / "parts", stop_at=stop, how=how)
        assert (part.ending, part.progress.step >= stop) == (Ending.INTERRUPTED, True)
    resumed = run_it(run, corpus, tmp_path / "parts", how=how)
    assert resumed.heldout == whole.heldout
    assert resumed.progress.curve == whole.progress.curve
    one, other = (load_file(weights_path(tmp_path / part, run.run_id)) for part in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@each_library
def test_a_request_to_stop_is_heard_between_the_parts_of_a_step(instructions: Instructions) -> None:
    def stop() -> None:
        raise Interrupted

    shape = SHAPES[1]
    model = awake_model(shape)
    step = step_of(model, instructions, at_once=1, between=stop)
    before = [w.detach().clone() for w in model.parameters()]
    with pytest.raises(Interrupted):
        take(step, a_batch(shape))
    assert all(torch.equal(w, b) for w, b in zip(model.parameters(), before, strict=True))


def test_a_run_that_diverges_names_its_step(corpus: Corpus) -> None:
    made = Training(make_run(corpus), corpus, native(BUILT[0]), torch.device("cpu"), StopAt())
    made.n_at_once = 3
    assert made.advance() is None
    with torch.no_grad():
        made.model.norm.weight[0] = math.nan
    assert made.advance() == "step 4 of 40: loss nan, gradient norm nan"
    assert made.progress.step == 3


def test_a_token_outside_the_vocabulary_is_refused() -> None:
    step = step_of(awake_model(SHAPES[1]), BUILT[0])
    with pytest.raises(IndexError, match="outside the vocabulary of 257"):
        take(step, a_batch(SHAPES[1]) + 257)
    with pytest.raises(IndexError, match="outside the vocabulary of 257"):
        step.losses(a_batch(SHAPES[1])[0] - 257)


def test_an_instruction_set_that_is_not_here_is_said() -> None:
    with pytest.raises(StepUnavailable, match="no library of the step for this CPU"):
        step_of(awake_model(SHAPES[1]), "")


def test_shapes_that_torch_must_train_are_named() -> None:
    assert all(map(supports, SHAPES))
    assert not supports(replace(SHAPES[0], n_layers=0))
    assert not supports(replace(SHAPES[0], head_dim=15))
