"""How a sweep stands: states, work under way, time left, holders, and the grid as text."""

import dataclasses
import io
import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from isoflop.errors import IsoflopError
from isoflop.plan.types import Cell, DroppedCell, Role
from isoflop.processes import process_start
from isoflop.rundir import Claim, Execution, JobFile, RunDir, own_claim
from isoflop.rundir.events import TAIL_BYTES
from isoflop.spec import SweepSpec
from isoflop.status.grid import grid_lines
from isoflop.status.holder import read_holder
from isoflop.status.positions import Position
from isoflop.status.status import Next, SweepStatus, read_status
from isoflop.status.view import print_status
from isoflop.status.work import Activity
from isoflop.store import Standing, open_store, sweep_lock
from isoflop.store.untouched import read_untouched
from tests.report.report_examples import (
    grid,
    make_cell,
    make_result,
    save_sweep,
    save_troubled_sweep,
    unfinished,
)

CPU = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=4)
FILE = Path("demo.toml")


def status_of(folder: Path, spec: SweepSpec | None = None) -> SweepStatus:
    """The status of the sweep `demo`, planned as `spec` or as it was saved."""
    if spec is None:
        with open_store(folder / "x.db", write=False) as store:
            spec = store.sweep_spec("demo")
    return read_status(spec, FILE, db=folder / "x.db", lock=folder / "x.lock", artifacts=folder / "artifacts")


def states(status: SweepStatus) -> dict[str, str]:
    return {cell.run_id or "": state.value for cell, state in status.cells}


def dead_claim() -> Claim:
    """The claim of a process that has ended."""
    code = "from isoflop.rundir.claim import own_claim; print(own_claim(1).model_dump_json())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Claim.model_validate_json(done.stdout)


def begin(folder: Path, cell: Cell, claim: Claim, *, step: int | None = None, checkpoint: bool = False) -> RunDir:
    """A run directory as a worker leaves it that has come to `step`."""
    run_dir = RunDir(folder / "artifacts" / cell.run.run_id)
    run_dir.write_job(JobFile(runs=(cell.run,), execution=CPU))
    run_dir.write_claim(claim)
    run_dir.append_event({"event": "started", "time": 0.0, "attempt": claim.attempt})
    if step is not None:
        run_dir.beat(step)
        run_dir.append_event(progress(cell, step))
    if checkpoint:
        run_dir.checkpoint_dir.mkdir()
        (run_dir.checkpoint_dir / f"{cell.run.run_id}.safetensors").touch()
    return run_dir


def progress(cell: Cell, step: int, **changes: object) -> dict[str, object]:
    event = {
        "event": "progress",
        "time": 0.0,
        "run_id": cell.run.run_id,
        "step": step,
        "n_tokens": step * cell.run.batch_tokens,
        "loss": 3.25,
        "tokens_per_second": 1000.0,
    }
    return {**event, **changes}


def shown(status: SweepStatus, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_status(status, console, arguments=[str(FILE)])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return text


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
    assert {entry.why for entry in status.left_out} == {
        "12 optimizer steps, fewer than 200",
        "planned 1.00e12 FLOPs and 225k tokens, achieved 1.02e12 and 225k",
        "wrong corpus [red]mounted",
    }
    assert status.next is Next.RUN


def test_an_exclusion_is_shown_before_there_is_a_result(tmp_path: Path) -> None:
    cells = grid(1e12)
    spec = save_sweep(tmp_path / "x.db", cells, [], excluded={cells[1].run.run_id: "wrong corpus"})
    (entry,) = status_of(tmp_path, spec).left_out
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
    assert "Nobody holds it now" in text
    assert f"{40 / cells[2].run.n_steps:.0%}" in text


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
    assert "goes on from its checkpoint" in shown(status)


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
    run_dir.append_event({"event": "progress", "run_id": cells[0].run.run_id, "step": "many"})
    with run_dir.events_path.open("a") as file:
        file.write(json.dumps(progress(cells[0], 800)).replace("3.25", "NaN") + "\n[1]\n")
        file.write(json.dumps(progress(cells[0], 801))[:50])
    assert run_dir.events_path.stat().st_size > 1.4 * TAIL_BYTES
    ((work, _),) = status_of(tmp_path, spec).works
    assert work.reported is not None and work.reported.step == 699


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
    results = [unfinished(cells[0], "failed", f"worker died; log: {log}"), *map(make_result, cells[1:])]
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


def test_seeds_share_a_place_with_their_mean_and_probes_have_their_own(tmp_path: Path) -> None:
    seeds = [make_cell(1e12, 64, seed=seed, role=role) for seed, role in enumerate([Role.GRID, *2 * [Role.REPLICATE]])]
    probe, other = make_cell(1e12, 64, seed=9, role=Role.PROBE), make_cell(1e12, 96)
    losses = {seeds[0]: 2.0, seeds[1]: 2.3, probe: 1.0, other: 2.2}
    results = [make_result(cell, val_loss=loss) for cell, loss in losses.items()]
    spec = save_sweep(tmp_path / "x.db", [*seeds, probe, other], results)
    status = status_of(tmp_path, spec)
    found = {(place.n_params, place.role in (Role.GRID, Role.REPLICATE)): place for place in status.positions}
    shared, probed, larger = (
        found[seeds[0].run.shape.n_params_total, True],
        found[seeds[0].run.shape.n_params_total, False],
        found[other.run.shape.n_params_total, True],
    )
    assert (shared.loss, shared.n_used, len(shared.cells), shared.lowest) == (pytest.approx(2.15), 2, 3, True)
    assert (probed.loss, probed.state, probed.lowest) == (None, Standing.CHECK, False)
    assert (larger.loss, larger.lowest) == (2.2, False)
    text = shown(status)
    assert "2.1500*" in text and "2 of 3" in text and "(1.0000)" in text
    with open_store(tmp_path / "x.db", write=True) as store:
        store.record(make_result(seeds[2], val_loss=2.6))
    assert "mean of 3" in shown(status_of(tmp_path, spec))


def places(n_budgets: int, n_sizes: int) -> list[Position]:
    return [
        Position(10.0 ** (12 + budget), 1000 + size, Role.GRID, (), Standing.USED, 2.0 + size / 1e4, 1, size == 0)
        for budget in range(n_budgets)
        for size in range(n_sizes)
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_many_sizes_are_wrapped_and_none_is_lost(tmp_path: Path, width: int) -> None:
    cells = [make_cell(1e12, 16 + 8 * index) for index in range(25)]
    results = [make_result(cell, val_loss=2.0 + index / 1e4) for index, cell in enumerate(cells)]
    spec = save_sweep(tmp_path / "x.db", cells, results)
    text = shown(status_of(tmp_path, spec), width)
    assert all(f"{2.0 + index / 1e4:.4f}" in text for index in range(25))
    assert text.count("1.00e12 ") == 1


def test_a_large_grid_has_a_letter_per_size_and_the_lowest_loss_of_each_budget() -> None:
    lines = [line.plain for line in grid_lines(places(10, 1000), {}, 80)]
    assert max(map(len, lines)) <= 80
    assert sum(line.count("u") for line in lines) == 10 * 999
    assert sum(line.count("*") for line in lines) == 10
    assert sum("2.0000 at 1.00k" in line for line in lines) == 10
    assert len(lines) <= 10 * 15


def test_every_state_has_a_letter_of_its_own_in_a_large_grid() -> None:
    kinds = [*Standing, *Activity]
    many = [dataclasses.replace(place, state=kinds[i % len(kinds)]) for i, place in enumerate(places(1, 330))]
    first = grid_lines(many, {}, 80)[0].plain.removeprefix("1.00e12 ")
    assert len(set(first[1 : len(kinds) + 1])) == len(kinds)


def test_the_holder_is_a_process_that_lives(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    assert read_holder(lock) is None
    with sweep_lock(lock, "demo"):
        holder = read_holder(lock)
        assert holder is not None
        assert (holder.pid, holder.host, holder.alive) == (os.getpid(), socket.gethostname(), True)
    assert read_holder(lock) is None


def test_the_lock_of_a_killed_process_is_no_holder(tmp_path: Path) -> None:
    spec = save_sweep(tmp_path / "x.db", grid(1e12), [])
    code = (
        "import sys, time; from pathlib import Path; from isoflop.store import sweep_lock\n"
        "with sweep_lock(Path(sys.argv[1]), 'demo'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "x.lock"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        status = status_of(tmp_path, spec)
        assert status.holder is not None and status.holder.pid == process.pid
        assert status.next is Next.WAIT
        assert f"Held by process {process.pid}" in shown(status)
        process.send_signal(signal.SIGKILL)
    status = status_of(tmp_path, spec)
    assert status.holder is None
    assert status.abandoned_by is not None and status.abandoned_by.pid == process.pid
    assert status.next is Next.RUN
    text = shown(status)
    assert "is gone" in text and "Held by" not in text


@pytest.mark.parametrize(
    ("changes", "alive"),
    [
        ({"process_start": 1.0}, False),
        ({"started_at": "2001-01-01T00:00:00.000+00:00"}, True),
        ({"started_at": "2101-01-01T00:00:00.000+00:00"}, True),
        ({"host": "elsewhere"}, None),
        ({"pid": 2**31 - 1}, False),
        ({"pid": -1}, False),
        ({}, True),
    ],
    ids=[
        "number given to another process",
        "clock set forward since",
        "clock set back since",
        "elsewhere",
        "no such process",
        "no number",
        "this process",
    ],
)
def test_what_a_lock_file_says_is_checked(tmp_path: Path, changes: dict[str, object], alive: bool | None) -> None:
    content = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "command": "isoflop run demo.toml",
    }
    (tmp_path / "x.lock").write_text(json.dumps({**content, **changes}))
    holder = read_holder(tmp_path / "x.lock")
    assert holder is not None and holder.alive is alive


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", '{"pid": "x"}',
        '{"host":"o","pid":1,"process_start":1,"started_at":"0001-01-01T00:00:00+14:00","command":"x"}',
    ],
)  # fmt: skip
def test_a_lock_file_that_says_nothing_names_no_holder(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.lock").write_text(content)
    assert read_holder(tmp_path / "x.lock") is None


def test_a_sweep_file_that_changed_is_a_finding_and_one_not_planned_an_error(tmp_path: Path) -> None:
    spec = save_sweep(tmp_path / "x.db", grid(1e12), [])
    assert status_of(tmp_path, spec).findings == ()
    changed = spec.model_copy(update={"budgets": (2e12,)})
    status = status_of(tmp_path, changed)
    assert [finding.code for finding in status.findings] == ["sweep_file_changed"]
    assert "isoflop plan" in shown(status)
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


def test_reading_untouched_reads_again_what_changed_meanwhile_and_leaves_nothing(tmp_path: Path) -> None:
    cells = grid(1e12)
    save_sweep(tmp_path / "x.db", cells, [])
    seen: list[int] = []

    def read(store) -> int:
        n_pending = len(store.pending("demo"))
        if not seen:
            with open_store(tmp_path / "x.db", write=True) as writer:
                writer.record(make_result(cells[0]))
        seen.append(n_pending)
        return n_pending

    assert read_untouched(tmp_path / "x.db", read) == 6
    assert seen == [7, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_reading_untouched_beside_a_writer_sees_what_it_committed(tmp_path: Path) -> None:
    cells = grid(1e12)
    save_sweep(tmp_path / "x.db", cells, [])
    with open_store(tmp_path / "x.db", write=True) as writer:
        writer.record(make_result(cells[0]))
        assert len(read_untouched(tmp_path / "x.db", lambda store: store.pending("demo"))) == 6
