"""The fit stands on numpy, scipy and findings alone."""

import subprocess
import sys

PROGRAM = "import sys, isoflop.fit; print(*sorted(name for name in sys.modules))"


def test_the_fit_imports_nothing_of_isoflop_but_findings():
    modules = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "scipy", "isoflop.fit.sweep"} <= set(modules)
    ours = {name for name in modules if name.split(".")[0] == "isoflop"}
    assert {name for name in ours if not name.startswith("isoflop.fit")} == {"isoflop", "isoflop.finding"}
    assert not {"pydantic", "torch", "matplotlib", "scipy.stats", "sqlite_utils", "typer"} & set(modules)
