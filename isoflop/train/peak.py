"""The device's own rate, measured: what model FLOPs utilisation is a share of."""

import fcntl
import hashlib
import json
import platform
import socket
import time
from pathlib import Path

import torch
from torch import Tensor

from isoflop.files import remove_temporaries, write_atomically
from isoflop.rundir import Execution
from isoflop.train.precision import configure

SCHEMA_VERSION = 1
# A square product large enough to be bound by arithmetic, and how long products are timed. The best counts: what
# else runs on the machine only ever slows one.
SIDE = {"cpu": 1024, "cuda": 8192}
SECONDS = 0.2


def device_peak(folder: Path, execution: Execution, device_name: str) -> float:
    """FLOP/s of a large matrix product as `execution` computes it: measured once per device, kept in `folder`."""
    identity = {
        "host": socket.gethostname(),
        "device": device_name,
        "machine": platform.machine(),
        "dtype": execution.dtype,
        "n_threads": execution.n_threads,
        "torch": torch.__version__,
    }
    path = folder / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]}.json"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers that start together wait: none is measured beside another
        remove_temporaries(folder)
        known = _read(path, identity)
        if known is not None:
            return known
        measured = measure_peak(execution)
        content = {"schema_version": SCHEMA_VERSION, **identity, "flops_per_second": measured}
        write_atomically(path, json.dumps(content, indent=1).encode())
        return measured


def _read(path: Path, identity: dict[str, object]) -> float | None:
    try:
        content = json.loads(path.read_bytes())
        rate = float(content.pop("flops_per_second"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return rate if content == {"schema_version": SCHEMA_VERSION, **identity} and rate > 0 else None


def measure_peak(execution: Execution) -> float:
    """FLOP/s of the fastest of many products of two square matrices in the precision of `execution`."""
    device = configure(execution)
    side = SIDE[execution.device_kind]
    dtype = torch.bfloat16 if execution.dtype == "bfloat16" else torch.float32
    # Drawn, not constant: a chip that switches fewer bits runs faster than training ever will.
    generator = torch.Generator(device).manual_seed(0)
    factor = torch.rand((side, side), device=device, generator=generator).to(dtype)
    product = torch.empty_like(factor)
    _seconds(factor, product)  # kernels are chosen and memory is touched
    fastest, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        fastest = min(fastest, _seconds(factor, product))
    return 2 * side**3 / fastest


def _seconds(factor: Tensor, product: Tensor) -> float:
    started = time.perf_counter()
    torch.mm(factor, factor, out=product)
    if factor.is_cuda:
        torch.cuda.synchronize(factor.device)
    return time.perf_counter() - started
