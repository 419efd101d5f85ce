"""Run directories and the work under way in them."""

import os
import socket
from datetime import datetime
from pathlib import Path

import pytest

from isoflop.rundir import own_claim
from isoflop.rundir.events import TAIL_BYTES
from isoflop.status.sweep_status import Next
from isoflop.status.work import Activity
from isoflop.store import Standing
from tests.report_examples import grid, make_result, save_sweep
from tests.status.status_examples import begin, dead_claim, progress, shown, states, status_of


def test_a_live_claim_is_a_running_run_with_its_latest_progress(tmp_path: Path) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [])
    run_dir = begin(tmp_path, cells[2], own_claim(2), step=10)
    run_dir.append_event(progress(cells[2], 40, loss=2.5))
    status = status_of(tmp_path, spec)
    ((work, cell),) = status.works
    assert (cell.run_id, work.activity, work.alive) == (cells[2].run.run_id, Activity.RUNNING, True)
    assert (work.host, work.pid, work.attempt) == (socket.gethostname(), os.getpid(), 2)
    assert work.reported is not None
    assert (work.reported.step, work.reported.loss) == (40, 2.5)
    assert work.heartbeat_seconds is not None and work.heartbeat_seconds < 60
    assert status.counts == {Activity.RUNNING: 1, Standing.PENDING: 6}
    assert status.unattended and status.next is Next.RUN
    text = shown(status)
    assert "No `isoflop run` holds this sweep now" in text
    assert f"{40 / cells[2].run.n_steps:.0%}" in text


def test_what_a_cluster_trains_goes_on_there(tmp_path: Path) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [])
    begin(tmp_path, cells[2], own_claim(2, "slurm", "7_0"), step=10)
    assert "`isoflop run demo.toml --engine slurm`" in " ".join(shown(status_of(tmp_path, spec)).split())


def test_an_attempt_that_has_not_reported_yet_has_no_progress_of_the_one_before(tmp_path: Path) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [])
    run_dir = begin(tmp_path, cells[0], dead_claim(), step=10)
    os.utime(run_dir.heartbeat_path, (0, 0))
    begin(tmp_path, cells[0], own_claim(2))
    ((work, _),) = status_of(tmp_path, spec).works
    assert work.activity is Activity.RUNNING
    assert work.reported is None and work.heartbeat_seconds is None
    shown(status_of(tmp_path, spec))


@pytest.mark.parametrize("checkpoint", [True, False], ids=["with checkpoint", "without"])
def test_a_dead_claim_is_a_stopped_run_of_which_a_checkpoint_keeps_what_was_done(
    tmp_path: Path, checkpoint: bool
) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [])
    step = cells[0].run.n_steps // 2
    begin(tmp_path, cells[0], dead_claim(), step=step, checkpoint=checkpoint)
    status = status_of(tmp_path, spec)
    assert states(status)[cells[0].run.run_id] == "stopped"
    kept = cells[0].run.planned_flops * step / cells[0].run.n_steps if checkpoint else 0.0
    assert status.flops_done == pytest.approx(kept)
    said = "Stopped: continues from its checkpoint." if checkpoint else "Stopped: has no checkpoint and starts again."
    assert said in shown(status)
    begin(tmp_path, cells[1], dead_claim(), step=step, checkpoint=not checkpoint)
    both = " ".join(shown(status_of(tmp_path, spec)).split())
    assert "Stopped: continues from its checkpoint, or starts again where it has none." in both


def test_a_result_that_is_not_recorded_yet_is_an_ended_run(tmp_path: Path) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [])
    begin(tmp_path, cells[0], dead_claim(), step=10).write_result(make_result(cells[0]))
    status = status_of(tmp_path, spec)
    assert states(status)[cells[0].run.run_id] == "ended"
    assert status.flops_done == cells[0].run.planned_flops
    assert status.next is Next.RUN
    assert "not yet recorded" in shown(status)


@pytest.mark.parametrize(("age", "state"), [(10, "running"), (301, "stopped")])
def test_a_worker_on_another_host_is_judged_by_its_heartbeat(tmp_path: Path, age: float, state: str) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [])
    assert spec.run.stall_seconds == 300
    claim = own_claim(1).model_copy(update={"host": "elsewhere", "started_at": "2020-01-01T00:00:00+00:00"})
    run_dir = begin(tmp_path, cells[0], claim, step=10)
    then = datetime.now().timestamp() - age
    os.utime(run_dir.heartbeat_path, (then, then))
    status = status_of(tmp_path, spec)
    assert states(status)[cells[0].run.run_id] == state
    assert status.works[0][0].alive is None


def test_progress_is_read_from_the_end_of_a_long_file_whatever_lies_around_it(tmp_path: Path) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [])
    run_dir = begin(tmp_path, cells[0], own_claim(1), step=1)
    for step in range(2, 700):
        run_dir.append_event(progress(cells[0], step))
    run_dir.append_event(progress(cells[1], 900))
    line = run_dir.events_path.read_text().splitlines()[-1].replace(cells[1].run.run_id, cells[0].run.run_id)
    with run_dir.events_path.open("a") as file:
        file.write(line.replace('"step": 900', '"step": "many"') + "\n")
        file.write(line.replace("3.25", "NaN") + "\n[1]\n")
        file.write(line[:50])
    assert run_dir.events_path.stat().st_size > 1.4 * TAIL_BYTES
    ((work, _),) = status_of(tmp_path, spec).works
    assert work.reported is not None and work.reported.step == 699
