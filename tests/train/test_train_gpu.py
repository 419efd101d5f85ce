"""The GPU path. Skips, with the reason, where there is no CUDA device."""

from pathlib import Path

import pytest
import torch

from isoflop.corpus import Corpus
from isoflop.engine.devices import slot_options
from isoflop.rundir import Execution
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
