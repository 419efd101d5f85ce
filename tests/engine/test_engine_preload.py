"""What workers need is loaded once, in the process they are forked from; a failed preload would only be slow."""

import pytest

from tests.engine.conftest import SWEEP, Sandbox

# Python imports a module of this name at every start; what it registers runs in every child right after a fork.
AT_FORK = """
import os, sys
from pathlib import Path

def report():
    loaded = [name for name in ("torch", "torch._dynamo", "sympy") if name in sys.modules]
    Path(os.environ["FORKED"], str(os.getpid())).write_text(" ".join(loaded))

os.register_at_fork(after_in_child=report)
"""
ONE_RUN = SWEEP.replace("[6e8, 1.2e9]", "[6e8]").replace("sizes = 3", "sizes = 1")


@pytest.mark.parametrize(
    ("trainer", "loaded"), [("builtin", "torch torch._dynamo sympy"), ("simulated", "")], ids=["builtin", "simulated"]
)
def test_workers_are_forked_with_what_their_trainer_imports(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, trainer: str, loaded: str
) -> None:
    (sandbox.folder / "site").mkdir()
    (sandbox.folder / "site" / "sitecustomize.py").write_text(AT_FORK)
    forked = sandbox.folder / "forked"
    forked.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(sandbox.folder / "site"))
    monkeypatch.setenv("FORKED", str(forked))
    (sandbox.folder / "tiny.toml").write_text(ONE_RUN.replace("[grid]", f'trainer = "{trainer}"\n[grid]', 1))
    sandbox.run("run", "tiny.toml", "--workers", "1")
    [worker] = {path.read_text() for path in forked.iterdir()}
    assert worker == loaded
