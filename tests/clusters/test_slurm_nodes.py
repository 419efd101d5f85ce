"""Nodes of a real Slurm that go, and come back; a controller that is away; time limits."""

import signal
import time
from collections.abc import Iterable

import psutil
import pytest

from isoflop.rundir import RunDir
from tests.clusters.conftest import Count, NewSweep
from tests.clusters.slurm_daemons import Slurm
from tests.clusters.slurm_processes import begin, jobs_of, pilots, wait_for_new_attempts, workers

AWAY_SECONDS = 20.0


@pytest.mark.slow(40)
@pytest.mark.timeout(200)
def test_runs_of_a_node_that_is_lost_go_on_elsewhere(slurm: Slurm, new_sweep: NewSweep, counted: Count) -> None:
    """A node without its slurmd, whose job lives on; one without power; one that stands still and comes back.

    Beside them jobs have a time limit, which Slurm looks at every half minute.
    """
    deaf, dark, still = (new_sweep(name, "partition=lossy", "mem=6000", jobs=1) for name in ("deaf", "dark", "still"))
    limited = new_sweep("limited", "time=1", "signal_seconds=30", jobs=1)
    sweeps = (deaf, dark, still, limited)
    still.hold(1, 2)
    commands = [begin(deaf), begin(dark), still.start(), begin(limited)]
    for sweep in sweeps:
        sweep.wait_until_held(1)
    lost = {sweep.name: sweep.held() for sweep in (deaf, dark, still)}
    nodes = {name: host for name, held in lost.items() for host in held.values()}
    assert len(set(nodes.values())) == 3

    slurm.kill_slurmd(nodes["deaf"])
    slurm.switch_off(nodes["dark"])
    stopped = slurm.processes(nodes["still"])
    for process in stopped:
        process.suspend()
    for sweep in (deaf, dark, still):
        wait_for_new_attempts(sweep, set(lost[sweep.name]))
        [run] = lost[sweep.name]
        assert RunDir(sweep.folder / "isoflop-artifacts" / run).is_fenced(1)

    # The attempt that was given up comes to its end, and so does its successor, before the node is itself again.
    [run] = lost["still"]
    still.release(1)
    asleep = pilots(slurm, still)
    woken = [process for process in stopped if not _is_of_slurm(process) and process not in asleep]

    def finished() -> bool:
        _wake(woken)  # again and again: a worker that sees its pilot stopped has its program rest
        return ("finished", run, 1) in [entry[:3] for entry in still.diary()]

    still.wait_for(finished)
    log = still.folder / "isoflop-artifacts" / run / "attempt-1" / "log.txt"
    still.wait_for(lambda: "attempt 1 was given up: its result is not kept" in log.read_text())
    workers(slurm, still)[run, 2].kill()
    still.wait_for(lambda: ("begun", run, 3) in [entry[:3] for entry in still.diary()])
    _wake(stopped)
    still.release(2)
    for node in (nodes["deaf"], nodes["dark"]):
        slurm.start_node(node)
    limited.wait_for(lambda: any("time limit" in str(told["reason"]) for told in limited.told("attempt_ended")))
    for sweep in (deaf, dark, limited):
        sweep.release()
    for sweep, command in zip(sweeps, commands, strict=True):
        sweep.finish(command)
    assert counted("slurmd killed, its job lives on", deaf).attempts == 5
    assert counted("node without power", dark).attempts == 5
    assert counted("node that stood still comes back", still).attempts == 6
    assert counted("time limit", limited).attempts >= 5
    slurm.wait_for_nodes()


def _is_of_slurm(process: psutil.Process) -> bool:
    return process.name().startswith(("slurm", "sh"))


def _wake(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.resume()
        except psutil.NoSuchProcess:
            continue


@pytest.mark.slow(35)
@pytest.mark.timeout(200)
def test_a_sweep_outlives_a_controller_that_is_away(slurm: Slurm, new_sweep: NewSweep, counted: Count) -> None:
    """Meanwhile a worker is killed and a pilot told to go; another sweep's command is killed, and given again for more
    jobs than there are.
    """
    busy, again = new_sweep("busy"), new_sweep("again", jobs=1)
    commands = [begin(busy), begin(again)]
    busy.wait_until_held()
    again.wait_until_held(1)
    slurm.stop_controller()
    gone = time.monotonic()
    try:
        commands[1].kill()
        commands[1].communicate()
        commands[1] = again.start("--workers", "2")
        one, other = busy.held()
        workers(slurm, busy)[one, 1].kill()
        wait_for_new_attempts(busy, {one})
        working = workers(slurm, busy)[other, 1]
        [pilot] = [pilot for pilot in pilots(slurm, busy) if working in pilot.children(recursive=True)]
        pilot.send_signal(signal.SIGTERM)
        again.wait_for(lambda: len(again.told("attempt_started")) >= 2)
        again.release()
        time.sleep(max(0.0, gone + AWAY_SECONDS - time.monotonic()))
    finally:
        slurm.start_controller()
    wait_for_new_attempts(busy, {one, other})
    busy.release()
    for sweep, command in zip((busy, again), commands, strict=True):
        sweep.finish(command)
    assert counted("slurmctld away for 20 s, a worker and a pilot end", busy, times=1).attempts == 6
    assert counted("slurmctld away for 20 s, the command is killed", again).attempts == 4
    slurm.wait_for_nodes()
    assert not slurm.queue(jobs_of(busy))
