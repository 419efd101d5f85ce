"""The GPU path. Skips, with the reason, where there is no CUDA device."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from isoflop.corpus import Corpus
from isoflop.engine.local.devices import slot_options
from isoflop.run_spec import OptimizerSpec
from isoflop.rundir import Execution
from isoflop.rundir.layout import weights_path
from isoflop.train.batches import RESIDENT_SHARE, resident_batches, streamed_batches, training_batches
from isoflop.train.loop import Training
from isoflop.train.progress import Ending, StepUnavailable, Trained
from isoflop.train.worker import is_out_of_memory
from tests.train.conftest import StopAt, make_run, run_it
from tests.train.test_train_optimizers import each_optimizer, equal, state_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch sees none"),
]

CUDA = Execution(device_kind="cuda", dtype="float32", n_threads=1, micro_batch_sequences=64)
STEPS = pytest.mark.parametrize("step", ["eager", "graph"])


def loss_of(trained: Trained) -> float:
    assert trained.ending is Ending.COMPLETED and trained.heldout is not None
    return trained.heldout.nats_per_token


@STEPS
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-3), ("bfloat16", 2e-2)])
def test_the_loss_agrees_with_float32_on_the_cpu(
    corpus: Corpus, tmp_path: Path, dtype: str, tolerance: float, step: str
) -> None:
    """Tolerances: forty steps let rounding grow; bfloat16 keeps 8 bits of a product's inputs."""
    cpu = loss_of(run_it(make_run(corpus), corpus, tmp_path / "cpu"))
    cuda = loss_of(
        run_it(make_run(corpus), corpus, tmp_path / "cuda", how=CUDA.model_copy(update={"dtype": dtype, "step": step}))
    )
    assert cuda == pytest.approx(cpu, rel=tolerance)


@STEPS
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_interrupted_run_ends_with_the_same_bits(corpus: Corpus, tmp_path: Path, dtype: str, step: str) -> None:
    run, how = make_run(corpus), CUDA.model_copy(update={"dtype": dtype, "step": step})
    whole = run_it(run, corpus, tmp_path / "whole", how=how)
    assert run_it(run, corpus, tmp_path / "parts", how=how, stop_at=4).ending is Ending.INTERRUPTED
    assert run_it(run, corpus, tmp_path / "parts", how=how).heldout == whole.heldout
    one, other = (load_file(weights_path(tmp_path / part, run.run_id)) for part in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.filterwarnings("ignore")  # torch's compiler uses what torch itself warns of
def test_a_compiled_run_ends_like_a_plain_one_and_resumed_with_the_same_bits(corpus: Corpus, tmp_path: Path) -> None:
    run, plain = make_run(corpus), CUDA.model_copy(update={"dtype": "bfloat16", "step": "graph"})
    how = plain.model_copy(update={"compile": True})
    whole = run_it(run, corpus, tmp_path / "whole", how=how)
    assert loss_of(whole) == pytest.approx(loss_of(run_it(run, corpus, tmp_path / "plain", how=plain)), rel=2e-2)
    assert run_it(run, corpus, tmp_path / "parts", how=how, stop_at=4).ending is Ending.INTERRUPTED
    assert run_it(run, corpus, tmp_path / "parts", how=how).heldout == whole.heldout
    one, other = (load_file(weights_path(tmp_path / part, run.run_id)) for part in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("parts", [64, 3], ids=["whole", "micro-batches"])
def test_a_recorded_step_does_what_the_plain_one_does(corpus: Corpus, tmp_path: Path, parts: int) -> None:
    how = CUDA.model_copy(update={"micro_batch_sequences": parts})
    plain = loss_of(run_it(make_run(corpus), corpus, tmp_path / "eager", how=how))
    graph = loss_of(run_it(make_run(corpus), corpus, tmp_path / "graph", how=how.model_copy(update={"step": "graph"})))
    assert graph == pytest.approx(plain, rel=1e-4)


def test_a_recorded_step_that_is_not_finite_is_named_and_not_taken(corpus: Corpus) -> None:
    device = torch.device("cuda", 0)
    made = Training(make_run(corpus), corpus, CUDA.model_copy(update={"step": "graph"}), device, StopAt())
    assert made.advance() is None
    with torch.no_grad():
        made.model.lm_head.weight[0, 0] = float("nan")
    before = [weight.detach().clone() for weight in made.weights]
    assert made.advance() == f"step {made.progress.step + 1} of 40: loss nan, gradient norm nan"
    for weight, was in zip(made.weights, before, strict=True):
        assert torch.equal(torch.nan_to_num(weight), torch.nan_to_num(was))


@each_optimizer
def test_other_optimizers_are_recorded_do_what_the_plain_step_does_and_resume_to_the_bit(
    corpus: Corpus, tmp_path: Path, spec: OptimizerSpec
) -> None:
    run, how = make_run(corpus, optimizer=spec), CUDA.model_copy(update={"step": "graph"})
    plain = loss_of(run_it(run, corpus, tmp_path / "eager", how=CUDA))
    whole = run_it(run, corpus, tmp_path / "whole", how=how)
    assert loss_of(whole) == pytest.approx(plain, rel=1e-4 if spec.kind == "sgd" else 3e-2)
    assert run_it(run, corpus, tmp_path / "parts", how=how, stop_at=4).ending is Ending.INTERRUPTED
    assert run_it(run, corpus, tmp_path / "parts", how=how).heldout == whole.heldout
    one, other = (load_file(weights_path(tmp_path / part, run.run_id)) for part in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@each_optimizer
def test_a_recorded_step_of_another_optimizer_that_is_not_finite_moves_nothing(
    corpus: Corpus, spec: OptimizerSpec
) -> None:
    made = Training(
        make_run(corpus, optimizer=spec),
        corpus,
        CUDA.model_copy(update={"step": "graph"}),
        torch.device("cuda", 0),
        StopAt(),
    )
    assert made.advance() is None
    with torch.no_grad():
        made.model.lm_head.weight[0, 0] = float("nan")
    before = state_of(made)
    assert made.advance() == f"step {made.progress.step + 1} of 40: loss nan, gradient norm nan"
    assert equal(state_of(made), before)


def test_a_step_too_large_for_the_gpu_is_out_of_memory_and_a_smaller_one_runs_after_it(corpus: Corpus) -> None:
    """As a recorded step too: the worker's exit code rests on the kind of error."""
    device = torch.device("cuda", 0)
    held = torch.empty(int(torch.cuda.mem_get_info(device)[0] - 2**30), dtype=torch.uint8, device=device)
    large = make_run(corpus, batch_sequences=2**17)
    try:
        for step in ("eager", "graph"):
            how = CUDA.model_copy(update={"step": step, "micro_batch_sequences": 2**17})
            with pytest.raises(torch.OutOfMemoryError) as caught:
                Training(large, corpus, how, device, StopAt()).advance()
            assert is_out_of_memory(caught.value)
    finally:
        del held
        torch.cuda.empty_cache()
    small = Training(make_run(corpus), corpus, CUDA.model_copy(update={"step": "graph"}), device, StopAt())
    assert small.advance() is None


def test_every_visible_gpu_is_a_slot_of_its_own() -> None:
    slots = slot_options("cuda", None)[0]
    assert len(slots) == torch.cuda.device_count()
    assert len({slot.visible_device for slot in slots}) == len(slots)
    assert all(slot.memory_bytes > 0 for slot in slots)


def test_resident_batches_equal_streamed_ones_to_the_bit(corpus: Corpus) -> None:
    run, device = make_run(corpus), torch.device("cuda", 0)
    resident, streamed = resident_batches(run, corpus, device), streamed_batches(run, corpus, device)
    n_windows = (corpus.train.n_tokens - 1) // 32
    # Step after step without waiting: pinned memory must not be reused while it is being copied.
    steps = (0, 1, 2, 3, n_windows // 4, n_windows, 5 * n_windows)
    pairs = [(resident(step), streamed(step)) for step in steps]
    for step, (one, other) in zip(steps, pairs, strict=True):
        assert one.device == other.device == device
        assert one.dtype == other.dtype == torch.int64
        assert torch.equal(one, other)
        on_cpu = streamed_batches(run, corpus, torch.device("cpu"))(step)
        assert torch.equal(one.cpu(), on_cpu)


def test_a_small_corpus_lies_on_the_gpu_as_it_is_stored(corpus: Corpus) -> None:
    device = torch.device("cuda", 0)
    free, _ = torch.cuda.mem_get_info(device)
    assert corpus.train.n_bytes < RESIDENT_SHARE * free
    before = torch.cuda.memory_allocated(device)
    batches = training_batches(make_run(corpus), corpus, device)
    resident = torch.cuda.memory_allocated(device) - before
    assert corpus.train.n_bytes <= resident < corpus.train.n_bytes + 2**14
    assert batches(0).device == device


def test_what_cannot_be_recorded_is_said_and_nothing_has_moved(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 0)
    made = Training(make_run(corpus), corpus, CUDA.model_copy(update={"step": "graph"}), device, StopAt())
    before = [weight.detach().clone() for weight in made.weights]
    plain = made._accumulate
    monkeypatch.setattr(made, "_accumulate", lambda tokens: plain(tokens) * float(tokens.sum().item() >= 0))
    with pytest.raises(StepUnavailable):
        made.advance()
    assert all(torch.equal(one, other) for one, other in zip(before, made.weights, strict=True))
