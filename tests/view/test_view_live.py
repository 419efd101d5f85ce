"""What `isoflop run` shows of per cent and time left: checked by hand, and against `isoflop status`."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from isoflop.engine.notices import AttemptEnded, AttemptStarted, Notice, Progressed, RunFinished
from isoflop.plan.types import Cell, Role
from isoflop.rundir import JobFile, RunDir, own_claim
from isoflop.store import Timing
from isoflop.sweep.run_outcome import Outline
from isoflop.view import live
from isoflop.view.live import NEXT_RUN_SECONDS, SweepProgress, run_display
from tests.plan.test_plan_pace import trial
from tests.report_examples import make_cell, make_result, save_sweep
from tests.status.status_examples import CPU, begin, dead_claim, status_of

DEVICE = "Some CPU"
# Alike but for their seeds: each takes as long as the first.
ALIKE = [make_cell(1e12, 64, seed=seed, role=Role.REPLICATE) for seed in range(5)]
STEPS = ALIKE[0].run.n_steps


class Clock:
    """Time as a test tells it, seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def outline(cells: list[Cell], *, done: int = 0, seconds: float | None = None, **changes: object) -> Outline:
    """A sweep whose first `done` runs have ended; one has taken `seconds`."""
    shape, run = cells[0].run.shape, cells[0].run
    timings = () if seconds is None else (Timing(shape, run.n_steps, run.planned_flops, seconds, DEVICE),)
    fields: dict[str, object] = {
        "sweep": "demo",
        "simulated": False,
        "cells": tuple(cells),
        "done": frozenset(cell.run.run_id for cell in cells[:done]),
        "shares": {},
        "devices": (DEVICE, DEVICE),
        "device_kind": "cpu",
        "timings": timings,
        **changes,
    }
    return Outline(**fields)  # type: ignore[arg-type]


def started(cell: Cell, worker: int) -> AttemptStarted:
    return AttemptStarted(cell.run.run_id, 1, worker, DEVICE, 0.0)


def at(cell: Cell, worker: int, step: int, *, speed: float = 1000.0) -> Progressed:
    return Progressed(cell.run.run_id, worker, step, step * cell.run.batch_tokens, 3.0, speed)


def ended(cell: Cell, worker: int, *, outcome: str = "done") -> AttemptEnded:
    return AttemptEnded(
        cell.run.run_id, (cell.run.run_id,), 1, worker, "h", DEVICE, 0.0, 0.0, 0.0, outcome, None, Path("log")
    )


def after(progress: SweepProgress, *events: Notice) -> SweepProgress:
    for event in events:
        progress.take_in(event)
    return progress


def test_per_cent_is_of_the_flops_of_all_runs_and_time_left_of_what_is_not_done() -> None:
    """Five runs of 100 s; one has ended, two are at a half and at a quarter, two wait for two workers."""
    progress = SweepProgress(outline(ALIKE, done=1, seconds=100.0), Clock())
    half, quarter = STEPS // 2, STEPS // 4
    after(progress, started(ALIKE[1], 0), started(ALIKE[2], 1), at(ALIKE[1], 0, half), at(ALIKE[2], 1, quarter))
    share = (1 + half / STEPS + quarter / STEPS) / 5
    assert progress.flops / progress.total_flops == pytest.approx(share)
    # The longest jobs first: 100 s each for the two that wait, then 75 s and 50 s beside each other.
    assert progress.seconds_left == pytest.approx(175.0, abs=0.5)
    assert progress.headline == f"demo  1/5 runs  {share:.0%}  2m 55s left"


def test_runs_of_unlike_size_weigh_by_their_flops() -> None:
    small, large = make_cell(1e12, 64), make_cell(3e12, 64)
    progress = SweepProgress(outline([small, large], done=1, seconds=100.0), Clock())
    flops = [small.run.planned_flops, large.run.planned_flops]
    assert progress.flops / progress.total_flops == pytest.approx(flops[0] / sum(flops))
    assert progress.headline.startswith("demo  1/2 runs  25%")
    # Three times the steps of the same shape take three times as long.
    assert progress.seconds_left == pytest.approx(300.0, rel=0.01)


def test_a_run_that_ends_here_is_measured_and_its_share_is_whole() -> None:
    progress = SweepProgress(outline(ALIKE[:3]), Clock())
    assert "(guessed)" in progress.headline
    after(progress, started(ALIKE[0], 0), started(ALIKE[1], 1), at(ALIKE[0], 0, STEPS // 2))
    result = make_result(ALIKE[0], seconds=40.0, provenance={**PROVENANCE, "device": DEVICE})
    after(progress, RunFinished(result, 0, 0.0), ended(ALIKE[0], 0))
    assert progress.headline == "demo  1/3 runs  33%  40s left"


PROVENANCE = make_result(ALIKE[0]).provenance.model_dump()


def test_trials_tell_how_long_runs_take_before_any_has_ended_and_what_ends_corrects_them() -> None:
    trials = (trial(ALIKE[0].run, 0.01, eval_seconds=5.0, beside_seconds=0.0),)
    progress = SweepProgress(outline(ALIKE[:3], measurements=trials), Clock())
    each = STEPS * 0.01 + 5.0
    after(progress, started(ALIKE[0], 0), started(ALIKE[1], 1))
    assert progress.seconds_left == pytest.approx(2 * each)
    assert "(guessed)" not in progress.headline
    result = make_result(ALIKE[0], seconds=2 * each, provenance={**PROVENANCE, "device": DEVICE})
    after(progress, RunFinished(result, 0, 0.0))
    assert progress.seconds_left == pytest.approx(2 * each)  # two runs on two workers, each twice as long


def test_what_another_device_took_tells_nothing_here() -> None:
    progress = SweepProgress(outline(ALIKE[:3]), Clock())
    before = progress.seconds_left
    result = make_result(ALIKE[0], seconds=4000.0, provenance={**PROVENANCE, "device": "Another"})
    after(progress, RunFinished(result, None, 0.0))
    assert progress.seconds_left is not None and before is not None and progress.seconds_left < before + 1


def test_before_anything_has_ended_the_speed_of_the_runs_at_work_counts() -> None:
    progress = SweepProgress(outline(ALIKE[:2]), Clock())
    after(progress, started(ALIKE[0], 0), started(ALIKE[1], 1))
    seconds = ALIKE[0].run.n_tokens / 500.0
    after(progress, at(ALIKE[0], 0, STEPS // 2, speed=500.0), at(ALIKE[1], 1, 0, speed=500.0))
    assert progress.seconds_left == pytest.approx(seconds, rel=0.01)


def test_a_worker_between_two_runs_is_at_work_and_one_that_stays_away_is_not() -> None:
    """Two workers; one ends its run, and memory does not suffice for another beside the one that is left."""
    clock = Clock()
    progress = SweepProgress(outline(ALIKE, done=1, seconds=100.0), clock)
    after(progress, started(ALIKE[1], 0), started(ALIKE[2], 1), ended(ALIKE[2], 1, outcome="died"))
    clock.now += NEXT_RUN_SECONDS - 0.1
    assert progress.seconds_left == pytest.approx(200.0)
    clock.now += 0.2
    assert progress.seconds_left == pytest.approx(400.0)
    after(progress, started(ALIKE[2], 1))
    assert progress.seconds_left == pytest.approx(200.0)


def test_what_a_checkpoint_keeps_counts_from_the_start() -> None:
    shares = {ALIKE[1].run.run_id: 0.6}
    progress = SweepProgress(outline(ALIKE[:2], done=1, seconds=100.0, shares=shares), Clock())
    assert progress.headline == "demo  1/2 runs  80%  40s left"


def test_nothing_is_left_of_a_sweep_that_is_done_and_a_simulated_one_takes_no_time() -> None:
    assert SweepProgress(outline(ALIKE, done=5), Clock()).headline == "demo  5/5 runs: nothing left to train"
    simulated = SweepProgress(outline(ALIKE, done=1, simulated=True), Clock())
    assert simulated.seconds_left is None
    assert simulated.headline == "demo  1/5 runs  20%"


def said_of(console: Console, *events: Notice) -> list[str]:
    """The lines that a sweep of three runs has at these events."""
    with run_display(outline(ALIKE[:3]), console) as display:
        for event in events:
            display.show(event)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


RESULT = make_result(ALIKE[0], val_loss=2.5, bits_per_byte=None)
EVENTS = (started(ALIKE[0], 0), at(ALIKE[0], 0, STEPS // 2), RunFinished(RESULT, 0, 0.0), at(ALIKE[1], 0, 1))
RESULT_LINE = f"[1/3] {ALIKE[0].run.run_id}  C 1.00e12  N "


def test_in_a_file_there_is_a_line_per_result_and_none_for_progress_of_the_next_seconds() -> None:
    lines = said_of(Console(file=io.StringIO(), width=60), *EVENTS)
    assert len(lines) == 2 and lines[0].startswith("demo  0/3 runs  0%")
    assert lines[1].startswith(RESULT_LINE) and "loss 2.5000  " in lines[1]


def test_in_a_file_progress_has_a_line_where_there_was_none_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PLAIN_SECONDS", 0.0)
    lines = said_of(Console(file=io.StringIO(), width=60), *EVENTS)
    # at first, at the start of a run, at its progress, at its result, at the progress of the next
    assert [line[:14] for line in lines] == ["demo  0/3 runs"] * 3 + [RESULT_LINE[:14], "demo  1/3 runs"]


def test_on_a_terminal_a_result_has_a_line_above_the_picture_of_the_workers() -> None:
    console = Console(file=io.StringIO(), width=100, height=20, force_terminal=True, color_system=None)
    text = "\n".join(said_of(console, *EVENTS))
    assert RESULT_LINE in text
    # the last picture: a worker per device, two blanks between what is said of each
    assert f"0  {ALIKE[1].run.run_id}  C 1.00e12  N" in text
    assert "loss 3.000  1.00k tok/s" in text


@pytest.mark.parametrize("seconds", [None, 100.0], ids=["nothing ended", "one ended"])
def test_run_and_status_show_the_same_time_for_the_same_moment(tmp_path: Path, seconds: float | None) -> None:
    """Small and large runs: one or none has ended, one was stopped with a checkpoint, two are at work, others wait."""
    cells = [make_cell(budget, width) for budget in (1e12, 4e12) for width in (32, 64, 128)]
    n_done = 0 if seconds is None else 1
    results = [make_result(cell, seconds=seconds) for cell in cells[:n_done]]
    save_sweep(tmp_path / "x.db", cells, results)
    for cell in cells[:n_done]:
        RunDir(tmp_path / "artifacts" / cell.run.run_id).write_job(JobFile(runs=(cell.run,), execution=CPU))
    begin(tmp_path, cells[2], dead_claim(), step=cells[2].run.n_steps // 3, checkpoint=True)
    steps = {1: cells[1].run.n_steps // 2, 3: 40}
    for index, step in steps.items():
        begin(tmp_path, cells[index], own_claim(1), step=step)
    status = status_of(tmp_path)

    shares = {cells[2].run.run_id: (cells[2].run.n_steps // 3) / cells[2].run.n_steps}
    progress = SweepProgress(outline(cells, done=n_done, seconds=seconds, shares=shares), Clock())
    for worker, (index, step) in enumerate(steps.items()):
        after(progress, started(cells[index], worker), at(cells[index], worker, step))
    assert status.time_left is not None and status.time_left.n_workers == 2
    assert progress.seconds_left == pytest.approx(status.time_left.seconds)
    assert progress.flops == pytest.approx(status.flops_done)
