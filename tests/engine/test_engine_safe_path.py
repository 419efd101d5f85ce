"""Files of the working folder are data: none is imported, whatever it is called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import SWEEP, Sandbox

ONE_RUN = SWEEP.replace("[6e8, 1.2e9]", "[6e8]").replace("sizes = 3", "sizes = 1")
# What the coordinator, the fork server, the resource tracker and workers import, of the standard library and others.
NAMES = (
    "socket", "json", "torch", "numpy", "signal", "threading", "tempfile", "selectors", "random", "psutil", "pydantic",
    "traceback", "multiprocessing", "subprocess", "sqlite3", "typer", "rich", "statistics", "safetensors",
)  # fmt: skip
TRAP = """
import os
open(os.path.join(os.path.dirname(__file__), "imported"), "a").write(__name__ + " ")
raise SystemExit(9)
"""


@pytest.fixture
def trapped(sandbox: Sandbox) -> Sandbox:
    """The tiny sweep beside Python files whose import leaves a trace and ends the process."""
    for name in NAMES:
        (sandbox.folder / f"{name}.py").write_text(TRAP)
    (sandbox.folder / "tiny.toml").write_text(ONE_RUN)
    return sandbox


def test_a_sweep_trains_beside_files_called_like_modules(trapped: Sandbox) -> None:
    trapped.run("run", "tiny.toml", "--workers", "1")
    assert not (trapped.folder / "imported").exists()
    assert trapped.rows("select status, attempt from results") == [("completed", 1)]


PRINT_ENVIRONMENT = """
import os, time
from isoflop.engine.local.fork_server import ForkServer

def say(name):
    print([name for name in os.environ if name.startswith(("ISOFLOP", "PYTHONSAFE"))], flush=True)

if __name__ == "__main__":
    worker = ForkServer(say).start("worker", preload=[])
    while worker.is_alive():
        time.sleep(0.05)
    say("coordinator")
"""


def test_what_workers_start_finds_its_modules_as_ever(tmp_path: Path) -> None:
    """A safe path is for isoflop's own processes; a trainer of another make imports from where it lies."""
    (tmp_path / "ask.py").write_text(PRINT_ENVIRONMENT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ISOFLOP", "PYTHONSAFE"))}
    command = [sys.executable, "ask.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n[]\n", done.stderr


def test_torch_is_asked_for_gpus_beside_a_file_called_torch(trapped: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from isoflop.engine.local.devices import _torch_sees_cuda

    monkeypatch.chdir(trapped.folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not _torch_sees_cuda()
    assert not (trapped.folder / "imported").exists()


def test_a_checkout_that_is_not_installed_still_runs(tmp_path: Path) -> None:
    import isoflop

    (tmp_path / "isoflop").symlink_to(Path(isoflop.__file__).parent)
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(TRAP)
    command = [sys.executable, "-m", "isoflop", "plan", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Usage" in done.stdout, done.stderr
    assert not (tmp_path / "imported").exists()
