"""The driver: a process that is connected to a Ray cluster, and does what its coordinator asks. It alone imports ray.

    python -m isoflop.engine.ray.ray_driver ADDRESS DESCRIPTOR PARENT_PID

A head that hangs, or Ray's own way to end a process that has lost it, stops this process and not the coordinator.
"""

import contextlib
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ray
import ray.cloudpickle
import ray.exceptions
import ray.util

from isoflop.engine.pilots.cluster import JobState, JobStatus
from isoflop.engine.pilots.mailbox import Mailbox
from isoflop.engine.ray import pilot_actor, ray_errors
from isoflop.engine.ray.mirror_copies import MirrorCopies
from isoflop.engine.ray.pilot_actor import PilotActor
from isoflop.errors import IsoflopError
from isoflop.train.process import die_at_once_with

NAMESPACE = "isoflop"
# What a living actor has to answer, and one that may still wait for its node, seconds.
ANSWER_SECONDS, FIRST_ANSWER_SECONDS = 3.0, 0.3
CALL_SECONDS, ROUND_SECONDS = 60.0, 0.3
TCP_SECONDS = 5.0
# So long a disk of a node may be full before the command ends.
FAILING_SECONDS = 60.0
# What Ray says of an actor that is no more, or never will be. It says other things that pass.
_DEAD = (
    ray.exceptions.ActorDiedError,
    ray.exceptions.ActorUnschedulableError,
    ray.exceptions.ActorPlacementGroupRemoved,
    ray.exceptions.RuntimeEnvSetupError,
)


class Driver:
    """Actors of one cluster, by name: a pilot's job. `boxes`: the folder of each pilot, by job."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}  # requests for a status that are not answered
        self._answered: dict[str, dict[str, Any]] = {}  # the last answer
        self._ended: dict[str, JobStatus] = {}
        self._copies: dict[str, MirrorCopies] = {}
        self._trouble: IsoflopError | None = None

    def facts(self) -> dict[str, Any]:
        """What a coordinator wants to know of the cluster."""
        return {"gpus": ray.cluster_resources().get("GPU", 0.0), "ray": ray.__version__}

    def submit(self, jobs: Sequence[tuple[str, dict[str, Any]]], options: Mapping[str, Any]) -> None:
        """Create an actor for each job, a name and the arguments of `PilotActor`; all of them, or none.

        Raises:
            IsoflopError: Ray refuses.
        """
        ray.cloudpickle.register_pickle_by_value(pilot_actor)
        made = ray.remote(PilotActor)
        try:
            for job, arguments in jobs:
                self._handles[job] = made.options(
                    name=job,
                    namespace=NAMESPACE,
                    lifetime="detached",
                    max_restarts=0,
                    max_task_retries=0,
                    **options,
                ).remote(**arguments)
        except (ray.exceptions.RayError, ValueError, TypeError) as error:
            self.cancel([job for job, _ in jobs if job in self._handles])
            raise ray_errors.refused(str(error)) from None

    def states(
        self, boxes: Mapping[str, Path], wanted: Mapping[str, float]
    ) -> tuple[dict[str, JobStatus], tuple[str, str] | None]:
        """How the jobs are, those left out that do not answer in time; and what would stop every pilot, with a hint.

        `wanted`: what each takes of a node.
        """
        states: dict[str, JobStatus] = {}
        for job in boxes:
            if job not in self._ended and job not in self._asked:
                self._ask(job)
        asked = {job: ref for job, ref in self._asked.items() if job in boxes}
        lively = [ref for job, ref in asked.items() if job in self._answered]
        _wait(lively, ANSWER_SECONDS)
        done = set(_wait(list(asked.values()), FIRST_ANSWER_SECONDS))
        waits = any(ref not in done and job not in self._answered for job, ref in asked.items())
        lacks = _what_lacks(wanted) if waits else ""
        for job, box in boxes.items():
            if job in self._ended:
                states[job] = self._ended[job]
            elif asked[job] in done:
                del self._asked[job]
                if (status := self._status(job, asked[job], box)) is not None:
                    states[job] = status
            elif job not in self._answered:
                states[job] = JobStatus(JobState.QUEUED, lacks)
        return states, (self._trouble.message, self._trouble.hint) if self._trouble is not None else None

    def _ask(self, job: str) -> None:
        if job not in self._handles:
            self._look_up(job)
        if job in self._handles:
            self._asked[job] = self._handles[job].status.remote()

    def _look_up(self, job: str) -> None:
        """Have a handle of an actor by its name; one that Ray does not know has ended."""
        try:
            self._handles[job] = ray.get_actor(job, namespace=NAMESPACE)
        except ValueError:
            self._note_end(job, JobStatus(JobState.ENDED, "no actor of that name is there any more"))

    def _status(self, job: str, ref: Any, box: Path) -> JobStatus | None:
        """What an actor that has answered, or is known to be dead, comes to; None where nobody can tell."""
        last = self._answered.get(job, {})
        try:
            said = self._answered[job] = ray.get(ref, timeout=ANSWER_SECONDS)
        except _DEAD as error:
            words, node = ray_errors.words_of_death(str(error))
            return self._note_end(job, JobStatus(JobState.ENDED, words, None, last.get("host") or node))
        except (ray.exceptions.RayTaskError, ray.exceptions.ActorUnavailableError, ray.exceptions.GetTimeoutError):
            return None  # it lives, or may: an exception of its method is not its end
        except ray.exceptions.RayError:
            self._look_up(job)  # whatever that was, Ray knows whether the actor is there
            return self._ended.get(job)
        if said["mirror"] is not None and not said["problem"] and job not in self._copies:
            self._copy(job, MirrorCopies(Mailbox(box), Path(said["mirror"]), self._caller(job)))
        code, copies = said["exit_code"], self._copies.get(job)
        problem = said["problem"]
        if (code is None and not problem) or (copies is not None and not copies.is_over):
            return JobStatus(JobState.RUNNING, "", None, said["host"])
        self._remove(job)
        return self._note_end(job, JobStatus(JobState.ENDED, problem or f"exit code {code}", code, said["host"]))

    def _note_end(self, job: str, status: JobStatus) -> JobStatus:
        self._ended[job] = status
        self._handles.pop(job, None)
        return status

    def _remove(self, job: str) -> None:
        """Have an actor go whose pilot has ended, and its mirror."""
        with contextlib.suppress(ray.exceptions.RayError):
            self._handles[job].leave.remote()

    def _caller(self, job: str) -> Any:
        def call(method: str, *arguments: object) -> Any:
            return ray.get(getattr(self._handles[job], method).remote(*arguments), timeout=CALL_SECONDS)

        return call

    def _copy(self, job: str, copies: MirrorCopies) -> None:
        self._copies[job] = copies
        threading.Thread(target=self._keep_copying, args=(job, copies), daemon=True).start()

    def _keep_copying(self, job: str, copies: MirrorCopies) -> None:
        """Copy for a pilot until it is over, or its actor is gone."""
        fails_since: float | None = None  # in the actor
        while not copies.is_over and job not in self._ended:
            try:
                with copies.alone() as alone:
                    while alone and not copies.is_over and job not in self._ended:
                        copies.round()
                        fails_since = None
                        time.sleep(ROUND_SECONDS)
            except ray.exceptions.RayTaskError as error:
                fails_since = fails_since or time.monotonic()
                if time.monotonic() - fails_since > FAILING_SECONDS:
                    self._trouble = ray_errors.not_copied(self._answered[job]["host"], str(error))
            except (*_DEAD, KeyError):
                copies.is_over = True  # the actor is no more; `states` says why
            except ray.exceptions.RayError:
                pass  # it may pass
            except IsoflopError as error:
                self._trouble = error
            except OSError as error:
                path = f" ({error.filename})" if error.filename else ""
                self._trouble = IsoflopError(
                    f"Files of runs cannot be copied: {error.strerror}{path}.",
                    hint="Make room or correct the permissions; the same command continues.",
                )
            except Exception as error:  # else nobody would hear why nothing comes any more
                self._trouble = ray_errors.not_copied(self._answered[job]["host"], repr(error))
            time.sleep(ROUND_SECONDS)

    def find(self, prefix: str) -> list[str]:
        """The names of living actors that begin so."""
        actors = ray.util.list_named_actors(all_namespaces=True)
        names = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]
        return [name for name in names if name.startswith(prefix)]

    def cancel(self, jobs: Collection[str]) -> list[str]:
        """Have pilots that run end in their grace; those that wait never begin. The jobs that Ray does not know."""
        handles: dict[str, Any] = {}
        for job in jobs:
            with contextlib.suppress(ValueError):
                handles[job] = self._handles.get(job) or ray.get_actor(job, namespace=NAMESPACE)
        told = {job: handle.stop.remote() for job, handle in handles.items()}
        heard = set(_wait(list(told.values()), FIRST_ANSWER_SECONDS))
        for job, handle in handles.items():
            if told[job] not in heard:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.kill(handle)
        return [job for job in jobs if job not in handles]

    def finish(self, seconds: float) -> None:
        """Have pilots hear what was ordered last, where that takes no longer than so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(
            copies.has_orders_to_bring and not copies.is_over for copies in self._copies.values()
        ):
            time.sleep(0.1)


def _wait(refs: list[Any], seconds: float) -> list[Any]:
    return list(ray.wait(refs, num_returns=len(refs), timeout=seconds)[0]) if refs else []


def _what_lacks(wanted: Mapping[str, float]) -> str:
    """Why an actor waits: that no node has what it takes, or that others have it now."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fits = any(all(node.get(name, 0.0) >= amount for name, amount in wanted.items()) for node in nodes)
    words = ", ".join(f"{name} {amount:g}" for name, amount in wanted.items())
    return "waits for resources" if fits else f"no node of the cluster has {words}"


def _connect(address: str) -> None:
    """Join the cluster.

    Raises:
        IsoflopError: it cannot be reached, or lets nobody in.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=TCP_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ray_errors.unreachable(address, getattr(error, "strerror", None) or str(error)) from None
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    except ray.exceptions.AuthenticationError:
        raise ray_errors.not_let_in(address, has_token=False) from None
    except Exception as error:  # whatever it is, it is Ray's
        if "Version mismatch" in str(error) or "version mismatch" in str(error):
            raise ray_errors.other_version(address, str(error)) from None
        raise ray_errors.unreachable(address, ray_errors.first_line(str(error))) from None


def main(address: str, descriptor: str, parent: str) -> None:
    """Entry point of the process: answers requests until nobody is there to make them."""
    die_at_once_with(int(parent))
    connection = Connection(int(descriptor))
    connection.send(("imported", platform.python_version()))
    try:
        _connect(address)
    except IsoflopError as error:
        connection.send(("error", error.message, error.hint))
        return
    driver = Driver()
    connection.send(("ready", driver.facts()))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            number, method, arguments = connection.recv()
            connection.send((number, *_answer(driver, method, arguments)))


def _answer(driver: Driver, method: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        return "value", getattr(driver, method)(*arguments)
    except IsoflopError as error:
        return "error", error.message, error.hint
    except ray.exceptions.RayError as error:
        return "silent", str(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # what Ray would do at exit may wait for a cluster that does not answer
