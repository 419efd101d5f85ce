"""The C++ step as two optional libraries, one per instruction set; everything else is in pyproject.toml."""

from setuptools import Extension, setup

# Strict floating point: a NaN must reach the loss or the norm. Traps and errno are nobody's here, contraction to fused
# multiply-adds is half of the speed.
COMMON = ["-std=c++17", "-O3", "-g0", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mprefer-vector-width=512"]


def library(instructions: str, flags: list[str]) -> Extension:
    """`step.cc` for one instruction set; left out where it does not compile: isoflop then uses torch's step."""
    return Extension(
        f"isoflop.train.native._{instructions}",
        ["isoflop/train/native/step.cc"],
        extra_compile_args=[*COMMON, *flags],
        language="c++",
        optional=True,
    )


setup(ext_modules=[library("avx2", AVX2), library("avx512", AVX512)])
