"""Assignment: what an engine tells the worker it starts."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Assignment:
    """What an engine tells a worker.

    Attributes:
        job_dir: the run directory.
        attempt: number of this attempt, from 1.
        corpora: folder of tokenised corpora.
        peaks: folder of the devices' measured rates.
        coordinator_pid: process that the worker must not outlive.
        visible_device: value of CUDA_VISIBLE_DEVICES; "" hides every GPU.
        git_commit, git_dirty: state of the sweep's source tree, None outside a repository.
    """

    job_dir: Path
    attempt: int
    corpora: Path
    peaks: Path
    coordinator_pid: int
    visible_device: str
    git_commit: str | None
    git_dirty: bool | None
