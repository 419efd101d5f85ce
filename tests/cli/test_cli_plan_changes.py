"""A changed sweep file: `plan` and `run` say what that changes before they write it."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.test_cli_surface import SIMULATED, isoflop
from tests.databases import make_older, opened

WIDER = SIMULATED.replace("1e17, 3e17, 1e18", "1e17, 1e18").replace("[grid]", "[grid]\nsizes = 9\nhalf_width = 0.8")


@pytest.fixture(scope="module")
def changed(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose sweep was run, and whose sweep file has changed since."""
    folder = copy(simulated, tmp_path_factory.mktemp("changed"))
    (folder / "drawn.toml").write_text(WIDER)
    return folder


def cells(folder: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{folder / 'isoflop.db'}?mode=ro", uri=True)) as connection:
        return {run for (run,) in connection.execute("select run_id from cells where run_id is not null")}


def document(folder: Path, *arguments: str) -> dict[str, object]:
    shown = json.loads(isoflop("plan", "drawn.toml", "--json", *arguments, folder=folder).stdout)
    assert isinstance(shown, dict)
    return shown


def copy(source: Path, target: Path) -> Path:
    for name in ("drawn.toml", "isoflop.db"):
        (target / name).write_bytes((source / name).read_bytes())
    return target


@pytest.mark.slow
def test_a_dry_run_shows_the_changes_and_leaves_every_file_alone(changed: Path) -> None:
    def digests() -> dict[str, str]:
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in changed.iterdir() if p.is_file()}

    before = digests()
    shown = isoflop("plan", "drawn.toml", "--dry-run", folder=changed).stdout
    assert digests() == before
    lines = shown.splitlines()
    assert lines[2].startswith("Changed since it was last planned: 2 runs kept, 16 new, 19 no longer asked for")
    assert "  budgets: [1e17, 3e17, 1e18] -> [1e17, 1e18]" in lines
    assert "  grid.sizes: 7 -> 9" in lines
    assert "... and 12 more" in lines and "... and 15 more" in lines
    assert lines.index("New") < lines.index("No longer asked for") < lines.index("Runs")
    assert lines[-1] == "Dry run: nothing was written."


def test_the_changes_in_json_are_those_of_the_tables(changed: Path, tmp_path: Path) -> None:
    folder = copy(changed, tmp_path)
    old = cells(folder)
    changes = document(folder)["changes"]
    new = cells(folder)
    assert isinstance(changes, dict)
    assert set(changes) == {"kept", "new", "no_longer_asked_for", "corpus_fingerprint", "keys"}
    assert set(changes["kept"]) == old & new
    assert set(changes["new"]) == new - old
    assert set(changes["no_longer_asked_for"]) == old - new
    assert changes["keys"] == {
        "budgets": {"old": [1e17, 3e17, 1e18], "new": [1e17, 1e18]},
        "grid.sizes": {"old": 7, "new": 9},
        "grid.half_width": {"old": 0.65, "new": 0.8},
    }
    again = document(folder)["changes"]
    assert isinstance(again, dict)
    assert (set(again["kept"]), again["new"], again["no_longer_asked_for"], again["keys"]) == (new, [], [], {})
    assert "Changed since" not in isoflop("plan", "drawn.toml", folder=folder).stdout


@pytest.mark.slow
def test_results_of_runs_no_longer_asked_for_stay_and_serve_again(changed: Path, tmp_path: Path) -> None:
    folder = copy(changed, tmp_path)
    assert "(19 results stay in the database)" in isoflop("plan", "drawn.toml", folder=folder).stdout.replace("\n", "")
    (folder / "drawn.toml").write_text(SIMULATED)
    shown = isoflop("plan", "drawn.toml", folder=folder).stdout
    new = shown[shown.index("\nNew\n") : shown.index("\nNo longer asked for\n")]
    assert new.count("completed") == 4, "each of the four runs that are named has its result"
    assert isoflop("run", "drawn.toml", folder=folder).stdout.startswith("drawn: 21 completed")


@pytest.mark.slow
def test_run_says_in_one_line_what_changed(changed: Path, tmp_path: Path) -> None:
    folder = copy(changed, tmp_path)
    done = isoflop("run", "drawn.toml", "--json", folder=folder)
    said = [line for line in done.stderr.splitlines() if "changed since it was last planned" in line]
    assert len(said) == 1
    assert "2 runs kept, 16 new, 19 no longer asked for" in said[0]
    assert said[0].endswith(" changed in the sweep file.")
    json.loads(done.stdout)
    assert "changed since" not in isoflop("run", "drawn.toml", folder=folder).stderr


def test_a_change_that_touches_no_run_is_shown_too(changed: Path, tmp_path: Path) -> None:
    folder = copy(changed, tmp_path)
    (folder / "drawn.toml").write_text(SIMULATED + '[run]\nkeep = "none"\n')
    shown = isoflop("plan", "drawn.toml", folder=folder).stdout
    assert '  run.keep: "best-per-budget" -> "none"' in shown
    assert "21 runs kept, 0 new, 0 no longer asked for" in shown


def test_a_first_plan_has_no_changes_and_a_dry_run_of_it_makes_no_database(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    dry = isoflop("plan", "drawn.toml", "--dry-run", "--json", folder=tmp_path)
    assert json.loads(dry.stdout)["changes"] is None
    assert "nothing was written" in dry.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"drawn.toml"}
    first = isoflop("plan", "drawn.toml", "--json", folder=tmp_path).stdout
    assert first == dry.stdout
    assert (tmp_path / "isoflop.db").exists()


def test_keys_written_by_another_version_are_not_compared(changed: Path, tmp_path: Path) -> None:
    folder = copy(changed, tmp_path)
    with opened(folder / "isoflop.db") as connection:
        connection.execute("update sweeps set spec_json = json_set(spec_json, '$.colour', 'red')")
    assert "written by another version" in isoflop("plan", "drawn.toml", "--dry-run", folder=folder).stdout
    changes = document(folder, "--dry-run")["changes"]
    assert isinstance(changes, dict) and changes["keys"] is None
    assert len(changes["new"]) == 16
    isoflop("plan", "drawn.toml", folder=folder)
    assert document(folder)["changes"]["keys"] == {}  # type: ignore[index]


def test_a_database_of_an_older_isoflop_is_planned_and_decided_about(simulated: Path, tmp_path: Path) -> None:
    folder = copy(simulated, tmp_path)
    before = cells(folder)
    make_older(folder / "isoflop.db")
    older = (folder / "isoflop.db").read_bytes()
    for command in ("fit", "status"):
        isoflop(command, "drawn.toml", folder=folder)
    isoflop("plan", "drawn.toml", "--dry-run", folder=folder)
    assert (folder / "isoflop.db").read_bytes() == older
    isoflop("plan", "drawn.toml", folder=folder)
    assert cells(folder) == before
    isoflop("fit", "drawn.toml", folder=folder)
    (folder / "isoflop.db").write_bytes(older)
    isoflop("exclude", min(before), "--reason", "disk trouble", folder=folder)
