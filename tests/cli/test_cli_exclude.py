"""A person's decision about runs: recorded with its reason, shown in every output, taken back at will."""

import json
import shutil
from pathlib import Path

import pytest

from isoflop.store import sweep_lock
from tests.cli.test_cli_errors import refused
from tests.cli.test_cli_surface import SIMULATED, isoflop
from tests.databases import opened

REASON = "the disk [red]was[/red] failing"


@pytest.fixture
def folder(simulated: Path, tmp_path: Path) -> Path:
    """A sweep that has run; without its artifacts."""
    for name in ("drawn.toml", "isoflop.db"):
        shutil.copy(simulated / name, tmp_path)
    return tmp_path


def runs_of(folder: Path) -> list[str]:
    with opened(folder / "isoflop.db") as connection:
        return [run for (run,) in connection.execute("select run_id from cells order by id")]


def exclusions(folder: Path) -> dict[str, str]:
    with opened(folder / "isoflop.db") as connection:
        return dict(connection.execute("select run_id, reason from exclusions"))


def fit_of(folder: Path) -> dict[str, object]:
    document = json.loads(isoflop("fit", "drawn.toml", "--json", folder=folder).stdout)
    assert isinstance(document, dict)
    return document


@pytest.mark.slow
def test_excluded_runs_leave_the_fit_and_come_back(folder: Path) -> None:
    chosen = runs_of(folder)[:2]
    before = fit_of(folder)
    isoflop("exclude", *chosen, "--reason", REASON, folder=folder)
    document = fit_of(folder)
    (finding,) = [f for f in document["findings"] if f["code"] == "runs_excluded"]  # type: ignore[attr-defined]
    assert finding["values"]["run_ids"] == chosen
    assert REASON in finding["message"]
    assert [p["n_points"] for p in document["profiles"]] == [5, 7, 7]  # type: ignore[attr-defined]
    isoflop("include", *chosen, folder=folder)
    assert fit_of(folder) == before


@pytest.mark.slow
def test_every_output_shows_an_exclusion_and_its_reason(folder: Path) -> None:
    run_id = runs_of(folder)[3]
    isoflop("exclude", run_id, "--reason", REASON, folder=folder)

    def unfolded(text: str) -> str:
        return " ".join(text.split())

    fit = isoflop("fit", "drawn.toml", folder=folder).stdout
    assert "1 excluded" in fit and REASON in unfolded(fit)
    assert f"({run_id}: {REASON})" in unfolded(isoflop("plan", "drawn.toml", folder=folder).stdout)
    plan = json.loads(isoflop("plan", "drawn.toml", "--json", folder=folder).stdout)
    assert [run["excluded"] for run in plan["runs"] if run["excluded"]] == [REASON]
    assert f"({run_id}: {REASON})" in isoflop("run", "drawn.toml", folder=folder).stderr
    isoflop("report", "drawn.toml", folder=folder)
    for page, shown in (("index.html", REASON), ("report.md", REASON.replace("[", r"\[").replace("]", r"\]"))):
        lines = (folder / "report" / page).read_text().splitlines()
        assert any(run_id in line and "excluded" in line and shown in line for line in lines), page
    findings = json.loads((folder / "report" / "report.json").read_text())["findings"]
    assert run_id in next(f for f in findings if f["code"] == "runs_excluded")["values"]["run_ids"]


def test_first_digits_will_do_where_they_tell_runs_apart(folder: Path) -> None:
    runs = runs_of(folder)
    isoflop("exclude", runs[0][:6].upper(), runs[0], "--reason", "twice named", folder=folder)
    assert exclusions(folder) == {runs[0]: "twice named"}


def test_excluding_again_replaces_the_reason_and_says_what_it_was(folder: Path) -> None:
    run_id = runs_of(folder)[0]
    isoflop("exclude", run_id, "--reason", "first", folder=folder)
    assert "second (was excluded: first)" in isoflop("exclude", run_id, "--reason", "second", folder=folder).stdout
    assert exclusions(folder) == {run_id: "second"}
    document = json.loads(isoflop("exclude", run_id, "--reason", " third ", "--json", folder=folder).stdout)
    assert document == {
        "schema_version": 1,
        "run_ids": [run_id],
        "sweeps": ["drawn"],
        "excluded": True,
        "reason": "third",
        "previous_reasons": {run_id: "second"},
    }
    document = json.loads(isoflop("include", run_id, "--json", folder=folder).stdout)
    assert (document["excluded"], document["reason"], document["previous_reasons"]) == (False, None, {run_id: "third"})


def test_a_name_that_is_not_one_run_is_refused_and_nothing_changes(folder: Path) -> None:
    runs = runs_of(folder)
    for name, said in ((runs[1][:3], "at least its first 4 digits"), ("%%%%", "not a run id"), ("0000f", "no run")):
        assert said in refused(folder, "exclude", runs[0], name, "--reason", "x")
    with opened(folder / "isoflop.db") as connection:
        twin = runs[0][:8] + ("0000" if runs[0][8:] != "0000" else "1111")
        columns = [row[1] for row in connection.execute("pragma table_info(runs)") if row[1] != "run_id"]
        listed = ", ".join(columns)
        copied = f"insert into runs (run_id, {listed}) select ?, {listed} from runs where run_id = ?"
        connection.execute(copied, [twin, runs[0]])
    said = refused(folder, "exclude", runs[0][:8], "--reason", "x")
    assert "2 run ids begin with" in said and runs[0] in said and twin in said
    assert exclusions(folder) == {}


def test_a_blank_reason_is_refused_and_a_missing_one_is_a_usage_error(folder: Path) -> None:
    run_id = runs_of(folder)[0]
    assert "--reason is blank" in refused(folder, "exclude", run_id, "--reason", " \t")
    isoflop("exclude", run_id, folder=folder, code=2)
    isoflop("exclude", "--reason", "x", folder=folder, code=2)
    assert exclusions(folder) == {}


def test_including_a_run_that_counts_is_refused_whole(folder: Path) -> None:
    runs = runs_of(folder)
    isoflop("exclude", runs[0], "--reason", "x", folder=folder)
    assert runs[1] in refused(folder, "include", runs[0], runs[1])
    assert exclusions(folder) == {runs[0]: "x"}


@pytest.mark.parametrize("command", [("exclude", "0000", "--reason", "x"), ("include", "0000")], ids=lambda c: c[0])
def test_a_missing_database_is_refused_and_not_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert "There is no database 'isoflop.db'" in refused(tmp_path, *command)
    assert list(tmp_path.iterdir()) == []


def test_no_sweep_that_asks_for_the_run_may_be_running(folder: Path) -> None:
    """Two sweeps share every run; the lock of either keeps a decision out."""
    (folder / "other.toml").write_text(SIMULATED.replace("drawn", "other"))
    isoflop("plan", "other.toml", folder=folder)
    run_id = runs_of(folder)[0]
    for name in ("drawn", "other"):
        with sweep_lock(folder / f"isoflop.db.{name}.lock", name):
            assert f"Sweep '{name}' is held" in refused(folder, "exclude", run_id, "--reason", "x")
    assert exclusions(folder) == {}
    document = json.loads(isoflop("exclude", run_id, "--reason", "x", "--json", folder=folder).stdout)
    assert document["sweeps"] == ["drawn", "other"]


def test_an_excluded_run_that_diverged_is_still_called_diverged_with_both_reasons(folder: Path) -> None:
    run_id = runs_of(folder)[0]
    isoflop("exclude", run_id, "--reason", "wrong corpus", folder=folder)
    with opened(folder / "isoflop.db") as connection:
        ended = "status = 'diverged', reason = 'loss was not finite', val_loss = null"
        connection.execute(f"update results set {ended} where run_id = ?", [run_id])
    findings = {f["code"]: f for f in fit_of(folder)["findings"]}  # type: ignore[attr-defined]
    assert "loss was not finite; excluded: wrong corpus" in findings["runs_diverged"]["message"]
    assert "runs_excluded" not in findings
