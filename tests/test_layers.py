"""Imports point downwards only, and light commands stay light."""

import ast
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import isoflop

ROOT = Path(isoflop.__file__).parent

LAYERS = (
    {"isoflop", "errors", "finding", "units", "files", "hardware", "processes", "registry"},
    {"shape", "result", "corpus_facts", "wording", "probes"},
    {"counting", "run_spec", "spec", "step_library"},
    {"rundir", "corpus", "plan"},
    {"train", "store", "fit"},
    {"engine", "sources", "decision", "status", "artifacts", "track"},
    {"sweep"},
    {"view"},
    {"report", "export"},
    {"cli", "__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Packages of one layer never see each other; modules of a layer may.
PACKAGES = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
# Notices are an engine's words; a display reads them and nothing else of it.
OF_THE_ENGINE = {("view", "isoflop.engine.notices")}
# The one module an engine hands to a child process; importing it loads no torch (tested below).
ENTRY_POINT = "isoflop.train.worker"


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


@cache
def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def part(module: str) -> str:
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "isoflop"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_layers(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts[0]
    own = "isoflop" if own == "__init__" else own
    for name in imports(path):
        if not name.startswith("isoflop") or part(name) == own:
            continue
        assert LEVEL[part(name)] <= LEVEL[own], f"{own} imports {name}, which lies above it"
        assert LEVEL[part(name)] < LEVEL[own] or not {own, part(name)} <= PACKAGES, f"{own} imports its sibling {name}"
        assert part(name) != "engine" or own in ("cli", "sweep") or (own, name) in OF_THE_ENGINE, (
            f"{own} imports {name}"
        )


def test_no_two_modules_have_one_name() -> None:
    names = Counter(path.name for path in modules() if path.name != "__init__.py")
    assert [name for name, number in names.items() if number > 1] == []


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_torch_typer_and_the_fit_stay_in_their_rooms(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    roots = {name.split(".")[0] for name in imports(path)}
    if own != "train":
        assert "torch" not in roots
    if own != "cli":
        assert "typer" not in roots
    if own == "fit":
        foreign = {
            name for name in imports(path) if name.startswith("isoflop") and part(name) not in ("fit", "finding")
        }
        assert not foreign


def loaded_after(code: str, folder: Path | None = None) -> set[str]:
    program = f"import sys\n{code}\nprint(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_loads_neither_torch_nor_anything_heavy() -> None:
    code = "from isoflop.cli import app\ntry: app(['--help'], prog_name='isoflop')\nexcept SystemExit: pass"
    heavy = {"torch", "scipy", "numpy", "matplotlib", "plotly", "pydantic", "sqlite_utils", "psutil", "safetensors"}
    assert not heavy & loaded_after(code)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a simulated sweep has run, and the id of one of its runs."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "s.toml").write_text('name = "s"\nbudgets = [1e17]\ntrainer = "simulated"\n[grid]\nsizes = 4\n')
    command = [sys.executable, "-m", "isoflop"]
    subprocess.run([*command, "run", "s.toml"], cwd=folder, capture_output=True, check=True)
    shown = subprocess.run([*command, "plan", "s.toml", "--json"], cwd=folder, capture_output=True, check=True)
    return folder, json.loads(shown.stdout)["runs"][0]["run_id"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    ["plan s.toml", "plan s.toml --json", "run s.toml", "run s.toml --json", "status s.toml", "status s.toml --json",
     "exclude RUN --reason spike", "include RUN", "clean", "clean --json"],
)  # fmt: skip
def test_what_neither_fits_nor_draws_loads_neither_scipy_nor_matplotlib(trained: tuple[Path, str], line: str) -> None:
    folder, run_id = trained
    arguments = line.replace("RUN", run_id).split()
    code = f"from isoflop.cli import app\ntry: app({arguments!r})\nexcept SystemExit as end: assert not end.code, end"
    assert not {"torch", "scipy", "matplotlib", "plotly"} & loaded_after(code, folder)


def test_the_worker_entry_point_loads_no_torch() -> None:
    assert "torch" not in loaded_after(f"import {ENTRY_POINT}")


@pytest.mark.slow
def test_a_fit_from_a_file_loads_no_torch() -> None:
    data = Path(__file__).parent / "data" / "llama3.csv"
    code = f"from isoflop.cli import app\ntry: app(['fit', {str(data)!r}, '--json'])\nexcept SystemExit: pass"
    assert not {"torch", "matplotlib"} & loaded_after(code)
