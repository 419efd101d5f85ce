"""How `make test` splits the suite between two processes, and that no test leaves a process to the next."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.conftest import end_what_was_started

# Whole sweeps with processes of their own, some of which must end within seconds: one at a time.
SWEEPS = ("tests/engine/", "tests/faults/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of whole sweeps are one queue; of all others, a file goes where there is room, in its own order."""
    from xdist.scheduler import LoadScopeScheduling

    class OneQueueOfSweeps(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "sweeps" if nodeid.startswith(SWEEPS) else nodeid.partition("::")[0]

    return OneQueueOfSweeps(config, log)


@pytest.fixture(autouse=True)
def _no_command_outlives_its_test() -> Iterator[None]:
    yield
    end_what_was_started()
