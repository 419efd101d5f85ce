"""What workers need is loaded once, in the process they are forked from; a failed preload would only be slow."""

import pytest

from isoflop.step_library import usable_instructions
from tests.engine.conftest import SWEEP, Sandbox

# Python imports a module of this name at every start; what it registers runs in every child right after a fork.
AT_FORK = """
import os, sys
from pathlib import Path

class Late:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "torch._dynamo", "sympy"):
            Path(os.environ["FORKED"], f"{os.getpid()}-late").write_text(name)

def report():
    sys.meta_path.insert(0, Late())
    loaded = [name for name in ("torch", "torch._dynamo", "sympy") if name in sys.modules]
    Path(os.environ["FORKED"], str(os.getpid())).write_text(" ".join(loaded))

os.register_at_fork(after_in_child=report)
"""
COMPILER = "torch torch._dynamo sympy"
ONE_RUN = SWEEP.replace("[6e8, 1.2e9]", "[6e8]").replace("sizes = 3", "sizes = 1")


@pytest.mark.parametrize(
    ("trainer", "optimizer", "loaded"),
    [
        ("builtin", "adamw", "torch" if usable_instructions() else COMPILER),
        ("builtin", "muon", COMPILER),
        ("simulated", "adamw", ""),
    ],
    ids=["builtin", "muon", "simulated"],
)
def test_workers_are_forked_with_what_their_trainer_imports(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, trainer: str, optimizer: str, loaded: str
) -> None:
    (sandbox.folder / "site").mkdir()
    (sandbox.folder / "site" / "sitecustomize.py").write_text(AT_FORK)
    forked = sandbox.folder / "forked"
    forked.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(sandbox.folder / "site"))
    monkeypatch.setenv("FORKED", str(forked))
    text = ONE_RUN.replace("[grid]", f'trainer = "{trainer}"\n[grid]', 1)
    (sandbox.folder / "tiny.toml").write_text(text.replace("[recipe]", f'[recipe]\noptimizer = "{optimizer}"', 1))
    sandbox.run("run", "tiny.toml", "--workers", "1")
    [worker] = {path.read_text() for path in forked.iterdir()}
    assert worker == loaded
