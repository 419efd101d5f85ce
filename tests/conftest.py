"""How the suite is split: between two processes, into slow and fast tests, and by what is installed.

And no test leaves a process to the next.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.engine.conftest import end_what_was_started

# One thread per process, before anything loads a library that would start more: the suite has a process for each core,
# and threads that share a core wait for each other spinning (the coordinate check took 11 seconds of a core for 0.9).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whole sweeps with processes of their own, for `make test-sweeps`.
SWEEPS = ("tests/engine/", "tests/faults/")
SANDBOX = re.compile(r"\bSandbox\b|chaos")
# Left out unless they are asked for: they start clusters, of packages that few machines have.
CLUSTERS = "tests/clusters/"
PILOTS = "tests/pilots/"
# Slow tests there compute much in code that fast ones execute too: no line is counted, which would cost more than that.
NUMBERS = ("tests/fit/", "tests/sources/", "tests/plan/")
# A test that states so many seconds of a core is for `make test-long`.
LONG_SECONDS = 4.0
KIND = re.compile(r"\[(plain|accounting)\b")
NEEDS_TORCH = re.compile(
    r"^\s*(import|from) (torch|isoflop\.train|tests\.train|tests\.factory\.test_factory_counting)\b", re.MULTILINE
)

# An example that takes longer than hypothesis' 200 ms says that the machine is busy.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where whole sweeps are run all tests are slow; elsewhere a test that is says so itself. Some are long.

    What takes longest begins first, so that it is not what all others wait for.
    """
    seconds = Counter[str]()
    for item in items:
        is_sweep = item.nodeid.startswith(SWEEPS) and runs_sweeps(item.path)
        if is_sweep or item.nodeid.startswith(CLUSTERS):
            item.add_marker(pytest.mark.slow)
        if item.nodeid.startswith(CLUSTERS):
            item.add_marker(pytest.mark.cluster)
        slow = item.get_closest_marker("slow")
        took = (*slow.args, 1.0)[0] if slow else 0.05
        is_sweep = is_sweep or (slow is not None and item.nodeid.startswith(PILOTS))
        for mark, has_it in (
            ("sweep", is_sweep),
            ("long", took >= LONG_SECONDS),
            ("no_cover", slow and item.nodeid.startswith(NUMBERS)),
        ):
            if has_it:
                item.add_marker(mark)
        seconds[queue_of(item.nodeid)] += took
    items.sort(key=lambda item: -seconds[queue_of(item.nodeid)])


@cache
def runs_sweeps(file: Path) -> bool:
    """Whether tests of a file start sweeps, and not only look at parts of what does."""
    return SANDBOX.search(file.read_text(encoding="utf-8")) is not None


def queue_of(nodeid: str) -> str:
    """What one process of the suite runs in order: a file, or what of it is for one kind of cluster."""
    file, _, test = nodeid.partition("::")
    if nodeid.startswith(CLUSTERS) and (kind := KIND.search(test)):
        return f"{file}{kind[0]}"
    return file


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where torch is not installed, what imports it is left out; so are the tests of `make test-hf` elsewhere.

    Those of `make test-engines` are collected where `-m` has their marker.
    """
    if collection_path.is_dir() and collection_path.name == "clusters" and "cluster" not in config.option.markexpr:
        return True
    if collection_path.is_dir() and collection_path.name == "hf" and find_spec("transformers") is None:
        return True
    if find_spec("torch") is not None:
        return None
    if collection_path.is_dir():
        return collection_path.name == "train" or None
    if collection_path.suffix != ".py":
        return None
    return bool(NEEDS_TORCH.search(collection_path.read_text(encoding="utf-8"))) or None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says what is not there."""
    said = [] if "cluster" in config.option.markexpr else ["tests/clusters is left out: `make test-engines`"]
    if not find_spec("torch"):
        return [*said, "torch is not installed: tests that import it are left out"]
    return said if find_spec("transformers") else [*said, "tests/hf is left out: `make test-hf` installs what it needs"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A queue goes where there is room, in its own order."""
    config.option.loadscopereorder = False  # `pytest_collection_modifyitems` knows which are long
    from xdist.scheduler import LoadScopeScheduling

    class Queues(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return queue_of(nodeid)

    return Queues(config, log)


@pytest.fixture(autouse=True)
def _no_command_outlives_its_test() -> Iterator[None]:
    yield
    end_what_was_started()
