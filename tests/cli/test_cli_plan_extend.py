"""`plan --extend`: runs that the results ask for become cells of the sweep, and stay."""

import json
import shutil
from pathlib import Path

import pytest

from tests.commands import isoflop

pytestmark = pytest.mark.slow

SWEEP = """
name = "grown"
budgets = [1e17, 1e18, 1e19]
trainer = "simulated"
[grid]
center_tokens_per_param = 20
"""


def document(*arguments: str, folder: Path) -> dict:
    return json.loads(isoflop(*arguments, "--json", folder=folder).stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the sweep file."""
    (tmp_path / "grown.toml").write_text(SWEEP)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "grown.toml").write_text(SWEEP)
    isoflop("run", "grown.toml", folder=folder)
    return folder


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """A copy of the sweep that has run."""
    return shutil.copytree(finished, tmp_path / "done")


def suggested(plan: dict) -> list[dict]:
    return [run for run in plan["runs"] if run["role"] == "suggested"]


def test_suggested_runs_are_planned_trained_and_fitted_and_stay_when_the_sweep_is_planned_again(done: Path) -> None:
    before = document("fit", "grown.toml", folder=done)
    plan = document("plan", "grown.toml", "--extend", "7", "--target", "1e21", folder=done)
    added = suggested(plan)
    assert len(added) == 7
    again = document("plan", "grown.toml", folder=done)
    assert {run["run_id"] for run in again["runs"]} == {run["run_id"] for run in plan["runs"]}
    isoflop("run", "grown.toml", folder=done)
    after = document("fit", "grown.toml", "--target", "1e21", folder=done)
    rows = {fit: sum(p["n_points"] for p in doc["profiles"]) for fit, doc in (("before", before), ("after", after))}
    assert rows["after"] == rows["before"] + 7


def test_what_is_suggested_is_what_the_fit_suggests(done: Path) -> None:
    fit = document("fit", "grown.toml", "--suggest", "7", "--target", "1e21", folder=done)
    plan = document("plan", "grown.toml", "--extend", "7", "--target", "1e21", "--dry-run", folder=done)
    for asked, planned in zip(fit["suggested"], suggested(plan), strict=True):
        assert planned["budget_flops"] == asked["budget_flops"]
        assert planned["n_params_total"] == pytest.approx(asked["n_params"], rel=0.1)


def test_a_plan_says_what_its_new_runs_are_for_and_what_they_would_gain(done: Path) -> None:
    fit = document("fit", "grown.toml", "--suggest", "7", "--target", "1e21", folder=done)
    plan = document("plan", "grown.toml", "--extend", "7", "--target", "1e21", "--dry-run", folder=done)
    # of the fit's suggestions, the sizes that can be built
    for asked, built in zip(fit["suggested"], plan["suggested"], strict=True):
        assert built["budget_flops"] == asked["budget_flops"]
        assert built["n_params"] == pytest.approx(asked["n_params"], rel=0.1)
    assert [one["n_params"] for one in plan["suggested"]] == [run["n_params_total"] for run in suggested(plan)]
    assert [one["n_tokens"] for one in plan["suggested"]] == [run["n_tokens"] for run in suggested(plan)]
    assert {one["target_flops"] for one in plan["suggested"]} == {1e21}
    page = isoflop("plan", "grown.toml", "--extend", "7", "--target", "1e21", "--dry-run", folder=done).stdout
    assert "Next runs, for N_opt at 1.00e21 FLOPs" in page
    assert f"{plan['suggested'][-1]['half_width']:.4f}" in page
    assert document("plan", "grown.toml", folder=done)["suggested"] == []


def test_runs_that_would_gain_next_to_nothing_are_planned_with_a_word_on_it(done: Path) -> None:
    asked = ("plan", "grown.toml", "--extend", "2", "--target", "1e21", "--dry-run")
    findings = {finding["code"] for finding in document(*asked, folder=done)["findings"]}
    assert "little_to_gain" in findings
    assert "ask for 7 runs or more" in " ".join(isoflop(*asked, folder=done).stdout.split())


def test_a_dry_run_adds_nothing(done: Path) -> None:
    assert suggested(document("plan", "grown.toml", "--extend", "3", "--dry-run", folder=done))
    assert not suggested(document("plan", "grown.toml", folder=done))


def test_a_size_that_the_budget_has_is_asked_for_with_another_seed(done: Path) -> None:
    for _ in range(2):
        isoflop("plan", "grown.toml", "--extend", "4", folder=done)
    runs = document("plan", "grown.toml", folder=done)["runs"]
    assert len({run["run_id"] for run in runs}) == len(runs)
    assert len([run for run in runs if run["role"] == "suggested"]) == 8


def test_what_is_planned_already_is_not_asked_for_again(done: Path) -> None:
    whole = document("plan", "grown.toml", "--extend", "6", "--target", "1e19", "--dry-run", folder=done)
    for _ in range(3):
        isoflop("plan", "grown.toml", "--extend", "2", "--target", "1e19", folder=done)
    parts = document("plan", "grown.toml", folder=done)
    asked = [sorted((run["budget_flops"], run["n_params_total"]) for run in suggested(plan)) for plan in (whole, parts)]
    assert asked[0] == asked[1]


def test_a_target_without_an_extension_is_refused(folder: Path) -> None:
    assert (
        "--target has no effect without --extend"
        in isoflop("plan", "grown.toml", "--target", "1e20", folder=folder, code=1).stderr
    )


def test_without_results_there_is_nothing_to_ask_for(folder: Path) -> None:
    isoflop("plan", "grown.toml", folder=folder)
    refused = isoflop("plan", "grown.toml", "--extend", "3", folder=folder, code=1)
    assert "no completed run to fit" in refused.stderr


SHORT = """
name = "short"
budgets = [1e10, 3e10, 1e11]
trainer = "simulated"
[grid]
center_tokens_per_param = 20
[model]
context_length = 256
"""


def test_only_runs_that_the_plan_takes_are_suggested(folder: Path) -> None:
    """Of budgets this small most sizes are no shape of their own, or train for too few steps."""
    (folder / "short.toml").write_text(SHORT)
    isoflop("run", "short.toml", folder=folder)
    dropped = len(document("plan", "short.toml", folder=folder)["dropped"])
    for number in (9, 18):
        plan = document("plan", "short.toml", "--extend", "9", folder=folder)
        assert len(plan["dropped"]) == dropped
        assert len(suggested(plan)) == number
        built = [(run["budget_flops"], run["n_params_total"]) for run in suggested(plan)]
        assert [(one["budget_flops"], one["n_params"]) for one in plan["suggested"]] == built[-9:]


def test_without_a_database_nothing_can_be_asked_for(folder: Path) -> None:
    refused = isoflop("plan", "grown.toml", "--db", "none.db", "--extend", "3", folder=folder, code=1)
    assert "no database" in refused.stderr and "isoflop run" in refused.stderr


def test_suggested_runs_that_wait_are_dropped_on_demand_and_trained_ones_stay(done: Path) -> None:
    grid = {run["run_id"] for run in document("plan", "grown.toml", folder=done)["runs"]}
    trained = {run["run_id"] for run in suggested(document("plan", "grown.toml", "--extend", "2", folder=done))}
    isoflop("run", "grown.toml", folder=done)
    document("plan", "grown.toml", "--extend", "3", folder=done)
    page = " ".join(isoflop("plan", "grown.toml", "--drop-suggested", "--dry-run", folder=done).stdout.split())
    assert "3 suggested runs without a result taken out of the plan; 2 runs of its suggestions" in page
    assert document("plan", "grown.toml", "--drop-suggested", folder=done)["dropped_suggestions"] == 3
    plan = document("plan", "grown.toml", folder=done)
    assert {run["run_id"] for run in plan["runs"]} == grid | trained
    assert plan["dropped_suggestions"] is None


def test_dropping_and_extending_at_once_is_refused(folder: Path) -> None:
    done = isoflop("plan", "grown.toml", "--drop-suggested", "--extend", "2", folder=folder, code=1)
    assert "exclude each other" in done.stderr


def test_a_fit_does_not_suggest_what_is_planned_already(done: Path) -> None:
    asked = ("fit", "grown.toml", "--suggest", "7", "--target", "1e21")
    first = document(*asked, folder=done)["suggested"]
    isoflop("plan", "grown.toml", "--extend", "7", "--target", "1e21", folder=done)
    second = document(*asked, folder=done)["suggested"]
    assert {run["budget_flops"] for run in first}.isdisjoint(run["budget_flops"] for run in second)


def test_what_suggested_runs_cost_is_said(done: Path) -> None:
    page = " ".join(isoflop("fit", "grown.toml", "--suggest", "7", "--target", "1e21", folder=done).stdout.split())
    assert "most per FLOP; together 7.00e20 FLOPs." in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan", "grown.toml", "--extend", "2", "--max-hours", "1"), "no effect on a simulated sweep"),
        (("plan", "grown.toml", "--extend", "2", "--max-hours", "-1"), "--max-hours -1 is no number"),
        (("fit", "grown.toml", "--max-hours", "1"), "--max-hours has no effect without --suggest"),
        (("fit", "grown.toml", "--suggest", "2", "--max-hours", "1"), "no device is known"),
    ],
    ids=["simulated", "negative", "fit alone", "no device"],
)
def test_hours_that_cannot_be_kept_are_refused(done: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in isoflop(*arguments, folder=done, code=1).stderr
