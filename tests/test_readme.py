"""The commands of README and guide run, and their numbers are those of the committed report."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from isoflop.units import format_count
from tests.cli.test_cli_surface import SURFACE, isoflop

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
REPORT = json.loads((ROOT / "docs" / "quickstart" / "report.json").read_text(encoding="utf-8"))


def commands(program: str, page: str = README) -> list[str]:
    """The command lines of a page's console blocks that start `program`."""
    blocks = re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if line.split()[0] == program]


def test_the_two_set_up_commands_come_first_and_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert commands("make") == ["make quickstart", "make test"]
    assert README.index("make quickstart") < README.index("$ isoflop")
    for command in commands("make"):
        assert re.search(rf"^{command.split()[1]}:", makefile, flags=re.MULTILINE)


def test_the_targets_that_contributing_lists_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = re.findall(
        r"^\| `make ([\w-]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert set(listed) == set(re.findall(r"^([\w-]+):.*##", makefile, flags=re.MULTILINE)) - {"help", "clean"}


@pytest.mark.parametrize("line", commands("isoflop", README + GUIDE))
def test_every_command_and_option_in_readme_and_guide_exists(line: str) -> None:
    words = shlex.split(line)
    assert {word for word in words if word.startswith("--")} <= SURFACE[words[1]] | {"--help"}


@pytest.mark.slow(25)
def test_the_four_commands_run_on_a_simulated_sweep(tmp_path: Path) -> None:
    """In the order of the README. `.ci/run` gives them for a sweep that is really trained."""
    (tmp_path / "sweeps").mkdir()
    sweep = (ROOT / "sweeps" / "quickstart.toml").read_text(encoding="utf-8")
    simulated = sweep.replace("\n[", '\ntrainer = "simulated"\n[', 1).replace("seeds = 4", "seeds = 2")
    (tmp_path / "sweeps" / "quickstart.toml").write_text(simulated)
    lines = [line for line in commands("isoflop", README + GUIDE) if "sweeps/quickstart.toml" in line]
    assert [line.split()[1] for line in lines[:5]] == ["plan", "run", "fit", "report", "status"]
    for line in lines:
        # A simulated sweep has no models, and a test no terminal to be redrawn.
        if not re.search("^isoflop (evaluate|export|sample)|--metric|--again|--watch", line):
            isoflop(*shlex.split(line)[1:], folder=tmp_path)
    assert (tmp_path / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.slow
def test_the_commands_on_runs_from_elsewhere_run(tmp_path: Path) -> None:
    fit, report = [shlex.split(line)[1:] for line in commands("isoflop", GUIDE) if "runs." in line]
    (tmp_path / "mine.toml").write_text('name = "mine"\nbudgets = [1e17, 1e18]\ntrainer = "simulated"\n')
    isoflop("run", "mine.toml", folder=tmp_path)
    rows = [{"budget_flops": 1e19, "N": n, "D": 1e19 / 6 / n, "loss": 2.5} for n in (1e8, 2e8, 4e8)]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "runs.csv").write_bytes((ROOT / "tests" / "data" / "llama3.csv").read_bytes())
    table = pa.Table.from_pylist(rows).rename_columns(["budget_flops", "n_params", "n_tokens", "loss"])
    parquet.write_table(table, tmp_path / "more-runs.parquet")
    document = json.loads(isoflop(*fit, "--json", folder=tmp_path).stdout)
    assert [source["label"] for source in document["sources"]] == ["mine", "elsewhere"]
    isoflop(*report, folder=tmp_path)
    assert (tmp_path / "pooled" / "report.json").exists()


def test_the_python_example_runs() -> None:
    [example] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "recommended (joint): D_opt ~ C^0.52" in done.stdout
    assert "parabola" in done.stdout and "C^0.537" in done.stdout


def test_the_numbers_in_readme_and_guide_are_those_of_the_committed_report() -> None:
    assert REPORT["simulated"] is False
    recommended = REPORT["estimators"]["recommended"]
    for page in (README, GUIDE):
        assert f"N_opt = {recommended['coef_n']:.3g} C^{recommended['exponent_a']:.3f}" in page
        assert f"D_opt = {recommended['coef_d']:.3g} C^{recommended['exponent_b']:.3f}" in page
    frontier = REPORT["frontier"]
    assert f"C^{frontier['exponent_a']:.3f}" in GUIDE and f"C^{frontier['exponent_b']:.3f}" in GUIDE
    for profile in REPORT["profiles"]:
        assert profile["vertex"] == "inside" and profile["n_points"] >= 6
        assert format_count(profile["n_opt"]) in GUIDE
        assert f"{profile['loss_opt']:.4f}" in GUIDE


def test_the_readme_gives_the_picture_and_the_answer_first_and_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 100
    first_screen = "\n".join(lines[:12])
    assert "figure.png" in first_screen and "N_opt = " in first_screen


def test_the_links_of_readme_and_docs_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
