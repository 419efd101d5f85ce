"""`isoflop plan` of a large sweep, of one that is partly done, and of a simulated one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from many_workers import dispatched
from scale import sweep_file

from isoflop.result import RunResult
from isoflop.store import open_store
from tests.cli.test_cli_surface import isoflop
from tests.store.store_examples import make_result

ROOT = Path(__file__).parents[2]

LARGE = """
name = "large"
budgets = [{budgets}]
trainer = "simulated"
[grid]
sizes = 30
half_width = 1.0
[recipe]
min_steps = 100000
"""
TRAINED = """
name = "trained"
budgets = [3e10, 1e11]
[grid]
sizes = 5
[model]
context_length = 64
[corpus]
source = "files"
paths = ["text.txt"]
[recipe]
min_steps = 20
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of 450 cells, more than half of which cannot be trained."""
    folder = tmp_path_factory.mktemp("large")
    budgets = ", ".join(f"{1e15 * 1.5**k:.6e}" for k in range(15))
    (folder / "large.toml").write_text(LARGE.format(budgets=budgets))
    return folder


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with the small sweep of a model that trains, and its text."""
    (tmp_path / "trained.toml").write_text(TRAINED)
    (tmp_path / "text.txt").write_text("".join(f"{k} is the square root of {k * k}.\n" for k in range(90_000)))
    return tmp_path


def plan(folder: Path, *options: str) -> str:
    (sweep,) = folder.glob("*.toml")
    return isoflop("plan", sweep.name, "--device", "cpu", "--workers", "1", *options, folder=folder).stdout


def document(folder: Path) -> dict[str, object]:
    shown = json.loads(plan(folder, "--json"))
    assert isinstance(shown, dict)
    return shown


def section(shown: str, title: str) -> list[str]:
    """The rows of a table: what follows its rule, up to the note or the next empty line."""
    lines = shown[shown.index(f"\n{title}\n") :].splitlines()[4:]
    return lines[: next((n for n, line in enumerate(lines) if not line.strip() or line.startswith("FLOPs")), None)]


def record(folder: Path, results: list[RunResult]) -> None:
    with open_store(folder / "isoflop.db", write=True) as store:
        for result in results:
            store.record(result)


def result(folder: Path, run_id: str, status: str = "completed") -> RunResult:
    with open_store(folder / "isoflop.db", write=False) as store:
        return make_result(store.run_spec(run_id), status)


def test_a_large_plan_shows_a_row_per_budget_and_says_where_all_runs_are(large: Path) -> None:
    shown, whole = plan(large), document(large)
    runs = whole["runs"]
    assert isinstance(runs, list) and len(runs) > 200
    rows = section(shown, "Runs by budget (D in tokens)")
    budgets = sorted({run["budget_flops"] for run in runs})
    assert len(rows) == len(budgets)
    for row, budget in zip(rows, budgets, strict=True):
        of_budget = [run for run in runs if run["budget_flops"] == budget]
        steps = [run["steps"] for run in of_budget]
        assert re.match(rf" *\S+ +{len(of_budget)} +{len(of_budget)} ", row)
        assert f" {min(steps)} to {max(steps)} " in row or len(steps) == 1
    assert "--json lists every run." in shown
    assert not any(run["run_id"] in shown for run in runs)


def test_many_dropped_cells_are_counted_by_budget_and_reason(tmp_path: Path) -> None:
    budgets = ", ".join(f"{1e14 * 1.5**k:.6e}" for k in range(15))
    (tmp_path / "large.toml").write_text(LARGE.format(budgets=budgets))
    shown, whole = plan(tmp_path), document(tmp_path)
    dropped = whole["dropped"]
    assert isinstance(dropped, list) and len(dropped) > 200
    rows = [line for line in shown.splitlines() if line.endswith("fewer optimizer steps than recipe.min_steps")]
    assert sum(int(row.split()[1]) for row in rows) == len(dropped)
    assert [row.split()[0] for row in rows] == list(dict.fromkeys(row.split()[0] for row in rows)), "a row per budget"
    assert "--json lists every cell with its own reason." in shown
    assert "fewer than recipe.min_steps = 100000" not in shown


def test_a_plan_of_as_many_budgets_as_a_screen_cannot_hold_is_cut(tmp_path: Path) -> None:
    budgets = ", ".join(f"{1e16 * 1.01**k:.6e}" for k in range(230))
    sweep = f'name = "many"\nbudgets = [{budgets}]\ntrainer = "simulated"\n[grid]\nsizes = 1\n'
    (tmp_path / "many.toml").write_text(sweep)
    shown = plan(tmp_path)
    assert "... and 30 more rows." in shown
    assert len(section(shown, "Runs by budget (D in tokens)")) >= 200
    assert len(shown.splitlines()) < 260


def test_findings_of_many_budgets_are_one_of_a_kind(tmp_path: Path) -> None:
    budgets = ", ".join(f"{1e16 * 1.1**k:.6e}" for k in range(80))
    sweep = f'name = "many"\nbudgets = [{budgets}]\ntrainer = "simulated"\n[grid]\nsizes = 1\n'
    (tmp_path / "many.toml").write_text(sweep)
    findings = document(tmp_path)["findings"]
    assert isinstance(findings, list)
    assert [finding["code"] for finding in findings] == ["few_sizes_planned", "no_room_below", "no_room_above"]
    assert {finding["values"]["n_budgets"] for finding in findings} == {80}


def test_one_run_at_one_budget_is_not_several(tmp_path: Path) -> None:
    sweep = 'name = "one"\nbudgets = [1e17]\ntrainer = "simulated"\n[grid]\nsizes = 1\n'
    (tmp_path / "one.toml").write_text(sweep)
    for text in (plan(tmp_path), plan(tmp_path, "--json")):
        assert not re.search(r"\b1 (runs|budgets|sizes|cells|rows|steps|tokens)\b", text)
    assert "1 run at 1 budget, " in plan(tmp_path)


def test_a_simulated_sweep_takes_no_time_and_the_text_says_nothing_of_it(large: Path) -> None:
    shown = plan(large)
    assert not re.search(r"\babout\b|guessed|measured|of disk|\btime\b", shown)
    estimate = document(large)["estimate"]
    assert isinstance(estimate, dict)
    assert estimate["seconds"] == 0


def test_what_has_a_result_is_done_and_needs_no_time(trained: Path) -> None:
    shown, before = plan(trained), document(trained)
    runs, first = before["runs"], before["estimate"]
    assert isinstance(runs, list) and isinstance(first, dict)
    assert (first["n_done"], first["n_pending"]) == (0, len(runs))
    assert " done" not in shown and "(guessed)" in shown and "remaining runs" not in shown
    ids = [run["run_id"] for run in runs]
    record(trained, [result(trained, ids[0]), result(trained, ids[1], "diverged")])
    shown, half = plan(trained), document(trained)["estimate"]
    assert isinstance(half, dict)
    assert f"2 of {len(ids)} runs done (1 diverged)" in shown and "for the remaining runs on 1 x" in shown
    assert (half["n_done"], half["n_pending"]) == (2, len(ids) - 2)
    assert 0 < half["seconds"] < first["seconds"]
    assert half["disk_bytes"] == first["disk_bytes"], "room is for the whole sweep"
    record(trained, [result(trained, run_id) for run_id in ids[2:]])
    shown, none = plan(trained), document(trained)["estimate"]
    assert isinstance(none, dict)
    assert (none["seconds"], none["n_pending"]) == (0, 0)
    assert f"{len(ids)} of {len(ids)} runs done (1 diverged)" in shown
    assert "about" not in shown and "of disk" in shown


def test_what_another_sweep_has_trained_is_done_too(trained: Path) -> None:
    runs = document(trained)["runs"]
    assert isinstance(runs, list)
    record(trained, [result(trained, runs[0]["run_id"])])
    content = (trained / "trained.toml").read_text()
    (trained / "trained.toml").write_text(content.replace('"trained"', '"other"'))
    shown = plan(trained, "--dry-run")
    assert f"1 of {len(runs)} runs done" in shown


@pytest.mark.slow
def test_the_program_that_dispatches_to_many_workers_runs(tmp_path: Path) -> None:
    (tmp_path / "scale.toml").write_text(sweep_file(3, 5))
    files = (tmp_path / "scale.toml", tmp_path / "isoflop.db", tmp_path / "artifacts")
    cost = dispatched(*files, n_workers=4, n_runs=8, seconds=0.3)
    assert cost.n_runs >= 8 and cost.most == 4 and cost.cpu > 0
    with open_store(tmp_path / "isoflop.db", write=False) as store:
        assert len(store.statuses()) == cost.n_runs


@pytest.mark.slow(20)
def test_the_program_that_measures_this_runs_and_records_what_it_plans(tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "benchmarks" / "scale.py"), "3", "5"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.search(r"^15 runs at 3 budgets, all recorded", done.stdout, flags=re.MULTILINE)
    assert (
        re.findall(r"^(plan|status|fit)\b", done.stdout, flags=re.MULTILINE)
        == ["plan"] * 3 + ["status"] * 2 + ["fit"] * 2
    )
