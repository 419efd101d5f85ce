"""The GPU path. Skips, with the reason, where there is no CUDA device."""

from pathlib import Path

import pytest
import torch

from isoflop.corpus import Corpus
from isoflop.engine.local.devices import slot_options
from isoflop.rundir import Execution
from isoflop.train.batches import RESIDENT_SHARE, resident_batches, streamed_batches, training_batches
from isoflop.train.progress import Ending, Trained
from tests.train.conftest import make_run, run_it

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch sees none"),
]

CUDA = Execution(device_kind="cuda", dtype="float32", n_threads=1, micro_batch_sequences=64)


def loss_of(trained: Trained) -> float:
    assert trained.ending is Ending.COMPLETED and trained.heldout is not None
    return trained.heldout.nats_per_token


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-3), ("bfloat16", 2e-2)])
def test_the_loss_agrees_with_float32_on_the_cpu(corpus: Corpus, tmp_path: Path, dtype: str, tolerance: float) -> None:
    """Tolerances: forty steps let rounding grow; bfloat16 keeps 8 bits of a product's inputs."""
    cpu = loss_of(run_it(make_run(corpus), corpus, tmp_path / "cpu"))
    cuda = loss_of(run_it(make_run(corpus), corpus, tmp_path / "cuda", how=CUDA.model_copy(update={"dtype": dtype})))
    assert cuda == pytest.approx(cpu, rel=tolerance)


def test_an_interrupted_run_goes_on_where_it_was(corpus: Corpus, tmp_path: Path) -> None:
    whole = loss_of(run_it(make_run(corpus), corpus, tmp_path / "whole", how=CUDA))
    assert run_it(make_run(corpus), corpus, tmp_path / "parts", how=CUDA, stop_at=17).ending is Ending.INTERRUPTED
    assert loss_of(run_it(make_run(corpus), corpus, tmp_path / "parts", how=CUDA)) == pytest.approx(whole, rel=1e-3)


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
