"""What happens to jobs and to the command on a real Slurm: nothing is lost, nothing done twice, nothing left."""

import signal
import time

import pytest

from isoflop import __version__
from isoflop.result import Provenance, RunResult, Status
from isoflop.rundir import RunDir
from isoflop.rundir.events import result_event
from tests.clusters.cluster_sweeps import HELD_AT
from tests.clusters.conftest import Count, NewSweep, nothing_left
from tests.clusters.slurm_daemons import Slurm
from tests.clusters.slurm_processes import begin, jobs_of, pilots, wait_for_new_attempts, workers


@pytest.mark.slow(25)
def test_jobs_that_are_killed_or_cancelled_cost_an_attempt_each(
    slurm: Slurm, new_sweep: NewSweep, counted: Count
) -> None:
    worker, pilot, every = new_sweep("worker", jobs=1), new_sweep("pilot", jobs=1), new_sweep("every")
    sweeps = (worker, pilot, every)
    commands = [begin(sweep) for sweep in sweeps]
    for sweep, number in zip(sweeps, (1, 1, 2), strict=True):
        sweep.wait_until_held(number)
    hit = [set(sweep.held()) for sweep in sweeps]

    workers(slurm, worker)[min(hit[0]), 1].kill()
    pilots(slurm, pilot)[0].kill()
    slurm.said("scancel", *slurm.queue(jobs_of(every)))

    for sweep, runs, command in zip(sweeps, hit, commands, strict=True):
        wait_for_new_attempts(sweep, runs)
        # to have gone on from its checkpoint is to begin in the midst
        assert {step for word, _, k, step, _ in sweep.diary() if word == "begun" and k == 2} == {HELD_AT}
        sweep.release()
        sweep.finish(command)
    assert counted("kill -9 of a worker", worker).attempts == 5
    assert counted("kill -9 of a pilot", pilot).attempts == 5
    assert counted("scancel of every job", every).attempts == 6
    ended = [[outcome for runs in sweep.attempts().values() for _, outcome in runs] for sweep in sweeps]
    assert [outcomes.count("died") for outcomes in ended] == [1, 1, 0]
    assert [outcomes.count("interrupted") for outcomes in ended] == [0, 0, 2]


def test_a_command_that_is_killed_takes_up_its_jobs_again(slurm: Slurm, new_sweep: NewSweep, counted: Count) -> None:
    sweep = new_sweep("taken-up", jobs=1)
    command = begin(sweep)
    sweep.wait_until_held(1)
    held, jobs = sweep.held(), slurm.queue(jobs_of(sweep))
    command.kill()
    command.communicate()
    again = sweep.start()
    sweep.wait_for(lambda: len(sweep.told("sweep_started")) == 2 and len(sweep.told("attempt_started")) >= 2)
    assert sweep.held() == held
    assert slurm.queue(jobs_of(sweep)) == jobs
    sweep.release()
    sweep.finish(again)
    assert counted("kill -9 of the command", sweep).attempts == 4
    assert [len(ended) for ended in sweep.attempts().values()] == [1] * 4


def test_a_command_that_is_killed_before_its_jobs_run_finds_them(
    slurm: Slurm, new_sweep: NewSweep, counted: Count
) -> None:
    """The jobs wait for a node; the file with their numbers is lost with the command."""
    sweep = new_sweep("queued", "sbatch=--begin=now+8")
    command = sweep.start()
    sweep.wait_for(lambda: len(slurm.queue(jobs_of(sweep))) == 2)
    jobs = set(slurm.queue(jobs_of(sweep)))
    command.kill()
    command.communicate()
    for numbers in sweep.folder.glob("isoflop-artifacts/pilots/*/jobs.json"):
        numbers.unlink()
    again = sweep.start()
    sweep.finish(again)
    assert counted("kill -9 of the command while its jobs wait", sweep).attempts == 4
    assert {str(job) for (job,) in sweep.sandbox.rows("select engine_job from attempts")} <= jobs


@pytest.mark.slow(25)
def test_ctrl_c_ends_jobs_in_order_and_twice_at_once(slurm: Slurm, new_sweep: NewSweep, counted: Count) -> None:
    once, twice, waiting = (
        new_sweep("once", jobs=1),
        new_sweep("twice", jobs=1),
        new_sweep("waiting", "sbatch=--begin=now+600"),
    )
    commands = [begin(once), begin(twice), waiting.start()]
    once.wait_until_held(1)
    twice.wait_until_held(1)
    waiting.wait_for(lambda: len(slurm.queue(jobs_of(waiting))) == 2)

    for command in commands:
        command.send_signal(signal.SIGINT)
    time.sleep(0.3)
    commands[1].send_signal(signal.SIGINT)
    for sweep, command in zip((once, twice, waiting), commands, strict=True):
        command.communicate(timeout=60)
        assert command.returncode in (130, -signal.SIGINT), sweep.name
        nothing_left(slurm, sweep)
    assert not waiting.diary()
    assert {o for runs in once.attempts().values() for _, o in runs} == {"interrupted"}

    for sweep in (once, twice):
        sweep.release()
        sweep.finish(sweep.start())
    assert counted("Ctrl-C", once).attempts == 5
    assert counted("Ctrl-C twice", twice).attempts == 5


def test_a_result_of_an_attempt_that_was_given_up_does_not_count(
    slurm: Slurm, new_sweep: NewSweep, counted: Count
) -> None:
    """As a process leaves it that was stopped just before it wrote: between its look for a fence and the file."""
    sweep = new_sweep("late", jobs=1)
    command = begin(sweep)
    sweep.wait_until_held(1)
    [run] = sweep.held()
    run_dir = RunDir(sweep.folder / "isoflop-artifacts" / run)
    workers(slurm, sweep)[run, 1].kill()
    wait_for_new_attempts(sweep, {run})
    run_dir.fence(1, "was lost with a node")
    run_dir.write_result(late_result(run))
    run_dir.append_event(result_event(run, "completed"))
    sweep.wait_for(lambda: sweep.told("late_result"))
    sweep.release()
    err = sweep.finish(command)
    assert [event["run_id"] for event in sweep.told("late_result")] == [run], err
    assert f"attempt 1 at {run}, which had been given up, left a result after all" in err
    assert counted("late result of a fenced attempt", sweep).attempts == 5
    [(attempt,)] = sweep.sandbox.rows(f"select attempt from results where run_id = '{run}'")
    assert attempt == 2


def late_result(run: str) -> RunResult:
    """A loss that no other attempt comes to."""
    return RunResult(
        run_id=run,
        status=Status.COMPLETED,
        attempt=1,
        n_steps=1,
        n_tokens=1,
        achieved_flops=1.0,
        spent_flops=1.0,
        val_loss=9.0,
        seconds=1.0,
        finished_at="2026-01-01T00:00:00+00:00",
        provenance=Provenance(host="n1", device="cpu", isoflop_version=__version__, python_version="3"),
    )
