"""The processes of a sweep's jobs on the nodes of a Slurm of this machine."""

import contextlib
import json
import subprocess

import psutil

from tests.clusters.cluster_sweeps import ClusterSweep
from tests.clusters.slurm_daemons import Slurm


def jobs_of(sweep: ClusterSweep) -> str:
    """How the names of its jobs begin."""
    return f"isoflop-{sweep.name}-"


def pilots(slurm: Slurm, sweep: ClusterSweep) -> list[psutil.Process]:
    return [
        process for process in slurm.of_jobs(jobs_of(sweep)) if "isoflop.engine.pilots.pilot_start" in process.cmdline()
    ]


def workers(slurm: Slurm, sweep: ClusterSweep) -> dict[tuple[str, int], psutil.Process]:
    """The workers whose program is at work, by run and attempt."""
    found = {}
    for process in slurm.of_jobs(jobs_of(sweep)):
        with contextlib.suppress(psutil.NoSuchProcess):
            words, worker = process.cmdline(), process.parent()
            if "program.py" in words and worker is not None:
                found[words[words.index("program.py") + 1], int(words[-1])] = worker
    return found


def claimants(slurm: Slurm, sweep: ClusterSweep) -> dict[str, psutil.Process]:
    """The workers that have claimed a run and not finished it, by run; of any trainer."""
    found = {}
    for claim in sweep.folder.glob("isoflop-artifacts/*/claim.json"):
        with contextlib.suppress(FileNotFoundError, ValueError):  # its run has just ended
            said = json.loads(claim.read_text())
            worker = slurm.process(said["host"], said["pid"])
            if worker is not None and not list(claim.parent.glob("result-*")):
                found[claim.parent.name] = worker
    return found


def begin(sweep: ClusterSweep) -> "subprocess.Popen[str]":
    """The command, running; its runs will wait in their midst."""
    sweep.hold()
    return sweep.start()


def wait_for_new_attempts(sweep: ClusterSweep, runs: set[str], number: int = 2) -> None:
    """Wait until other attempts wait in the midst of these runs."""

    def begun() -> bool:
        attempts = {run: attempt for word, run, attempt, _, _ in sweep.diary() if word == "begun"}
        return all(attempts[run] >= number for run in runs) and runs <= sweep.held().keys()

    sweep.wait_for(begun)
