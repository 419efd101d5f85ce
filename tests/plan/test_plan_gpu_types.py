"""GPUs that are named for a plan, and what is said of a name that nobody knows."""

import pytest

from isoflop.errors import IsoflopError
from isoflop.plan.gpu_types import GPU_TYPES, parse_gpus
from isoflop.plan.guess import ON_A_GPU, guess_seconds
from isoflop.shape import ModelShape

SHAPE = ModelShape(n_layers=4, width=64, n_heads=4, head_dim=16, d_ff=176, vocab_size=257, context_length=128)


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("h100:8", "h100", 8), ("H100", "h100", 1), ("a100:2", "a100-80gb", 2), ("A100-40", "a100-40gb", 1),
        ("RTX 4090:4", "rtx-4090", 4), ("4090", "rtx-4090", 1), ("nvidia l40s : 16", "l40s", 16),
    ],
)  # fmt: skip
def test_a_type_and_a_number_are_read_as_people_write_them(text: str, name: str, number: int) -> None:
    choice = parse_gpus(text)
    assert (choice.gpu.name, choice.number) == (name, number)


@pytest.mark.parametrize(
    ("text", "said"),
    [("h1000:8", "nearest is h100"), ("rtx4090", "nearest is rtx-4090"), ("h100:0", "0 GPUs"), ("h100:1000000", "GPUs"),
     ("", "known are"), ("h100:many", "nearest is h100"), ("zzz", "known are")],
)  # fmt: skip
def test_what_is_no_type_or_number_is_said_with_the_nearest(text: str, said: str) -> None:
    with pytest.raises(IsoflopError) as error:
        parse_gpus(text)
    assert said in f"{error.value.message} {error.value.hint}"


def test_every_type_has_a_name_of_its_own_and_numbers_that_a_gpu_has() -> None:
    assert len({gpu.name for gpu in GPU_TYPES}) == len(GPU_TYPES)
    for gpu in GPU_TYPES:
        assert parse_gpus(gpu.name).gpu is gpu
        assert 5e13 < gpu.peak_flops_per_second < 1e16
        assert 2e10 < gpu.memory_bytes < 3e11
        assert 0.1 < gpu.price < 20


def test_arithmetic_of_half_the_speed_takes_twice_as_long_and_launches_do_not() -> None:
    steps = 1000 * (ON_A_GPU.fixed + 4 * ON_A_GPU.per_layer)
    whole, half = (guess_seconds(SHAPE, 1000, 1.5e14, "cuda", speed) for speed in (1.0, 0.5))
    assert (whole, half) == (pytest.approx(steps + 1.0), pytest.approx(steps + 2.0))
