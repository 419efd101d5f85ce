"""GPUs to plan for where none is at hand: peak, memory and a typical price."""

import difflib
import re
from dataclasses import dataclass

from isoflop.errors import IsoflopError

# Of the GPU whose steps were measured (plan/guess.py): an H200, whose arithmetic is an H100's.
MEASURED_PEAK = 989e12
# More than any cluster has: beyond it a number is a slip of the keyboard.
MOST_GPUS = 100_000
_ON = re.compile(r"\s*([a-z0-9 ._-]+?)\s*(?::\s*(\d+))?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class GpuType:
    """A kind of GPU.

    Attributes:
        name: as people write it.
        product: as nvidia-smi names it, about.
        peak_flops_per_second: bfloat16 products with sums in float32, dense, by NVIDIA's data sheet.
        memory_bytes: of one.
        price: typical rental price of one for one hour in US dollars, on demand, late 2025; prices differ by a factor
            of two between providers, so that `--price` says what one's own is.
    """

    name: str
    product: str
    peak_flops_per_second: float
    memory_bytes: float
    price: float

    @property
    def speed(self) -> float:
        """Its arithmetic over that of the GPU whose steps were measured."""
        return self.peak_flops_per_second / MEASURED_PEAK


GPU_TYPES = (
    GpuType("h100", "NVIDIA H100 80GB HBM3", 989e12, 80 * 2**30, 2.50),
    GpuType("h100-pcie", "NVIDIA H100 PCIe", 756e12, 80 * 2**30, 2.20),
    GpuType("h200", "NVIDIA H200", 989e12, 140 * 2**30, 3.30),
    GpuType("b200", "NVIDIA B200", 2250e12, 180e9, 5.00),
    GpuType("a100-40gb", "NVIDIA A100-SXM4-40GB", 312e12, 40 * 2**30, 1.30),
    GpuType("a100-80gb", "NVIDIA A100-SXM4-80GB", 312e12, 80 * 2**30, 1.70),
    GpuType("l40s", "NVIDIA L40S", 362e12, 45e9, 0.95),
    GpuType("l4", "NVIDIA L4", 121e12, 22.5e9, 0.60),
    GpuType("a10", "NVIDIA A10", 125e12, 22.5e9, 0.75),
    GpuType("rtx-3090", "NVIDIA GeForce RTX 3090", 71e12, 24 * 2**30, 0.25),
    GpuType("rtx-4090", "NVIDIA GeForce RTX 4090", 165e12, 24 * 2**30, 0.45),
    GpuType("rtx-5090", "NVIDIA GeForce RTX 5090", 209e12, 31 * 2**30, 0.75),
    GpuType("rtx-a6000", "NVIDIA RTX A6000", 155e12, 48 * 2**30, 0.60),
)
_SHORT = {"a100": "a100-80gb", "a100-40": "a100-40gb", "a100-80": "a100-80gb", "h100-sxm": "h100", "3090": "rtx-3090",
          "4090": "rtx-4090", "5090": "rtx-5090", "a6000": "rtx-a6000"}  # fmt: skip


@dataclass(frozen=True)
class GpuChoice:
    """So many GPUs of a kind."""

    gpu: GpuType
    number: int


def parse_gpus(text: str) -> GpuChoice:
    """What `h100:8` means; a name alone is one GPU.

    Raises:
        IsoflopError: no such type, or no such number.
    """
    known = {gpu.name: gpu for gpu in GPU_TYPES}
    match = _ON.fullmatch(text)
    name = re.sub(r"[ _]+", "-", match[1].lower()).removeprefix("nvidia-") if match else text.strip().lower()
    name = _SHORT.get(name, name)
    number = int(match[2]) if match and match[2] else 1
    if name not in known:
        near = difflib.get_close_matches(name.partition(":")[0], [*known, *_SHORT], n=1, cutoff=0.3)
        nearest = f"The nearest is {_SHORT.get(near[0], near[0])}; " if near else ""
        raise IsoflopError(
            f"{text!r} names no type of GPU that isoflop knows.",
            hint=f"{nearest}known are {', '.join(known)}, each with a number, such as h100:8.",
        )
    if not 1 <= number <= MOST_GPUS:
        raise IsoflopError(f"{text!r} is {number} GPUs.", hint=f"Give a whole number from 1 to {MOST_GPUS}: {name}:8.")
    return GpuChoice(known[name], number)
