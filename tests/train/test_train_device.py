"""What a step asks of the host and which tensors it works on: what a GPU would wait for, told on a CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from isoflop.corpus import Corpus
from isoflop.step_library import usable_instructions
from isoflop.train.batches import streamed_batches
from isoflop.train.checkpoint import load_checkpoint
from isoflop.train.loop import Training
from tests.train.conftest import CPU, StopAt, make_run

GRAPH = CPU.model_copy(update={"step": "graph"})
DEVICE = torch.device("cpu")
# What Python calls, and what operations call, to learn a value that lies on the device.
ASKED = {
    "__array__", "__bool__", "__complex__", "__contains__", "__float__", "__format__", "__index__", "__int__",
    "__repr__", "cpu", "equal", "is_nonzero", "item", "nonzero", "numpy", "tolist",
}  # fmt: skip
OPERATIONS = {"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::item", "aten::nonzero"}


class OfOperations(TorchDispatchMode):
    def __init__(self, reads: list[str]) -> None:
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if f.name() in OPERATIONS:
            self.reads.append(f.name())
        return f(*args, **(kwargs or {}))


class HostReads(TorchFunctionMode):
    """Notes by name what waits for the device; on a CPU the same calls are made and cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.below = OfOperations(self.reads)

    def __enter__(self) -> "HostReads":
        self.below.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.below.__exit__(*error)

    def __torch_function__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(f, "__name__", "") in ASKED:
            self.reads.append(f.__name__)
        return f(*args, **(kwargs or {}))


def training(corpus: Corpus, **changes: object) -> Training:
    return Training(make_run(corpus), corpus, GRAPH.model_copy(update=changes), DEVICE, StopAt())


@pytest.mark.parametrize("parts", [64, 3], ids=["whole", "micro-batches"])
def test_the_host_reads_once_for_all_steps_of_a_chunk(corpus: Corpus, parts: int) -> None:
    made = training(corpus, micro_batch_sequences=parts)
    made.n_at_once = 3
    with HostReads() as host:
        assert made.advance() is None
    assert (made.progress.step, host.reads) == (3, ["tolist"])
    assert made.fast is not None
    made.fast._row.zero_()
    with HostReads() as host:
        made.fast._step()
    assert host.reads == []


def test_a_plain_step_reads_once(corpus: Corpus) -> None:
    made = training(corpus, step="eager")
    with HostReads() as host:
        assert made.advance() is None
    assert (made.progress.step, host.reads) == (1, ["tolist"])


READS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda loss: loss.item(),
    "tolist": lambda loss: loss.tolist(),
    "float": float,
    "bool": bool,
    "cpu": lambda loss: loss.cpu(),
    "numpy": lambda loss: loss.numpy(),
    "nonzero": lambda loss: loss.nonzero(),
    "a mask": lambda loss: loss[loss > 0],
}


@pytest.mark.parametrize("read", READS)
def test_a_step_that_reads_would_be_noticed(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, read: str) -> None:
    made = training(corpus)
    plain = made._accumulate

    def reading(tokens: Tensor) -> Tensor:
        loss = plain(tokens)
        READS[read](loss)
        return loss

    monkeypatch.setattr(made, "_accumulate", reading)
    made.n_at_once = 1
    with HostReads() as host:
        assert made.advance() is None
    assert len(host.reads) >= 2


def test_streamed_batches_are_pinned_once_for_all_steps_of_a_chunk_and_sent_without_waiting(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU: pinning and sending are noted, and the tokens stay where they are."""
    cuda, sent, to = torch.device("cuda"), [], Tensor.to

    def pinned(tokens: Tensor) -> Tensor:
        sent.append("pinned")
        return tokens

    def moved(tokens: Tensor, *where: Any, **how: Any) -> Tensor:
        if where != (cuda,):
            return to(tokens, *where, **how)
        sent.append(how)
        return tokens

    monkeypatch.setattr(Tensor, "pin_memory", pinned)
    monkeypatch.setattr(Tensor, "to", moved)
    made = training(corpus)
    made.batches = streamed_batches(made.run, corpus, cuda)
    for n_steps in (4, 6):
        made.n_at_once = n_steps
        assert made.advance() is None
    assert made.progress.step == 10
    assert sent == ["pinned", {"non_blocking": True}] * 2


@pytest.mark.parametrize("step", ["graph", "native"])
def test_a_resumed_step_works_on_the_moments_of_the_checkpoint(corpus: Corpus, tmp_path: Path, step: str) -> None:
    """A recorded step has the addresses of its tensors in it: they must be those that loading leaves."""
    instructions = usable_instructions() if step == "native" else ""
    if step == "native" and not instructions:
        pytest.skip("the C++ step was not built here")
    begun, resumed = (training(corpus, step=step, instructions=instructions) for _ in range(2))
    assert begun.advance() is None
    begun.save(tmp_path / "state")
    at = load_checkpoint(tmp_path / "state", resumed.run.run_id, resumed.model, resumed.optimizer)
    assert at is not None and resumed.fast is None
    resumed.progress = at
    loaded = [dict(resumed.optimizer.state[weight]) for weight in resumed.weights]
    before = [{key: value.clone() for key, value in state.items()} for state in loaded]
    for state, weight in zip(before, begun.weights, strict=True):
        assert all(torch.equal(value, begun.optimizer.state[weight][key]) for key, value in state.items())
    assert resumed.advance() is None and at.step > begun.progress.step
    for weight, state, was in zip(resumed.weights, loaded, before, strict=True):
        assert all(resumed.optimizer.state[weight][key] is value for key, value in state.items())
        assert float(state["step"]) == at.step
        assert not torch.equal(state["exp_avg"], was["exp_avg"])
