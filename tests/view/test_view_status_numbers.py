"""A sweep's status as a document and as text: numbers of runs at work, of failures, of long lists."""

import socket
from pathlib import Path

import pytest

from isoflop.plan.types import DroppedCell, Role
from isoflop.rundir import own_claim
from isoflop.store import open_store
from isoflop.view.status_document import status_document
from tests.report_examples import grid, make_cell, make_result, save_sweep, unfinished
from tests.status.status_examples import begin, dead_claim, shown, status_of


def a_row(text: str, run_id: str) -> list[str]:
    [row] = [line.split() for line in text.splitlines() if line.split()[:1] == [run_id]]
    return row


def test_a_run_at_work_is_shown_with_its_step_share_loss_and_speed(tmp_path: Path) -> None:
    cell, waiting = make_cell(1e12, 32), make_cell(1e12, 64)
    save_sweep(tmp_path / "x.db", [cell, waiting], [])
    step = cell.run.n_steps // 4
    begin(tmp_path, cell, own_claim(2), step=step)
    status = status_of(tmp_path)
    text = shown(status, width=160)
    assert f"Running on {socket.gethostname()}" in text
    row = " ".join(a_row(text, cell.run.run_id))
    assert f"{step} of {cell.run.n_steps} 25% 3.250 1.00k" in row
    assert "s ago 2 " in row
    document = status_document(status)
    [begun] = document["begun"]
    assert (begun["step"], begun["steps"], begun["loss"]) == (step, cell.run.n_steps, 3.25)
    assert (begun["tokens_per_second"], begun["attempt"], begun["state"]) == (1000.0, 2, "running")
    assert begun["share_done"] == pytest.approx(0.25, abs=1e-3)
    assert begun["heartbeat_seconds"] >= 0
    assert (document["n_runs"], document["counts"]) == (2, {"running": 1, "pending": 1})
    total = sum(one.run.planned_flops for one in (cell, waiting))
    assert document["flops_planned"] == pytest.approx(total)
    assert document["flops_done"] == pytest.approx(cell.run.planned_flops / 4, rel=1e-3)
    share = round(100 * cell.run.planned_flops / 4 / total)
    assert f"{share}% of 2.00e12 FLOPs done" in text


def test_a_worker_that_has_not_reported_shows_dashes(tmp_path: Path) -> None:
    cell = make_cell(1e12, 32)
    save_sweep(tmp_path / "x.db", [cell], [])
    begin(tmp_path, cell, own_claim(1))
    status = status_of(tmp_path)
    row = a_row(shown(status, width=160), cell.run.run_id)
    assert row[3:8] == ["-", "0%", "-", "-", "-"]
    [begun] = status_document(status)["begun"]
    assert [begun[name] for name in ("step", "loss", "tokens_per_second", "heartbeat_seconds")] == [None] * 4
    assert begun["share_done"] == 0


def test_workers_on_several_hosts_are_told_apart(tmp_path: Path) -> None:
    cells = [make_cell(1e12, width) for width in (32, 64)]
    save_sweep(tmp_path / "x.db", cells, [])
    begin(tmp_path, cells[0], own_claim(1), step=5)
    begin(tmp_path, cells[1], own_claim(1).model_copy(update={"host": "otherhost", "pid": 77}), step=5)
    text = shown(status_of(tmp_path), width=200)
    assert "Running on" not in text
    assert a_row(text, cells[1].run.run_id)[-2:] == ["otherhost", "77"]


def test_a_run_that_stopped_is_as_far_as_its_checkpoint(tmp_path: Path) -> None:
    cells = [make_cell(1e12, width) for width in (32, 64)]
    save_sweep(tmp_path / "x.db", cells, [])
    gone = dead_claim()
    for cell, kept in zip(cells, (True, False), strict=True):
        begin(tmp_path, cell, gone, step=cell.run.n_steps // 2, checkpoint=kept)
    text = shown(status_of(tmp_path), width=160)
    assert "Running" not in text
    assert a_row(text, cells[0].run.run_id)[3:6] == ["stopped", "50%", str(gone.attempt)]
    assert a_row(text, cells[1].run.run_id)[3:6] == ["stopped", "0%", str(gone.attempt)]


@pytest.mark.parametrize("number", [20, 23])
def test_twenty_of_a_long_list_are_shown_and_the_others_counted(tmp_path: Path, number: int) -> None:
    failed = [make_cell(1e12, 32, seed=seed) for seed in range(number)]
    excluded = [make_cell(1e12, 64, seed=seed) for seed in range(number)]
    results = [unfinished(cell, "failed", "no memory") for cell in failed] + [make_result(cell) for cell in excluded]
    reasons = {cell.run.run_id: "odd" for cell in excluded}
    save_sweep(tmp_path / "x.db", [*failed, *excluded], results, excluded=reasons)
    status = status_of(tmp_path)
    text = shown(status, width=120)
    failures, left_out = text[text.index("Failures") :].split("Left out")
    assert (failures.count("no memory"), left_out.count("odd")) == (20, 20)
    more = ["And 3 more: --json lists all."] if number == 23 else []
    for part in (failures, left_out):
        assert [line.strip() for line in part.splitlines() if "more:" in line] == more
    document = status_document(status)
    assert (len(document["failures"]), len(document["left_out"])) == (number, number)


def test_a_failure_has_its_run_place_and_attempts(tmp_path: Path) -> None:
    cell, other = make_cell(1e12, 32), make_cell(1e13, 64)
    save_sweep(tmp_path / "x.db", [cell, other], [unfinished(cell, "diverged", "not finite"), make_result(other)])
    status = status_of(tmp_path)
    size = f"{cell.run.shape.n_params_total / 1000:.1f}k"
    expected = f"diverged {cell.run.run_id}, 1.00e12 FLOPs at {size}, 1 attempt: not finite"
    assert expected in shown(status, width=160)
    [failure] = status_document(status)["failures"]
    assert (failure["run_id"], failure["status"], failure["reason"]) == (cell.run.run_id, "diverged", "not finite")
    assert (failure["attempts"], failure["budget_flops"]) == (1, 1e12)
    assert failure["n_params_total"] == cell.run.shape.n_params_total
    flops = status_document(status)
    assert flops["flops_failed"] == pytest.approx(cell.run.planned_flops)
    assert flops["flops_done"] == pytest.approx(other.run.planned_flops)
    assert "91% of 1.10e13 FLOPs done, 9% diverged or failed" in shown(status, width=160)


def test_the_lowest_loss_of_a_budget_is_a_mean_over_the_seeds_of_its_size(tmp_path: Path) -> None:
    cells = [*grid(1e12), make_cell(1e12, 48, seed=1, role=Role.REPLICATE)]
    losses = dict.fromkeys((cell.run.run_id for cell in cells), 3.0)
    losses[cells[2].run.run_id], losses[cells[-1].run.run_id] = 2.6, 2.8  # both of width 48
    losses[cells[4].run.run_id] = 2.75
    save_sweep(tmp_path / "x.db", cells, [make_result(cell, val_loss=losses[cell.run.run_id]) for cell in cells])
    [lowest] = status_document(status_of(tmp_path))["lowest"]
    assert lowest["n_params_total"] == cells[2].run.shape.n_params_total
    assert (lowest["loss"], lowest["n_runs"], lowest["budget_flops"]) == (pytest.approx(2.7), 2, 1e12)


def test_cells_of_the_document_are_those_of_the_database(tmp_path: Path) -> None:
    cells = grid(1e12)
    dropped = DroppedCell(1e12, cells[-1].run.shape, "12 optimizer steps, fewer than 200")
    save_sweep(tmp_path / "x.db", cells, [make_result(cells[0], val_loss=2.5, val_loss_se=0.02)], dropped=[dropped])
    document = status_document(status_of(tmp_path))
    by_run = {cell["run_id"]: cell for cell in document["cells"]}
    done = by_run[cells[0].run.run_id]
    assert (done["state"], done["loss"], done["loss_se"], done["role"]) == ("used", 2.5, 0.02, "grid")
    assert (done["n_tokens"], done["seed"]) == (cells[0].run.n_tokens, 0)
    waiting = by_run[cells[1].run.run_id]
    assert (waiting["state"], waiting["loss"], waiting["attempts"]) == ("pending", None, 0)
    assert (by_run[None]["state"], by_run[None]["role"], by_run[None]["n_tokens"]) == ("dropped", None, None)
    assert "1 cell dropped" in shown(status_of(tmp_path))
    [left] = document["left_out"]
    assert (left["run_id"], left["state"], left["reason"]) == (None, "dropped", dropped.reason)
    with open_store(tmp_path / "x.db", write=False) as store:
        assert len(document["cells"]) == len(store.cells("demo")) == 8
