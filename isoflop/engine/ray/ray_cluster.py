"""Ray as a cluster: pilots are children of detached actors, whose names are the jobs'."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isoflop.engine.pilots.cluster import JobState, JobStatus
from isoflop.engine.pilots.mailbox import Mailbox
from isoflop.engine.ray import ray_errors
from isoflop.engine.ray.mirror_copies import file_names
from isoflop.engine.ray.ray_link import NoAnswerError, RayLink
from isoflop.errors import IsoflopError
from isoflop.spec import RaySpec

# "auto" would join whatever cluster this machine is part of.
ADDRESS = re.compile(r"(ray://)?(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
# What a request may take before the cluster counts as silent.
SUBMIT_SECONDS, LOOK_SECONDS, LAST_SECONDS = 60.0, 8.0, 10.0


class RayCluster:
    """The Ray cluster that the options, or RAY_ADDRESS, name. Its token passes through in the environment alone.

    Args:
        sweep: its name is part of the actors' names.
        on_gpus: whether the sweep may train on GPUs.
        environment: of this process.
    """

    name, engine = "Ray", "ray"
    cancel_command = "python -m isoflop.engine.ray.ray_cancel"

    def __init__(
        self, options: RaySpec, sweep: str, *, on_gpus: bool, environment: Mapping[str, str] = os.environ
    ) -> None:
        """See the class.

        Raises:
            IsoflopError: Ray is not installed, no cluster is named, or that one does not let us in.
        """
        self._options, self._sweep = options, sweep
        self._boxes: dict[str, Path] = {}
        self._trouble: tuple[str, str] | None = None
        self._unwanted: list[str] = []  # may have been created by a request that was not answered
        self._address = address_of(options.address, environment)
        see_what_is_installed(self._address)
        self._link = RayLink(self._address, environment)
        has_gpus = self._link.open()["gpus"] > 0
        default = 1.0 if on_gpus and has_gpus else 0.0
        self._gpus = default if options.num_gpus is None else options.num_gpus

    def submit(self, folder: Path, number: int) -> list[str]:
        """See `Cluster`: an actor each."""
        jobs = [self._job(folder, index) for index in range(number)]
        self.know(jobs, folder)
        told = [(job, self._arguments(folder, index)) for index, job in enumerate(jobs)]
        try:
            self._link.ask("submit", told, self._asked_of_ray(), seconds=SUBMIT_SECONDS)
        except NoAnswerError:
            self._unwanted += jobs
            raise ray_errors.silent(self._address, self._link.trouble) from None
        return jobs

    def _job(self, folder: Path, index: int) -> str:
        return f"isoflop-{self._sweep}-{folder.name}-{index}"

    def _arguments(self, folder: Path, index: int) -> dict[str, Any]:
        """Of `PilotActor`."""
        box = Mailbox(folder / str(index))
        return {
            "folder": str(folder),
            "number": index,
            "names": file_names(box),
            "content": box.pilot_path.read_bytes(),
            "storage": self._options.storage,
            "python": self._options.python,
            "gpus": self._gpus,
            "grace_seconds": self._options.grace_seconds,
        }

    def _asked_of_ray(self) -> dict[str, Any]:
        options = self._options
        asked: dict[str, Any] = {"num_cpus": options.num_cpus, "num_gpus": self._gpus}
        if options.memory is not None:
            asked["memory"] = options.memory
        if options.resources:
            asked["resources"] = dict(options.resources)
        return asked

    def _wanted(self) -> dict[str, float]:
        """What an actor takes of its node, in Ray's words."""
        options = self._options
        wanted = {"GPU": self._gpus, "CPU": options.num_cpus, "memory": float(options.memory or 0)}
        return {name: amount for name, amount in (wanted | options.resources).items() if amount}

    def know(self, jobs: Sequence[str], folder: Path) -> None:
        """See `Cluster`."""
        self._boxes |= {job: folder / str(index) for index, job in enumerate(jobs)}

    def states(self, jobs: Collection[str]) -> Mapping[str, JobStatus]:
        """See `Cluster`: one wait for all actors."""
        boxes = {job: self._boxes[job] for job in jobs if job in self._boxes}
        try:
            states: dict[str, JobStatus]
            states, self._trouble = self._link.ask("states", boxes, self._wanted(), seconds=LOOK_SECONDS)
            if self._unwanted and self.cancel(self._unwanted):
                self._unwanted.clear()
        except NoAnswerError:
            return {}
        return states | {job: JobStatus(JobState.UNKNOWN) for job in jobs if job not in boxes}

    def find(self, folder: Path) -> dict[int, str]:
        """See `Cluster`: by the names that their actors were given."""
        prefix = self._job(folder, 0).removesuffix("0")
        try:
            names = self._link.ask("find", prefix, seconds=LOOK_SECONDS)
        except NoAnswerError:
            raise ray_errors.silent(self._address, self._link.trouble) from None
        numbers = [int(name.removeprefix(prefix)) for name in names if name.removeprefix(prefix).isdecimal()]
        self._boxes |= {self._job(folder, index): folder / str(index) for index in numbers}
        return {index: self._job(folder, index) for index in numbers}

    def exchange(self) -> None:
        """See `Cluster`: the driver copies by itself where storage is not shared; in `states` it says how that goes."""
        if self._trouble is not None:
            message, hint = self._trouble
            raise IsoflopError(message, hint=hint)

    def cancel(self, jobs: Sequence[str]) -> bool:
        """See `Cluster`: SIGTERM for pilots that run; actors that wait are killed."""
        try:
            self._link.ask("cancel", list(jobs), seconds=LOOK_SECONDS)
        except NoAnswerError:
            return False
        return True

    def close(self) -> None:
        """See `Cluster`."""
        self._link.close(LAST_SECONDS)


def address_of(option: str | None, environment: Mapping[str, str]) -> str:
    """The cluster's address, as it was given or as RAY_ADDRESS has it.

    Raises:
        IsoflopError: there is none, or none that names a place.
    """
    address = option or environment.get("RAY_ADDRESS", "")
    if not address:
        raise ray_errors.no_address()
    if ADDRESS.fullmatch(address) is None:
        raise ray_errors.bad_address(address)
    return address


def see_what_is_installed(address: str) -> None:
    """See whether this Python can connect there.

    Raises:
        IsoflopError: Ray, or what an address of that kind takes besides, is not installed.
    """
    if find_spec("ray") is None:
        raise ray_errors.not_installed()
    if address.startswith("ray://") and find_spec("grpc") is None:
        raise ray_errors.no_client()
