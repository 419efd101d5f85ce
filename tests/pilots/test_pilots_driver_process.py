"""How the driver's process joins a cluster, and serves its coordinator; a stand-in for Ray."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from isoflop.errors import IsoflopError
from tests.engine.test_engine_ray_words import VERSIONS
from tests.pilots.noting_ray import NotingRay
from tests.pilots.ray_stand_in import driver_module

Serve = Callable[[str], contextlib.AbstractContextManager[Connection]]


@pytest.fixture
def ray() -> NotingRay:
    return NotingRay()


@pytest.fixture
def module(ray: NotingRay) -> Iterator[Any]:
    with driver_module(ray) as made:
        yield made


@pytest.fixture
def head() -> Iterator[str]:
    """The address of something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_the_cluster_is_joined_in_a_namespace_of_isoflops_own(
    ray: NotingRay, module: Any, head: str, scheme: str
) -> None:
    module._connect(scheme + head)
    assert [(given["address"], given["namespace"]) for given in ray.joined] == [(scheme + head, "isoflop")]


def test_a_place_where_nobody_listens_is_told_before_ray_tries(ray: NotingRay, module: Any) -> None:
    with socket.socket() as taken:  # bound, and does not listen
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(IsoflopError, match=f"No Ray cluster answers at {address}: Connection refused"):
            module._connect(address)
    assert not ray.joined


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("AuthenticationError", "", "wants a token, and none is given here"),
        ("RuntimeError", VERSIONS, "Ray 2.40.0 on Python 3.10.4 there, Ray 2.60.0 on Python 3.11.7 here"),
        ("RuntimeError", "\n  The client is away.\n more", "The client is away."),
    ],
)
def test_why_a_cluster_lets_nobody_in_is_told(
    ray: NotingRay, module: Any, head: str, kind: str, text: str, said: str
) -> None:
    ray.joins = RuntimeError(text) if kind == "RuntimeError" else ray.error(kind, text)
    with pytest.raises(IsoflopError) as caught:
        module._connect(head)
    assert said in caught.value.message


@pytest.fixture
def served(module: Any, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Runs the driver's entry point for an address, for the time of a block; gives the coordinator's end."""
    parents: list[int] = []
    monkeypatch.setattr(module, "die_at_once_with", parents.append)

    @contextlib.contextmanager
    def serve(address: str) -> Iterator[Connection]:
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=module.main, args=(address, str(theirs.detach()), "77"), daemon=True)
        thread.start()
        with Connection(ours.detach()) as connection:
            yield connection
        thread.join(20)
        assert not thread.is_alive() and parents == [77]

    return serve


def heard(connection: Connection) -> Any:
    assert connection.poll(20)
    return connection.recv()


def test_requests_are_answered_by_number_until_the_coordinator_is_gone(
    ray: NotingRay, head: str, served: Serve
) -> None:
    ray.refusals["job-0"] = ValueError("no such resource")
    with served(head) as connection:
        assert heard(connection)[0] == "imported"
        assert heard(connection) == ("ready", {"gpus": 0.0, "ray": "2.60.0"})
        connection.send((1, "find", ("x",)))
        assert heard(connection) == (1, "value", [])
        connection.send((2, "submit", ([("job-0", {})], {})))
        number, kind, message, hint = heard(connection)
        assert (number, kind, message) == (2, "error", "Ray refused: no such resource.") and hint

        def silent(all_namespaces: bool) -> None:
            raise ray.error("GetTimeoutError", "GCS is away")

        ray.util.__dict__["list_named_actors"] = silent
        connection.send((3, "find", ("x",)))
        assert heard(connection) == (3, "silent", "GCS is away")


def test_a_coordinator_hears_why_the_cluster_cannot_be_joined(ray: NotingRay, head: str, served: Serve) -> None:
    ray.joins = ray.error("AuthenticationError")
    with served(head) as connection:
        heard(connection)
        kind, message, hint = heard(connection)
        assert kind == "error" and "wants a token" in message and "RAY_AUTH_TOKEN" in hint
