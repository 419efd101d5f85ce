"""Trials that die or are interrupted, and what they leave; measured memory in admission and micro-batch."""

import json
import os
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop.engine.execution import job_file, memory_needed, new_execution
from isoflop.engine.protocol import Slot
from isoflop.plan.estimate import MeasuredMemory, memory_bytes
from isoflop.plan.measurement import Measurement
from isoflop.plan.planner import make_plan
from isoflop.run_spec import Job, RunSpec
from isoflop.rundir import RunDir
from isoflop.spec import load_spec, parse_spec
from isoflop.sweep.forecast import measured_memory, trials_of
from isoflop.sweep.planning import PlannedSweep, corpora, plan_sweep, sweep_corpus
from isoflop.sweep.preflight import NotMeasured, open_preflight
from tests.engine.conftest import Sandbox, alive, kill
from tests.plan.test_plan_grid import LARGE_CORPUS
from tests.plan.test_plan_pace import RUNS, trial

MEASURE = ("plan", "tiny.toml", "--measure", "--device", "cpu", "--workers", "1")


def claims(sandbox: Sandbox) -> set[int]:
    """Processes at work on a trial."""
    found = set()
    for path in sandbox.folder.glob("isoflop-artifacts/measuring/*/claim.json"):
        try:
            found.add(int(json.loads(path.read_text())["pid"]))
        except (FileNotFoundError, ValueError):
            continue
    return {pid for pid in found if alive(pid)}


def seen_at_work(sandbox: Sandbox) -> set[int]:
    """The first processes that are seen at work on trials."""
    found: set[int] = set()
    sandbox.wait_for(lambda: found.update(claims(sandbox)) or found)
    return found


def n_measured(sandbox: Sandbox) -> int:
    with closing(sqlite3.connect(sandbox.folder / "isoflop.db")) as db:
        return int(db.execute("select count(*) from measurements").fetchone()[0])


def test_a_trial_that_is_killed_is_said_and_the_others_count(sandbox: Sandbox) -> None:
    process = sandbox.start(*MEASURE, "--json")
    [pid] = seen_at_work(sandbox)
    os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    left = json.loads(out)["estimate"]
    [sentence] = left["not_measured"]
    assert "its trial was killed by signal 9; its time is read from the other shapes" in sentence
    assert sentence in err and "Measured 5 of 6 shapes" in err
    assert left["rests_on"] == {"finished": 0, "measured": 5, "interpolated": 1, "guessed": 0}
    assert n_measured(sandbox) == 5
    assert not list(sandbox.folder.glob("isoflop-artifacts/measuring/*"))[1:]  # the lock alone


def test_ctrl_c_ends_the_trials_and_a_killed_command_leaves_none_either(sandbox: Sandbox) -> None:
    sweep = sandbox.folder / "tiny.toml"  # of shapes that are measured in ten seconds and more
    text = sweep.read_text().replace("sizes = 3", "sizes = 12").replace("0.3", "0.8")
    sweep.write_text(text.replace("[6e8, 1.2e9]", "[6e12, 1.2e13]").replace("12e3", "1e6"))
    process = sandbox.start(*MEASURE)
    trials = seen_at_work(sandbox)
    assert kill(process, signal.SIGINT) == 130
    sandbox.wait_for(lambda: not any(map(alive, trials)), seconds=30)
    process = sandbox.start(*MEASURE)
    trials = seen_at_work(sandbox)
    assert kill(process, signal.SIGKILL) == -9
    sandbox.wait_for(lambda: not any(map(alive, trials)), seconds=30)
    assert not list(sandbox.folder.glob("isoflop-artifacts/*/result-*.json"))


RUN = RUNS[0]
JOB = Job((RUN,))
CORE = Slot("cpu", "Some CPU", "", 1e9, bfloat16=False, n_sharing=2)
GPU = Slot("cuda", "Some GPU", "GPU-1", 1e9, bfloat16=True)


def test_measured_memory_is_what_a_job_takes_and_more_sequences_take_more() -> None:
    sequences = new_execution(JOB, CORE).micro_batch_sequences
    assert memory_needed(JOB, CORE) == pytest.approx(memory_bytes(RUN.shape, sequences))
    assert memory_needed(JOB, CORE, MeasuredMemory(3e8, sequences)) == pytest.approx(3e8)
    one_more = memory_bytes(RUN.shape, sequences) - memory_bytes(RUN.shape, sequences - 1)
    assert memory_needed(JOB, CORE, MeasuredMemory(3e8, sequences - 1)) == pytest.approx(3e8 + one_more)


def test_what_was_measured_changes_no_execution_on_a_cpu_and_none_that_has_begun(tmp_path: Path) -> None:
    """The micro-batch is part of the bits of a loss."""
    tight = replace(CORE, memory_bytes=2 * memory_bytes(RUN.shape, 2))

    def huge(job: Job, slot: Slot) -> MeasuredMemory:
        return MeasuredMemory(9e8, 1)

    for slot in (CORE, tight):
        plain = job_file(JOB, slot, RunDir(tmp_path / "new"))
        assert job_file(JOB, slot, RunDir(tmp_path / "new"), memory_of=huge) == plain
    wide = replace(GPU, memory_bytes=2e9)
    begun = RunDir(tmp_path / "begun")
    before = job_file(JOB, wide, begun)
    begun.write_job(before)
    assert job_file(JOB, wide, begun, memory_of=huge) == before


def test_on_a_gpu_a_shape_that_took_more_than_guessed_gets_smaller_micro_batches(tmp_path: Path) -> None:
    run = RUN.model_copy(update={"batch_sequences": 64})
    job, needed = Job((run,)), memory_bytes(run.shape, 64)
    slot = replace(GPU, memory_bytes=needed)
    assert job_file(job, slot, RunDir(tmp_path)).execution.micro_batch_sequences == 64
    measured = {"twice": MeasuredMemory(2 * needed, 64), "half": MeasuredMemory(needed / 2, 64)}
    found = {
        name: job_file(job, slot, RunDir(tmp_path), memory_of=lambda job, slot, one=one: one).execution
        for name, one in measured.items()
    }
    assert found["twice"].micro_batch_sequences < 64 == found["half"].micro_batch_sequences


def test_a_trial_tells_of_its_own_shape_batch_and_device_alone() -> None:
    of = measured_memory([trial(RUN, 0.1, memory_bytes=5e8, execution={"micro_batch_sequences": 2})])
    assert of(JOB, CORE) == MeasuredMemory(5e8, 2)
    assert of(JOB, replace(CORE, name="Another")) is None
    assert of(Job((RUNS[1],)), CORE) is None


def test_trials_that_were_computed_otherwise_do_not_count_and_as_many_at_once_count_most() -> None:
    sweep = {"name": "s", "budgets": [1e11, 4e11], "model": {"context_length": 64}}
    plan = make_plan(parse_spec(sweep, source="t"), LARGE_CORPUS)
    planned = PlannedSweep(plan, (CORE, CORE), LARGE_CORPUS, None)
    run = next(iter(plan.runs.values()))
    execution = new_execution(Job((run,)), CORE).model_dump(mode="json")
    both = trial(run, 0.2, n_at_once=2, execution=execution, eval_tokens=2 * run.eval_tokens, eval_seconds=1.0)
    alone = trial(run, 0.1, n_at_once=1, execution=execution)
    others = [
        trial(run, 9.0, execution={**execution, "step": "graph"}),
        trial(run, 9.0, execution=execution, optimizer="sgd"),
        trial(run, 9.0, execution=execution, device="Another"),
        trial(run, 9.0, execution={**execution, "dtype": "bfloat16"}),
    ]
    found = trials_of(planned, [both, alone, *others])
    assert [one.seconds_per_step for one in found] == [0.1, 0.2]
    assert found[-1].eval_seconds == pytest.approx(0.5)


def test_runs_that_share_a_device_are_timed_at_the_same_moment(sandbox: Sandbox) -> None:
    """On a core, which nothing is packed on but which shows it: two at once there take turns."""
    sandbox.run("plan", "tiny.toml", "--device", "cpu")
    sweep, artifacts = sandbox.folder / "tiny.toml", sandbox.folder / "isoflop-artifacts"
    corpus = sweep_corpus(load_spec(sweep), sweep, artifacts)
    planned = plan_sweep(load_spec(sweep), corpus, device="cpu", workers=1)
    run = next(run for run in planned.plan.runs.values() if isinstance(run, RunSpec))
    with open_preflight(planned.slots, artifacts, corpora(artifacts), seconds=1.0, probes=False) as preflight:
        [alone] = preflight.measure([run])
        assert isinstance(alone, Measurement) and alone.n_packed == 1
        small = replace(alone, memory_bytes=planned.slots[0].memory_bytes / 3)
        two, *more = preflight.measure_packed([(run, replace(small, seconds_per_step=1e9))])
        assert isinstance(two, Measurement) and not more, "memory suffices for two"
        assert (two.n_packed, two.n_at_once, two.shape) == (2, 2, run.shape) and two.n_steps > 1
        full = replace(alone, memory_bytes=planned.slots[0].memory_bytes / 1.5)
        assert not list(preflight.measure_packed([(run, full)]))
        [lost] = preflight.measure_packed([(run.model_copy(update={"corpus_fingerprint": "0" * 16}), small)])
        assert isinstance(lost, NotMeasured) and "2 at once on a device: its trial met an obstacle" in lost.sentence
