"""How many runs a GPU trains at once, and how that is measured."""

import os
import time
from functools import partial
from pathlib import Path

import pytest

from isoflop.engine.local.packing import packing, seconds_together
from isoflop.train.worker import is_device_error


@pytest.mark.parametrize(
    ("together", "k"),
    [
        pytest.param({}, 1, id="nothing measured"),
        pytest.param({2: 2.0, 4: 4.0}, 1, id="runs take turns: no gain"),
        pytest.param({2: 1.82}, 1, id="just below a tenth: 1.0989"),
        pytest.param({2: 1.81}, 2, id="just above a tenth: 1.105"),
        pytest.param({2: 1.2, 3: 1.5, 4: 2.4}, 3, id="the best of three: 2.0 against 1.67 twice"),
        pytest.param({2: 1.0, 4: 2.0}, 2, id="the fewest of equals"),
        pytest.param({1: 0.1}, 1, id="one alone is no packing"),
        pytest.param({2: 2.4}, 1, id="a loss"),
    ],
)
def test_runs_are_packed_where_steps_per_second_were_measured_to_grow_by_a_tenth(
    together: dict[int, float], k: int
) -> None:
    assert packing(1.0, together) == k


def at_once(folder: Path, n_processes: int) -> float:
    """1.0 where as many processes have come here, each once for itself and once together; else 0.0."""
    calls = folder / str(os.getpid())
    with calls.open("a") as file:
        file.write(".")
    deadline = time.monotonic() + 60
    while calls.stat().st_size == 2 and time.monotonic() < deadline:
        if sum(path.stat().st_size == 2 for path in folder.iterdir()) == n_processes:
            return 1.0
    return 0.0


def test_processes_are_timed_at_the_same_moment_after_one_call_to_warm_up(tmp_path: Path) -> None:
    assert seconds_together(partial(at_once, tmp_path, 2), 2) == 1.0


def ends() -> float:
    os._exit(3)


def test_a_process_that_ends_without_a_number_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="timed beside others ended"):
        seconds_together(ends, 2)


@pytest.mark.parametrize(
    ("error", "of_the_device"),
    [
        (RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA error: said by somebody else"), False),
    ],
)
def test_what_cuda_says_of_the_gpu_is_told_from_errors_of_the_run(error: Exception, of_the_device: bool) -> None:
    assert is_device_error(error) is of_the_device
