"""The fit stands on numpy, scipy and findings alone, and imports within it point downwards."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import isoflop.fit

PROGRAM = "import sys, isoflop.fit; print(*sorted(name for name in sys.modules))"
ROOT = Path(isoflop.fit.__file__).parent
# From the ground up; modules and folders of one line may see each other, but never in a circle.
LAYERS = (
    {"arrays", "newton", "intervals", "valley"},
    {"rows", "lines"},
    {"laws", "noise"},
    {"results"},
    {"estimators"},
    {"question", "budgets"},
    {"reading", "design", "compare", "as_json"},
    {"findings"},
    {"sweep"},
    {"fit"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def own_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(("isoflop", *(parts[:-1] if parts[-1] == "__init__" else parts)))


GRAPH = {
    own_name(path): {name for name in imported(path) if name.startswith("isoflop.fit")} for path in ROOT.rglob("*.py")
}


def part(module: str) -> str:
    return [*module.split("."), "fit"][2] if module != "isoflop.fit" else "fit"


def test_the_fit_imports_nothing_of_isoflop_but_findings():
    modules = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "scipy", "isoflop.fit.sweep"} <= set(modules)
    ours = {name for name in modules if name.split(".")[0] == "isoflop"}
    assert {name for name in ours if not name.startswith("isoflop.fit")} == {
        "isoflop",
        "isoflop.finding",
        "isoflop.registry",
    }
    assert not {"pydantic", "torch", "matplotlib", "scipy.stats", "sqlite_utils", "typer"} & set(modules)


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_a_module_of_the_fit_imports_only_from_its_own_layer_or_lower_ones(module):
    assert {name for name in GRAPH[module] if LEVEL[part(name)] > LEVEL[part(module)]} == set()


def test_no_module_of_the_fit_imports_itself_by_way_of_others():
    left = {module: set(names) for module, names in GRAPH.items()}
    while free := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in free}
    assert left == {}
