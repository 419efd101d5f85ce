"""What is said of a Ray cluster, and what may be asked of one; without Ray."""

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import isoflop
from isoflop.engine.ray import ray_cancel, ray_errors, ray_link
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


def test_why_a_cluster_cannot_be_reached_again_is_remembered_until_it_is(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write_text(CONNECTS + ANSWERS)
    monkeypatch.setattr(ray_link, "AGAIN_SECONDS", 0.0)
    link = RayLink("h:1", os.environ)
    link.open()
    driver.write_text(HEAD + 'connection.send(("error", "It wants a token.", "Set one."))\ntime.sleep(60)\n')
    with pytest.raises(NoAnswerError):
        link.ask("die", seconds=5)
    assert link.trouble is None
    until_no_answer(link, lambda: link.trouble is not None)
    said = ray_errors.silent("h:1", link.trouble)
    assert said.message == "It wants a token."
    assert said.hint == "Set one. The same command takes the sweep up again."
    driver.write_text(CONNECTS + ANSWERS)
    until_no_answer(link, lambda: link.trouble is None)
    link.close(1.0)


def test_what_ray_says_instead_of_an_answer_is_remembered(driver: Path) -> None:
    driver.write_text(
        CONNECTS
        + ANSWERS.replace('"value", method', '*(["value", 1], ["silent", "GCS is away.\\n  x"])[method == "find"]')
    )
    link = RayLink("h:1", os.environ)
    link.open()
    with pytest.raises(NoAnswerError):
        link.ask("find", seconds=5)
    assert link.trouble is not None and link.trouble.message == "No Ray cluster answers at h:1: GCS is away."
    assert link.ask("states", seconds=5) == 1
    assert link.trouble is None
    link.close(1.0)


def until_no_answer(link: RayLink, found: Callable[[], bool]) -> None:
    """Ask until that holds."""
    end = time.monotonic() + 20
    while not found():
        assert time.monotonic() < end
        with contextlib.suppress(NoAnswerError):
            link.ask("find", seconds=5)


def test_a_driver_that_dies_at_once_is_told_with_its_last_words_and_without_the_token(driver: Path) -> None:
    driver.write_text("raise ImportError('no libgrpc here')")
    with pytest.raises(IsoflopError, match=r"the process that connects ended \(ImportError: no libgrpc here\)"):
        RayLink("h:1", os.environ).open()
    driver.write_text("import os\nraise ValueError(os.environ['RAY_AUTH_TOKEN'])")
    with pytest.raises(IsoflopError, match=r"the process that connects ended\.$"):
        RayLink("h:1", {**os.environ, "RAY_AUTH_TOKEN": "0123456789"}).open()


def test_a_driver_that_cannot_be_started_is_a_sentence_and_a_cluster_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_link, "DRIVER", ["/none/python"])
    monkeypatch.setattr(ray_link, "AGAIN_SECONDS", 0.0)
    link = RayLink("h:1", os.environ)
    with pytest.raises(IsoflopError, match=r"speaks to Ray does not start: No such file or directory \(/none/python\)"):
        link.open()
    with pytest.raises(NoAnswerError):
        link.ask("find", seconds=1)
    assert link.trouble is not None and "does not start" in link.trouble.message


@pytest.mark.parametrize(
    ("jobs", "address", "said"),
    [
        (["a"], "", "RAY_ADDRESS=HOST:6379 python -m isoflop.engine.ray.ray_cancel JOB..."),
        ([], "h:1", "Name the jobs to end"),
        (["a", "b", "c"], "h:1", "has no actor called b, c."),
    ],
    ids=["no address", "no names", "unknown names"],
)
def test_the_program_that_ends_actors_says_what_it_could_not_do(
    driver: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    jobs: list[str],
    address: str,
    said: str,
) -> None:
    monkeypatch.setattr(ray_cancel, "see_what_is_installed", lambda address: None)
    monkeypatch.setenv("RAY_ADDRESS", address)
    driver.write_text(CONNECTS + ANSWERS.replace('"value", method', '"value", arguments[0][1:] if arguments else None'))
    assert ray_cancel.main(jobs) == 1
    assert said in capsys.readouterr().err
    driver.write_text(CONNECTS + ANSWERS.replace('"value", method', '"value", []'))
    monkeypatch.setenv("RAY_ADDRESS", "h:1")
    assert ray_cancel.main(["a"]) == 0
    assert capsys.readouterr().err == ""


def test_the_driver_alone_imports_ray() -> None:
    root = Path(isoflop.__file__).parent
    importing = {path.name for path in root.rglob("*.py") if RAY_IMPORT.search(path.read_text(encoding="utf-8"))}
    assert importing == {"ray_driver.py"}
    for path in root.rglob("*.py"):
        assert "isoflop.engine.ray.ray_driver import" not in path.read_text(encoding="utf-8")
