"""Determinism and precision: what is set before the first product, and which numbers are rounded to bfloat16."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from isoflop.corpus import Corpus
from isoflop.shape import ModelShape
from isoflop.train import peak
from isoflop.train.loop import Training
from isoflop.train.model import Decoder, build_model, rotary_tables, rotate
from isoflop.train.peak import measure_peak
from isoflop.train.precision import configure, forward_context
from tests.train.conftest import CPU, StopAt, make_run, run_it

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
BFLOAT16 = CPU.model_copy(update={"dtype": "bfloat16"})
SHAPE = ModelShape(2, 16, 1, 16, 32, 257, 32)


@pytest.fixture
def as_started(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch as a process finds it: not deterministic, and with TF32 as some set it."""
    was = torch.are_deterministic_algorithms_enabled(), torch.backends.cuda.matmul.allow_tf32
    monkeypatch.setenv(WORKSPACE, "")  # so that it is restored
    monkeypatch.delenv(WORKSPACE)
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.use_deterministic_algorithms(was[0])
    torch.backends.cuda.matmul.allow_tf32 = was[1]


def settings() -> tuple[bool, bool, bool, str | None]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
        os.environ.get(WORKSPACE),
    )


@pytest.mark.usefixtures("as_started")
def test_runs_are_deterministic_and_float32_means_float32() -> None:
    assert configure(CPU) == torch.device("cpu")
    assert settings() == (True, False, False, ":4096:8")
    assert torch.utils.deterministic.fill_uninitialized_memory is False
    os.environ[WORKSPACE] = ":16:8"
    configure(CPU)
    assert os.environ[WORKSPACE] == ":16:8"  # a person's own choice


class AtProducts(TorchDispatchMode):
    """Notes the settings at every matrix product: cuBLAS starts with the first and reads its variable then."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool, bool, str | None]] = []

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if f.name().split(".")[0] in ("aten::mm", "aten::addmm", "aten::bmm"):
            self.seen.append(settings())
        return f(*args, **(kwargs or {}))


@pytest.mark.usefixtures("as_started")
@pytest.mark.parametrize("work", ["peak", "training"])
def test_all_is_set_before_the_first_product(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setattr(peak, "SECONDS", 0.0)
    with AtProducts() as products:
        if work == "peak":
            measure_peak(CPU)
        else:
            run_it(make_run(corpus), corpus, tmp_path, stop_at=1)
    assert products.seen and set(products.seen) == {(True, False, False, ":4096:8")}


def test_under_bfloat16_weights_gradients_moments_and_loss_stay_float32(corpus: Corpus) -> None:
    made = Training(make_run(corpus), corpus, BFLOAT16, torch.device("cpu"), StopAt())
    loss = made._accumulate(made.batches(0))
    numbers = [loss, *made.weights, *(weight.grad for weight in made.weights)]
    assert made.step() is None
    numbers += [value for weight in made.weights for value in made.optimizer.state[weight].values()]
    assert len(numbers) == 1 + 5 * len(made.weights)
    assert {number.dtype for number in numbers} == {torch.float32}


def dtypes(model: Decoder, tokens: Tensor) -> dict[str, torch.dtype]:
    """Of every module's output, of what goes into the attention, and of the loss."""
    found = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda _, __, output, name=name: found.__setitem__(name, output.dtype))
    # Without a slice, for which a device that is not there would be asked.
    x = model.embed_tokens(tokens)
    for block in model.layers:
        x = block(x, model.cos, model.sin)
    logits = model.lm_head(model.norm(x))
    found["loss"] = F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten()).dtype
    return found


def cuda_dtypes() -> dict[str, torch.dtype]:
    """The same on a CUDA device that is none: its tensors have shapes and types, and autocast's rules for CUDA hold."""
    model = build_model(SHAPE, seed=0)
    with torch.no_grad(), FakeTensorMode():
        for module in model.modules():
            for name, weight in module.named_parameters(recurse=False):
                fake = torch.empty(weight.shape, device="cuda")
                setattr(module, name, torch.nn.Parameter(fake, requires_grad=False))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, torch.empty(buffer.shape, device="cuda"))
        tokens = torch.empty((1, 32), dtype=torch.int64, device="cuda")
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            return dtypes(model, tokens)
        finally:
            torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_only_products_are_bfloat16_and_the_residual_stream_its_norms_and_the_loss_are_not(device: str) -> None:
    if device == "cpu":
        with forward_context(BFLOAT16):
            found = dtypes(build_model(SHAPE, seed=0), torch.zeros(1, 32, dtype=torch.int64))
    else:
        found = cuda_dtypes()
    products = {name for name in found if name.endswith(("_proj", "lm_head", "self_attn", "mlp"))}
    of_heads = {name for name in found if name.endswith(("q_norm", "k_norm"))}
    rest = found.keys() - products - of_heads
    assert {name.split(".")[-1] for name in rest} == {
        "embed_tokens", "input_layernorm", "post_attention_layernorm", "norm", "0", "1", "loss",
    }  # fmt: skip
    assert {found[name] for name in products} == {torch.bfloat16}
    assert {found[name] for name in rest} == {torch.float32}
    # CUDA's autocast lists the norm among what it computes in float32, the CPU's does not: so are heads rotated.
    assert {found[name] for name in of_heads} == {torch.float32 if device == "cuda" else torch.bfloat16}


def test_a_rotation_in_bfloat16_is_hardly_less_exact_than_its_input() -> None:
    """Where it happens at all, on a CPU: measured 0.32 % of the rotated heads, 0.23 % when rotated in float32."""
    cos, sin = rotary_tables(1024, 64)
    heads = torch.randn(1, 4, 1024, 64, generator=torch.Generator().manual_seed(0))
    exact = rotate(heads.double(), cos.double(), sin.double())
    assert exact.dtype == torch.float64

    def error(of: Tensor) -> float:
        return float((of.double() - exact).norm() / exact.norm())

    rounded = heads.to(torch.bfloat16)
    in_bfloat16 = error(rotate(rounded, cos, sin))
    in_float32 = error(rotate(rounded.float(), cos, sin).to(torch.bfloat16))
    assert error(rotate(heads, cos, sin)) < 1e-6
    assert in_float32 < 0.0025
    assert in_bfloat16 < 1.5 * in_float32
