"""The measured peak, by a clock that only products move."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from isoflop.step_library import usable_instructions
from isoflop.train import peak
from isoflop.train.native_step import native_product
from isoflop.train.peak import AGAIN_AFTER, device_peak, measure_peak, side_that_fits
from tests.train.conftest import CPU

# Seconds of the first product, which warms up, and of those after it: the fourth of these ends the fifth of a second.
WARM_UP, PRODUCTS, NEVER_REACHED = 1e-4, (0.06, 0.03, 0.07, 0.05), 1e-3
FASTEST = 0.03


@dataclass
class ProductClock:
    """Every product takes as long as the script says; nothing else takes any time."""

    script: Iterator[float]
    now: float = 1e5
    products: list[Tensor] = field(default_factory=list)

    def perf_counter(self) -> float:
        return self.now

    def after(self, product: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def timed(left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
            self.now += next(self.script)
            self.products.append(left)
            return product(left, right, out=out)

        return timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ProductClock:
    clock = ProductClock(iter((WARM_UP, *PRODUCTS, NEVER_REACHED)))
    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=clock.perf_counter, time=time.time))
    monkeypatch.setattr(torch, "mm", clock.after(torch.mm))
    return clock


def test_the_peak_is_the_work_of_one_product_over_the_fastest_time_after_the_first(clock: ProductClock) -> None:
    measured = measure_peak(CPU)
    assert len(clock.products) == 1 + len(PRODUCTS)
    # each element of the product is a sum over a row and a column: as many multiplications as additions
    n_elements, n_terms = clock.products[0].numel(), clock.products[0].shape[1]
    assert n_elements == n_terms**2
    assert measured == pytest.approx((n_elements * n_terms + n_elements * n_terms) / FASTEST, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_products_have_the_precision_that_training_has(clock: ProductClock, dtype: torch.dtype) -> None:
    measure_peak(CPU.model_copy(update={"dtype": str(dtype).removeprefix("torch.")}))
    assert {product.dtype for product in clock.products} == {dtype}


def test_a_peak_is_measured_once_for_each_way_of_computing_on_a_device(clock: ProductClock, tmp_path: Path) -> None:
    clock.script = iter([WARM_UP, 0.25, WARM_UP, 0.5, WARM_UP, 1.0])
    first = device_peak(tmp_path, CPU, "Some CPU")
    assert device_peak(tmp_path, CPU.model_copy(update={"micro_batch_sequences": 1}), "Some CPU") == first
    two_threads = device_peak(tmp_path, CPU.model_copy(update={"n_threads": 2}), "Some CPU")
    other_device = device_peak(tmp_path, CPU, "Other CPU")
    assert [first / two_threads, first / other_device] == pytest.approx([2, 4])
    assert device_peak(tmp_path, CPU, "Some CPU") == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda _: "[]",
        lambda _: "[" * 100_000,
        lambda text: text.replace("cpu", "gpu", 1).replace("CPU", "GPU"),
        lambda text: text.replace('"flops_per_second": ', '"flops_per_second": 1' + 400 * "0"),
    ],
    ids=["cut short", "no object", "deep", "of another device", "beyond every float"],
)
def test_a_damaged_record_is_measured_again(clock: ProductClock, tmp_path: Path, damage: Callable[[str], str]) -> None:
    clock.script = iter([WARM_UP, 0.25, WARM_UP, 0.5])
    first = device_peak(tmp_path, CPU, "Some CPU")
    [record] = tmp_path.glob("*.json")
    record.write_text(damage(record.read_text()))
    assert device_peak(tmp_path, CPU, "Some CPU") == pytest.approx(first / 2)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_recorded_rate_that_no_device_has_is_measured_again(clock: ProductClock, tmp_path: Path, rate: float) -> None:
    clock.script = iter([WARM_UP, 0.25, WARM_UP, 0.5])
    first = device_peak(tmp_path, CPU, "Some CPU")
    [record] = tmp_path.glob("*.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "flops_per_second": rate}))
    assert device_peak(tmp_path, CPU, "Some CPU") == pytest.approx(first / 2)


def test_a_device_is_measured_again_now_and_then_and_its_rate_only_rises(clock: ProductClock, tmp_path: Path) -> None:
    clock.script = iter([WARM_UP, 0.5, WARM_UP, 1.0, WARM_UP, 0.25])
    beside_others = device_peak(tmp_path, CPU, "Some CPU")

    def later(seconds: float) -> float:
        [record] = tmp_path.glob("*.json")
        os.utime(record, (time.time() - seconds,) * 2)
        return device_peak(tmp_path, CPU, "Some CPU")

    assert later(AGAIN_AFTER / 2) == beside_others
    assert len(clock.products) == 2
    assert later(AGAIN_AFTER + 1) == beside_others  # twice as slow this time
    assert len(clock.products) == 4
    assert later(AGAIN_AFTER / 2) == beside_others
    assert later(AGAIN_AFTER + 1) == pytest.approx(2 * beside_others)
    assert len(clock.products) == 6


@pytest.mark.skipif(not usable_instructions(), reason="the step in C++ is not built here")
def test_where_cpp_takes_the_step_its_product_counts_and_is_a_product(tmp_path: Path) -> None:
    native = CPU.model_copy(update={"step": "native", "instructions": usable_instructions()})
    a, b, out = torch.rand(48, 48), torch.rand(48, 48), torch.empty(48, 48)
    native_product(native.instructions)(a, b, out)
    assert torch.allclose(out, torch.matmul(a, b), rtol=1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "mm", lambda a, b, *, out: time.sleep(0.5))
        assert device_peak(tmp_path, native, "Some CPU") > 10 * device_peak(tmp_path, CPU, "Some CPU")
    assert len(list(tmp_path.glob("*.json"))) == 2


GIB = 2**30


@pytest.mark.parametrize(
    ("n_bytes_free", "n_bytes_each", "side"),
    [(78 * GIB, 2, 8192), (8 * GIB, 4, 8192), (7 * GIB, 4, 4096), (7 * GIB, 2, 8192), (GIB, 4, 2048), (0, 4, 1024)],
)
def test_where_little_memory_is_free_the_product_is_smaller(n_bytes_free: int, n_bytes_each: int, side: int) -> None:
    assert side_that_fits(8192, n_bytes_free, n_bytes_each) == side
