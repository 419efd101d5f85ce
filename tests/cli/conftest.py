"""What many commands need: a sweep that has run."""

import shutil
from pathlib import Path

import pytest

from tests.cli.test_cli_surface import SIMULATED
from tests.commands import isoflop


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a simulated sweep was planned and run, `drawn.toml`. For all modules: copy it to change it."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "drawn.toml").write_text(SIMULATED)
    isoflop("run", "drawn.toml", folder=folder)
    return folder


@pytest.fixture
def finished(simulated: Path, tmp_path: Path) -> Path:
    """A copy of it of the test's own."""
    return shutil.copytree(simulated, tmp_path / "finished")
