"""Faults: the real command in real processes, disturbed by what really happens to long sweeps."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import Sandbox, done, make_sandbox, sandbox, undisturbed
from tests.faults.mounts import Mounts, why_no_mounts

__all__ = ["done", "sandbox", "undisturbed"]

# Twenty-one runs that take a moment in all: for faults of files, where nothing needs to be trained.
SIMULATED = """
name = "drawn"
budgets = [1e17, 3e17, 1e18]
trainer = "simulated"
[grid]
center_tokens_per_param = 20
"""


@pytest.fixture
def drawn(tmp_path: Path) -> Sandbox:
    """A folder with a simulated sweep, `tiny.toml`."""
    return make_sandbox(tmp_path, SIMULATED)


@pytest.fixture(scope="session")
def undrawn(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The simulated sweep, run once without any trouble."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("undrawn"), SIMULATED)
    sandbox.run("run", "tiny.toml")
    return sandbox


@pytest.fixture
def all_drawn(tmp_path: Path, undrawn: Sandbox) -> Sandbox:
    """The simulated sweep after its run: a copy for the test to damage."""
    return Sandbox(shutil.copytree(undrawn.folder, tmp_path, dirs_exist_ok=True))


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    """A mount namespace for the test's folder."""
    if reason := why_no_mounts(tmp_path):
        pytest.skip(reason)
    made = Mounts(Sandbox(tmp_path))
    yield made
    made.close()
