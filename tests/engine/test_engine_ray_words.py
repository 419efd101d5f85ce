"""What is said of a Ray cluster, and what may be asked of one; without Ray."""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import isoflop
from isoflop.engine.ray import ray_errors, ray_link
from isoflop.engine.ray.ray_cluster import RayCluster, address_of
from isoflop.engine.ray.ray_link import NoAnswerError, RayLink
from isoflop.errors import IsoflopError
from isoflop.spec import RaySpec, parse_spec, with_options

RAY_IMPORT = re.compile(r"^\s*(import ray\b|from ray\b)", re.MULTILINE)
# As Ray 2.60 words them (ray/exceptions.py, ActorDiedError; ray/_private/utils.py, check_version_info).
NODE_DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: PilotActor
\tactor_id: 1a2b
\tpid: 77
\tname: isoflop-s-1-0
\tnamespace: isoflop
\tip: 10.0.0.7
The actor is dead because its node has died. Node Id: 6b
\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats
"""
WORKER_DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: PilotActor
\tip: 10.0.0.8
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed
"""
VERSIONS = """Version mismatch: The cluster was started with:
    Ray: 2.40.0
    Python: 3.10.4
This process on 10.0.0.1 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


def test_the_death_of_an_actor_is_told_with_its_cause_and_node() -> None:
    assert ray_errors.words_of_death(NODE_DIED) == ("NodeDied", "10.0.0.7")
    words, node = ray_errors.words_of_death(WORKER_DIED)
    assert node == "10.0.0.8"
    assert words.startswith("ActorDied, The actor is dead because its worker process has died.")
    assert words.endswith("End of file")


def test_other_versions_on_the_cluster_are_named() -> None:
    error = ray_errors.other_version("h:6379", VERSIONS)
    assert "Ray 2.40.0 on Python 3.10.4 there, Ray 2.60.0 on Python 3.11.7 here" in error.message


@pytest.mark.parametrize(
    "address", ["auto", "local", "head", "head:", ":6379", "ray://", "http://head:6379", "head:6379/x"]
)
def test_what_is_not_the_address_of_one_cluster_is_refused(address: str) -> None:
    with pytest.raises(IsoflopError, match="is not the address of a Ray cluster"):
        address_of(address, {})
    with pytest.raises(IsoflopError, match="is not the address of a Ray cluster"):
        address_of(None, {"RAY_ADDRESS": address})


@pytest.mark.parametrize("address", ["head:6379", "10.0.0.1:6379", "ray://head.example.org:10001", "[fe80::1]:6379"])
def test_host_and_port_are_an_address_and_an_option_goes_before_the_environment(address: str) -> None:
    assert address_of(address, {"RAY_ADDRESS": "other:1"}) == address
    assert address_of(None, {"RAY_ADDRESS": address}) == address


def test_no_address_is_never_any_cluster_of_this_machine() -> None:
    with pytest.raises(IsoflopError, match="no address of a Ray cluster"):
        RayCluster(RaySpec(), "s", on_gpus=False, environment={})


def test_options_of_the_command_line_are_read_as_what_they_are() -> None:
    said = {"num_gpus": "0.5", "memory": "1000", "resources": "a100=2", "address": "h:1"}
    options = with_options(RaySpec(), said)
    assert (options.num_gpus, options.memory, options.resources) == (0.5, 1000, {"a100": 2.0})
    assert (options.jobs, options.storage) == (4, "auto")
    with pytest.raises(IsoflopError, match="GPUs come whole beyond one"):
        with_options(RaySpec(), {"num_gpus": "1.5"})
    with pytest.raises(IsoflopError, match="num_gpu is not an option"):
        with_options(RaySpec(), {"num_gpu": "1"})


def test_a_sweep_file_may_have_a_table_for_ray() -> None:
    content = {"name": "s", "budgets": [1e17], "engine": {"ray": {"num_gpus": 0.5, "resources": {"a100": 1}}}}
    assert parse_spec(content, source="x").engine.ray.resources == {"a100": 1.0}


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file for the program that stands in for the driver: isoflop's would import ray."""
    monkeypatch.setattr(ray_link, "DRIVER", [sys.executable, str(tmp_path / "driver.py")])
    yield tmp_path / "driver.py"


HEAD = """
import sys, time
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[2]))
"""
CONNECTS = (
    HEAD
    + """
connection.send(("imported", "3"))
connection.send(("ready", {"gpus": 2.0}))
"""
)
ANSWERS = """
while True:
    number, method, arguments = connection.recv()
    if method == "hang":
        time.sleep(60)
    if method == "die":
        break
    connection.send((number, "value", method))
"""


def test_a_driver_that_hangs_or_dies_costs_its_coordinator_a_moment_and_another_takes_its_place(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write_text(CONNECTS + ANSWERS)
    monkeypatch.setattr(ray_link, "AGAIN_SECONDS", 0.0)
    link = RayLink("h:1", os.environ)
    assert link.open() == {"gpus": 2.0}
    for trouble in ("hang", "die"):
        assert link.ask("find", seconds=5) == "find"
        begun = time.monotonic()
        with pytest.raises(NoAnswerError):
            link.ask(trouble, seconds=0.5)
        assert time.monotonic() - begun < 5
        end = time.monotonic() + 20
        while True:
            try:
                assert link.ask("find", seconds=5) == "find"
                break
            except NoAnswerError:
                assert time.monotonic() < end
    link.close(1.0)


def test_a_wrong_token_is_told_as_soon_as_ray_says_so(driver: Path) -> None:
    driver.write_text(HEAD + 'print("Unauthenticated: RPC error: InvalidAuthToken: ...", flush=True)\ntime.sleep(60)\n')
    begun = time.monotonic()
    with pytest.raises(IsoflopError, match="does not take the token given here") as caught:
        RayLink("h:1", {**os.environ, "RAY_AUTH_TOKEN": "0123456789"}).open()
    assert time.monotonic() - begun < 10
    assert "0123456789" not in caught.value.message + caught.value.hint


def test_a_cluster_that_never_lets_in_is_given_up(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_link, "CONNECT_SECONDS", 0.5)
    driver.write_text(HEAD + 'connection.send(("imported", "3"))\ntime.sleep(60)\n')
    with pytest.raises(IsoflopError, match="No Ray cluster answers at h:1"):
        RayLink("h:1", os.environ).open()


def test_the_driver_alone_imports_ray() -> None:
    root = Path(isoflop.__file__).parent
    importing = {path.name for path in root.rglob("*.py") if RAY_IMPORT.search(path.read_text(encoding="utf-8"))}
    assert importing == {"ray_driver.py"}
    for path in root.rglob("*.py"):
        assert "isoflop.engine.ray.ray_driver import" not in path.read_text(encoding="utf-8")
