"""A tiny sweep, trained for real, whose runs are exported, sampled from and trained again."""

import shutil
from pathlib import Path

import pytest

from tests.commands import isoflop
from tests.engine.conftest import SWEEP


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `tiny.toml` has been trained: 3 runs at each of 2 budgets. Copy it to change it."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "text").mkdir()
    for number in range(30):
        lines = (f"line {line} of text {number}: the {line * number % 7} and the {line % 5}\n" for line in range(60))
        (folder / "text" / f"{number}.txt").write_text("".join(lines))
    (folder / "tiny.toml").write_text(SWEEP)
    isoflop("run", "tiny.toml", "--workers", "1", folder=folder)
    return folder


@pytest.fixture
def own(swept: Path, tmp_path: Path) -> Path:
    """A copy of it of the test's own."""
    return shutil.copytree(swept, tmp_path / "own")
