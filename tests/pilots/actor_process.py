"""A `PilotActor` in a process of its own, as Ray has it, without Ray."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from isoflop.engine.pilots.mailbox import Mailbox
from isoflop.engine.ray import pilot_actor
from isoflop.engine.ray.mirror_copies import file_names
from isoflop.engine.ray.pilot_actor import PilotActor

_SPAWN = multiprocessing.get_context("spawn")


class ActorProcess:
    """Calls its methods by name; every call is answered in turn."""

    def __init__(self, process: Any, connection: Connection) -> None:
        self.process, self._connection, self._turn = process, connection, threading.Lock()
        self.called: list[tuple[Any, ...]] = []

    def __call__(self, method: str, *arguments: object) -> Any:
        with self._turn:
            self.called.append((method, *arguments))
            self._connection.send((method, arguments))
            return self._connection.recv()


def _serve(connection: Connection, place: str, given: dict[str, Any], stay_seconds: float) -> None:
    os.environ["TMPDIR"] = place
    pilot_actor.STAY_FAILED_SECONDS = stay_seconds
    actor = PilotActor(**given)
    while True:
        method, arguments = connection.recv()
        connection.send(getattr(actor, method)(*arguments))


@contextmanager
def actor_process(box: Path, node: Path, *, stay_seconds: float = 30.0, **options: Any) -> Iterator[ActorProcess]:
    """The actor of the mailbox, on a node with that folder for what is temporary.

    `stay_seconds`: what it stays where no pilot could be started.
    """
    node.mkdir(exist_ok=True)
    given = {
        "folder": str(box.parent),
        "number": int(box.name),
        "names": file_names(Mailbox(box)),
        "content": (box / "pilot.json").read_bytes(),
        "storage": "copied",
        "python": None,
        "gpus": 0.0,
        "grace_seconds": 5.0,
    }
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, str(node), given | options, stay_seconds), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ActorProcess(process, ours)
    finally:
        process.kill()
        process.join()
