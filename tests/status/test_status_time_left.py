"""How long a sweep still takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from isoflop.hardware import cpu_name
from isoflop.plan.types import Role
from isoflop.rundir import JobFile, RunDir, own_claim
from isoflop.store import open_store
from tests.plan.test_plan_pace import trial
from tests.report_examples import make_cell, make_result, save_sweep
from tests.status.status_examples import CPU, begin, shown, status_of


def test_time_left_scales_to_what_finished_and_subtracts_what_running_runs_have_done(tmp_path: Path) -> None:
    cells = [make_cell(1e12, 64, seed=seed, role=Role.REPLICATE) for seed in range(4)]
    spec = save_sweep(tmp_path / "x.db", cells, [make_result(cells[0], seconds=100.0)])
    assert status_of(tmp_path, spec).time_left is None  # nothing tells what kind of device that was
    RunDir(tmp_path / "artifacts" / cells[0].run.run_id).write_job(JobFile(runs=(cells[0].run,), execution=CPU))
    left = status_of(tmp_path, spec).time_left
    assert left is not None
    assert (left.n_workers, left.at_work, left.device, left.measured) == (1, False, "Some CPU", True)
    assert left.seconds == pytest.approx(300.0)
    begin(tmp_path, cells[1], own_claim(1), step=cells[1].run.n_steps // 2)
    left = status_of(tmp_path, spec).time_left
    assert left is not None and left.at_work
    assert left.seconds == pytest.approx(250.0, rel=0.01)
    begin(tmp_path, cells[2], own_claim(1), step=cells[2].run.n_steps // 2)
    left = status_of(tmp_path, spec).time_left
    assert left is not None and left.n_workers == 2
    assert left.seconds == pytest.approx(100.0, rel=0.01)  # the third alone, beside the two halves one after another
    assert "about 1m 40s left on 2 x Some CPU (measured)" in shown(status_of(tmp_path, spec))


def test_before_anything_has_finished_time_left_follows_the_speed_of_running_runs(tmp_path: Path) -> None:
    cells = [make_cell(1e12, 64, seed=seed) for seed in range(2)]
    spec = save_sweep(tmp_path / "x.db", cells, [])
    assert status_of(tmp_path, spec).time_left is None
    begin(tmp_path, cells[0], own_claim(1), step=cells[0].run.n_steps // 2)
    left = status_of(tmp_path, spec).time_left
    assert left is not None and left.measured
    assert left.seconds == pytest.approx(1.5 * cells[0].run.n_tokens / 1000.0, rel=0.01)


def test_trials_on_the_same_device_tell_the_time_left_before_anything_has_finished(tmp_path: Path) -> None:
    cells = [make_cell(1e12, 64, seed=seed) for seed in range(2)]
    spec, run = save_sweep(tmp_path / "x.db", cells, []), cells[0].run
    begin(tmp_path, cells[0], own_claim(1), step=run.n_steps // 2)
    here = trial(run, 0.5, device=cpu_name(), eval_seconds=0.0, beside_seconds=0.0)
    with open_store(tmp_path / "x.db", write=True) as store:
        store.record_measurement(here)
        store.record_measurement(replace(here, device="Another", seconds_per_step=9.0))
    left = status_of(tmp_path, spec).time_left
    assert left is not None and left.measured
    assert left.seconds == pytest.approx(1.5 * run.n_steps * 0.5, rel=0.01)
