"""Cluster: what starts pilots in allocations and says whether they live; Slurm, Ray."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from isoflop.errors import IsoflopError


class ClusterAwayError(IsoflopError):
    """The cluster does not answer, which may pass; nothing is refused."""


class JobState(Enum):
    """What a cluster says of a job."""

    QUEUED = "waits"
    RUNNING = "runs"
    SUSPENDED = "stands still"
    ENDED = "has ended"
    UNKNOWN = "is not known"


@dataclass(frozen=True)
class JobStatus:
    """A job as the cluster sees it.

    Attributes:
        said: the cluster's own word for the state, and its reason: "FAILED, NonZeroExitCode".
        exit_code: of its process, None where nobody says.
        node: where it runs, or ran; "" before.
        out_of_memory: whether something of it was ended for want of memory.
    """

    state: JobState
    said: str = ""
    exit_code: int | None = None
    node: str = ""
    out_of_memory: bool = False


class Cluster(Protocol):
    """Where pilots run. A job of it is named by a text of its own: "12_3" of Slurm."""

    @property
    def name(self) -> str:
        """What people call it: "Slurm"."""

    @property
    def engine(self) -> str:
        """As `--engine` and the database have it."""

    @property
    def cancel_command(self) -> str:
        """What a person types before jobs' names to cancel them."""

    def submit(self, folder: Path, number: int) -> list[str]:
        """Start pilots 0 to `number - 1` of `folder`, in one request; their jobs' names.

        Raises:
            ClusterAwayError: it does not answer; pilots that it starts all the same find their folder closed.
            IsoflopError: it will not.
        """

    def states(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """What it says of the jobs, in one request; of those it has forgotten UNKNOWN. Empty where nobody answers."""

    def know(self, jobs: Sequence[str], folder: Path) -> None:
        """Hear of the jobs that an earlier coordinator submitted for the pilots in `folder`."""

    def find(self, folder: Path) -> Mapping[int, str]:
        """The jobs of the pilots in `folder`, by pilot, where a coordinator never heard of them.

        Raises:
            ClusterAwayError: it does not answer.
        """

    def cancel(self, jobs: Sequence[str]) -> bool:
        """End them, queued or running; whether the cluster took that in."""

    def exchange(self) -> None:
        """See that orders reach pilots, and what they write comes back, where they do not see the coordinator's files.

        Asked at every look; returns at once, and does nothing where storage is shared.

        Raises:
            IsoflopError: that cannot be done.
        """

    def close(self) -> None:
        """Have what was ordered last reach the pilots, and let go of the cluster: nothing else is asked of it."""
