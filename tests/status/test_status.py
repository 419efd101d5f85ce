"""How a sweep stands as a whole: states, failures, what comes next."""

from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.plan.types import DroppedCell
from isoflop.spec import SweepSpec
from isoflop.status.sweep_status import Next
from isoflop.store import Standing, open_store
from tests.report_examples import grid, make_result, save_sweep, save_troubled_sweep, unfinished
from tests.status.status_examples import shown, states, status_of


def test_cells_have_the_state_of_their_standing_and_failures_a_reason(tmp_path: Path) -> None:
    cells = save_troubled_sweep(tmp_path / "x.db")
    status = status_of(tmp_path)
    by_run = states(status)
    expected = ["diverged", "failed", "off_plan", "excluded", "pending"]
    assert [by_run[cell.run.run_id] for cell in cells[:14:3]] == expected
    assert by_run[cells[20].run.run_id] == "check_run"
    assert status.counts == {
        Standing.USED: 15, Standing.PENDING: 1, Standing.DIVERGED: 1, Standing.FAILED: 1, Standing.OFF_PLAN: 1,
        Standing.EXCLUDED: 1, Standing.CHECK: 1, Standing.DROPPED: 1,
    }  # fmt: skip
    assert status.n_runs == 21
    assert [failure.reason for failure in status.failures] == [
        "loss was not finite at step 17",
        "exit code 137 </td><script>alert(1)</script>",
    ]
    assert {entry.why for entry in status.omissions} == {
        "12 optimizer steps, fewer than 200",
        "planned 1.00e12 FLOPs and 225k tokens, achieved 1.02e12 and 225k",
        "wrong corpus [red]mounted",
    }
    assert status.next is Next.RUN


def test_an_exclusion_is_shown_before_there_is_a_result(tmp_path: Path) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [], excluded={cells[1].run.run_id: "wrong corpus"})
    (entry,) = status_of(tmp_path, spec).omissions
    assert (entry.cell.run_id, entry.state) == (cells[1].run.run_id, Standing.PENDING)
    assert entry.why == "excluded: wrong corpus"


def test_text_shows_every_state_in_words_and_the_lowest_loss_of_each_budget(tmp_path: Path) -> None:
    save_troubled_sweep(tmp_path / "x.db")
    text = shown(status_of(tmp_path))
    grid_part = text[text.index("Grid") : text.index("Failures")]
    for state in ("pending", "diverged", "failed", "off plan", "excluded", "check run", "dropped"):
        assert state in grid_part
    assert grid_part.count("*") == 3 + 1  # one per budget, and the legend
    assert "wrong corpus [red]mounted" in text
    assert "\x1b" not in text
    assert "SIMULATED" not in text


def test_a_finished_sweep_has_no_time_left_and_is_to_be_fitted(tmp_path: Path) -> None:
    cells = grid(1e12, trainer="simulated")
    spec = SweepSpec(name="demo", budgets=(1e12,), trainer="simulated")
    save_sweep(tmp_path / "x.db", cells, map(make_result, cells), spec=spec)
    status = status_of(tmp_path)
    assert (status.time_left, status.next, status.simulated) == (None, Next.FIT, True)
    assert status.flops_done == status.flops_planned
    text = shown(status)
    assert "SIMULATED" in text and "isoflop fit demo.toml" in text


def test_where_only_failures_are_left_retrying_is_next_and_the_log_is_named(tmp_path: Path) -> None:
    cells = grid(1e12)
    log = tmp_path / "artifacts" / cells[0].run.run_id / "attempt-1" / "log.txt"
    results = [unfinished(cells[0], "failed", "worker died"), *map(make_result, cells[1:])]
    spec = save_sweep(tmp_path / "x.db", cells, results)
    assert status_of(tmp_path, spec).failures[0].log_path is None
    log.parent.mkdir(parents=True)
    log.touch()
    status = status_of(tmp_path, spec)
    assert status.failures[0].log_path == log  # of a coordinator that died before it recorded the attempt
    with open_store(tmp_path / "x.db", write=True) as store:
        store.record_attempt(
            cells[0].run.run_id, 1, host="hal", device=None, started_at="t", ended_at=None, outcome="given_up",
            reason="worker died", log_path=str(log),
        )  # fmt: skip
    status = status_of(tmp_path, spec)
    (failure,) = status.failures
    assert (failure.reason, failure.log_path, failure.cell.n_attempts) == ("worker died", log, 1)
    assert status.next is Next.RETRY
    text = shown(status)
    assert "isoflop run demo.toml --retry" in text and "1 attempt:" in text
    assert str(log) in text.replace("\n", "")


def test_what_failed_is_not_done_and_leaves_nothing_to_fit(tmp_path: Path) -> None:
    cells = grid(1e12)
    results = [unfinished(cell, "failed", "no memory") for cell in cells]
    spec = save_sweep(tmp_path / "x.db", cells, results)
    status = status_of(tmp_path, spec)
    assert (status.flops_done, status.flops_failed) == (0, status.flops_planned)
    text = shown(status)
    assert "\n0% of " in text and "FLOPs done, 100% diverged or failed\n" in text
    assert "--retry" in text and "isoflop fit" not in text


def test_a_sweep_file_that_changed_is_a_finding_and_one_not_planned_an_error(tmp_path: Path) -> None:
    spec = save_sweep(tmp_path / "x.db", grid(1e12), [])
    assert status_of(tmp_path, spec).findings == ()
    changed = spec.model_copy(update={"budgets": (2e12,)})
    status = status_of(tmp_path, changed)
    assert [finding.code for finding in status.findings] == ["sweep_file_changed"]
    assert "isoflop plan" in shown(status)
    looked_after = spec.model_copy(update={"run": spec.run.model_copy(update={"keep": "none"})})
    assert status_of(tmp_path, looked_after).findings == (), "[run] changes no question, and a fit says nothing of it"
    with pytest.raises(IsoflopError, match="not planned yet"):
        status_of(tmp_path, spec.model_copy(update={"name": "other"}))


def test_artifacts_that_are_no_folder_are_one_sentence(tmp_path: Path) -> None:
    spec = save_sweep(tmp_path / "x.db", grid(1e12), [])
    (tmp_path / "artifacts").write_text("a file")
    with pytest.raises(IsoflopError, match="Cannot read the run directories"):
        status_of(tmp_path, spec)


def test_what_strangers_wrote_is_shown_as_it_is_without_control_characters(tmp_path: Path) -> None:
    cells = grid(1e12)
    spec = save_sweep(
        tmp_path / "x.db",
        cells,
        [unfinished(cells[0], "failed", "[red]boom[/red] \x1b[31m \n next")],
        dropped=[DroppedCell(1e12, cells[1].run.shape, "[/nonsense] \x07 dropped")],
        excluded={cells[0].run.run_id: "x"},
    )
    text = shown(status_of(tmp_path, spec))
    assert "[red]boom[/red]" in text and "[/nonsense]" in text
    assert all(character.isprintable() or character == "\n" for character in text)
