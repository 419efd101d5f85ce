"""The device's own rate, measured: what model FLOPs utilisation is a share of.

Where C++ takes the step its product counts too: on some CPUs it is twice as fast as that of torch.
"""

import hashlib
import json
import math
import platform
import socket
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from isoflop.files import alone_at, remove_temporaries, write_atomically
from isoflop.rundir import Execution
from isoflop.train.native_step import native_product
from isoflop.train.precision import configure

SCHEMA_VERSION = 1
# A square product large enough to be bound by arithmetic, and how long products are timed. The best counts: what
# else runs on the machine only ever slows one.
SIDE = {"cpu": 1024, "cuda": 8192}
# The step in C++ is made for matrices that its cache holds.
NATIVE_SIDE = 512
SECONDS = 0.2
# On a GPU the two matrices take at most this share of the memory that is free: others may be about to ask for it.
MEMORY_SHARE = 1 / 16
# A device that was shared when it was measured is measured again by a worker that starts this much later, seconds.
AGAIN_AFTER = 600.0


def device_peak(folder: Path, execution: Execution, device_name: str) -> float:
    """FLOP/s of a large matrix product as `execution` computes it, kept in `folder`: the most ever measured there.

    Beside other programs a product is slow, so the device is measured again now and then; the rate only rises.
    """
    identity = {
        "host": socket.gethostname(),
        "device": device_name,
        "machine": platform.machine(),
        "dtype": execution.dtype,
        "n_threads": execution.n_threads,
        "torch": torch.__version__,
        **({"instructions": execution.instructions} if execution.step == "native" else {}),
    }
    path = folder / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]}.json"
    with alone_at(folder / ".lock"):  # the workers that start together wait: none is measured beside another
        remove_temporaries(folder)
        known = _read(path, identity)
        if known is not None and abs(time.time() - path.stat().st_mtime) < AGAIN_AFTER:
            return known
        rate = max(measure_peak(execution), known or 0.0)
        content = {"schema_version": SCHEMA_VERSION, **identity, "flops_per_second": rate}
        write_atomically(path, json.dumps(content, indent=1).encode())
        return rate


def _read(path: Path, identity: dict[str, object]) -> float | None:
    try:
        content = json.loads(path.read_bytes())
        rate = float(content.pop("flops_per_second"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    known = content == {"schema_version": SCHEMA_VERSION, **identity}
    return rate if known and math.isfinite(rate) and rate > 0 else None


def measure_peak(execution: Execution) -> float:
    """FLOP/s of the fastest of many products of two square matrices in the precision of `execution`."""
    device = configure(execution)
    dtype = torch.bfloat16 if execution.dtype == "bfloat16" else torch.float32
    side = SIDE[execution.device_kind]
    if device.type == "cuda":
        side = side_that_fits(side, torch.cuda.mem_get_info(device)[0], dtype.itemsize)
    fastest = _rate(torch_product, side, dtype, device)
    if execution.step == "native":
        fastest = max(fastest, _rate(native_product(execution.instructions), NATIVE_SIDE, dtype, device))
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what training does not ask for in these sizes, others may have
    return fastest


def torch_product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """torch's product of two matrices, waited for."""
    torch.mm(a, b, out=out)
    if a.is_cuda:
        torch.cuda.synchronize(a.device)


def _rate(
    multiply: Callable[[Tensor, Tensor, Tensor], None], side: int, dtype: torch.dtype, device: torch.device
) -> float:
    """FLOP/s of the fastest of many products of (side, side)."""
    # Drawn, not constant: a chip that switches fewer bits runs faster than training ever will.
    generator = torch.Generator(device).manual_seed(0)
    factor = torch.rand((side, side), device=device, dtype=dtype, generator=generator)
    product = torch.empty_like(factor)
    multiply(factor, factor, product)  # kernels are chosen and memory is touched
    fastest, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        multiply(factor, factor, product)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * side**3 / fastest


def side_that_fits(side: int, n_bytes_free: int, n_bytes_each: int) -> int:
    """`side`, or the half, quarter, ... of it at which two square matrices fit their share of the free memory.

    An eighth at the least: below that a product says little about the device.
    """
    halvings = (side >> i for i in range(3))
    return next((s for s in halvings if 2 * s * s * n_bytes_each <= MEMORY_SHARE * n_bytes_free), side >> 3)
