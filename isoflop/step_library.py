"""Which library of the C++ step (train/native/step.cc) this machine can use, and for which shapes.

No torch: estimates and engines ask, too.
"""

from pathlib import Path
from typing import Literal

from isoflop.hardware import cpu_flags
from isoflop.shape import ModelShape

# What the C++ step was compiled for; "" where it takes no step.
Instructions = Literal["", "avx2", "avx512"]

FOLDER = Path(__file__).parent / "train" / "native"
# What each library was compiled to use (setup.py), best first; names as in /proc/cpuinfo.
FLAGS: dict[Instructions, frozenset[str]] = {
    "avx512": frozenset({"avx2", "fma", "avx512f", "avx512vl", "avx512bw", "avx512dq"}),
    "avx2": frozenset({"avx2", "fma"}),
}


def usable_instructions() -> Instructions:
    """The best instruction set that this CPU has and a library was built for; "" for none."""
    usable = (name for name in FLAGS if library_path(name) is not None)
    return next(usable, "")


def library_path(instructions: Instructions) -> Path | None:
    """The library compiled for `instructions`; None where none was built or this CPU would not run it."""
    if instructions not in FLAGS or not FLAGS[instructions] <= cpu_flags():
        return None
    return next(iter(sorted(FOLDER.glob(f"_{instructions}.*so"))), None)


def supports(shape: ModelShape) -> bool:
    """Whether the C++ step can train `shape`."""
    return min(shape.as_dict().values()) > 0 and shape.head_dim % 2 == 0
