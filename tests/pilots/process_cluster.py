"""A cluster whose jobs are processes of this machine: pilots without Slurm, in tenths of a second."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psutil

from isoflop.engine.pilots.cluster import JobState, JobStatus
from isoflop.processes import is_running, process_start


class ProcessCluster:
    """Names a job by its process and when that started, so that a later coordinator knows it too.

    Attributes:
        submitted: jobs, in order, with their pilots' folders.
        said: what is said of a job whatever is true.
        n_asked: how often it was asked for states.
        command: what a pilot is started with, before its folder and number.
    """

    name, engine, cancel_command = "Slurm", "slurm", "kill"

    def __init__(self) -> None:
        self.submitted: dict[str, Path] = {}
        self.said: dict[str, JobStatus] = {}
        self.n_asked = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.command = [sys.executable, "-P", "-m", "isoflop.engine.pilots.pilot_start"]

    def submit(self, folder: Path, number: int) -> list[str]:
        jobs = [self._start(folder, index) for index in range(number)]
        self.submitted |= {job: folder / str(index) for index, job in enumerate(jobs)}
        return jobs

    def _start(self, folder: Path, index: int) -> str:
        with (folder / str(index) / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                [*self.command, str(folder), str(index)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return f"{process.pid}:{process_start(process.pid)}"

    def end(self) -> None:
        """Kill what is left of every job."""
        for job in self.submitted:
            for process in kin(job):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        for process in self.processes:
            process.wait()

    def know(self, jobs: Sequence[str], folder: Path) -> None:
        self.submitted |= {job: folder / str(index) for index, job in enumerate(jobs)}

    def find(self, folder: Path) -> dict[int, str]:
        return {}

    def states(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        self.n_asked += 1
        return {job: self.said.get(job) or _status(job) for job in jobs}

    def cancel(self, jobs: Sequence[str]) -> bool:
        for job in jobs:
            send(job, signal.SIGTERM)
        return True

    def exchange(self) -> None:
        """Storage is shared."""

    def close(self) -> None:
        """Nothing is held."""


def _status(job: str) -> JobStatus:
    if alive(job):
        return JobStatus(JobState.RUNNING, "RUNNING", None, "n1")
    return JobStatus(JobState.ENDED, "COMPLETED", None, "n1")


def alive(job: str) -> bool:
    pid, _, start = job.partition(":")
    return is_running(int(pid), float(start))


def send(job: str, number: signal.Signals) -> None:
    """Send the pilot of the job a signal."""
    with contextlib.suppress(ProcessLookupError):
        if alive(job):
            os.kill(int(job.partition(":")[0]), number)


def kin(job: str) -> list[psutil.Process]:
    """The pilot of the job and all that it has started."""
    try:
        pilot = psutil.Process(int(job.partition(":")[0]))
        return [pilot, *pilot.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
