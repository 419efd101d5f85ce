"""What the driver asks of Ray and of actors; a stand-in for Ray."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isoflop.engine.pilots.cluster import JobState, JobStatus
from isoflop.errors import IsoflopError
from tests.pilots.noting_ray import NotingActor, NotingRay
from tests.pilots.ray_stand_in import driver_module
from tests.waits import until

HERE = {"host": "node-1", "exit_code": None, "problem": "", "mirror": None}
BOXES = {"job-0": Path("/none/0")}
OPTIONS = {"num_cpus": 1.0, "num_gpus": 0.0}


@pytest.fixture
def ray() -> NotingRay:
    return NotingRay()


@pytest.fixture
def module(ray: NotingRay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with driver_module(ray) as made:
        monkeypatch.setattr(made, "ROUND_SECONDS", 0.005)
        yield made


@pytest.fixture
def driver(module: Any) -> Any:
    return module.Driver()


def state_of(driver: Any) -> JobStatus | None:
    """Of job-0, as a look has it."""
    found: JobStatus | None = driver.states(BOXES, {"CPU": 1.0})[0].get("job-0")
    return found


def test_actors_outlive_their_driver_and_are_never_started_a_second_time(ray: NotingRay, driver: Any) -> None:
    driver.submit([("job-0", {"number": 0}), ("job-1", {"number": 1})], OPTIONS)
    kept = {"namespace": "isoflop", "lifetime": "detached", "max_restarts": 0, "max_task_retries": 0}
    assert ray.made == [
        ({"name": "job-0", **kept, **OPTIONS}, {"number": 0}),
        ({"name": "job-1", **kept, **OPTIONS}, {"number": 1}),
    ]
    assert ray.by_value == ["isoflop.engine.ray.pilot_actor"], "nodes need not have this version"


@pytest.mark.parametrize("kind", ["ValueError", "TypeError", "RayTaskError"])
def test_what_ray_refuses_in_part_is_refused_as_a_whole(ray: NotingRay, driver: Any, kind: str) -> None:
    text = "num_gpus must be\n  a number."
    kinds: dict[str, type[Exception]] = {"ValueError": ValueError, "TypeError": TypeError}
    ray.refusals["job-1"] = kinds.get(kind, ray.exceptions.RayTaskError)(text)
    with pytest.raises(IsoflopError, match=r"Ray refused: num_gpus must be\.") as caught:
        driver.submit([("job-0", {}), ("job-1", {}), ("job-2", {})], OPTIONS)
    assert "`ray status`" in caught.value.hint
    assert ray.called == [("job-0", "stop")]
    assert not ray.known, "the one that waits is killed"


def test_what_a_coordinator_wants_to_know_of_the_cluster(ray: NotingRay, driver: Any) -> None:
    assert driver.facts() == {"gpus": 0.0, "ray": "2.60.0"}
    ray.resources = {"CPU": 8.0, "GPU": 4.0}
    assert driver.facts()["gpus"] == 4.0


def test_actors_of_isoflop_are_found_by_the_beginning_of_their_name(ray: NotingRay, driver: Any) -> None:
    ray.named = [
        {"name": "isoflop-s-1-0", "namespace": "isoflop"},
        {"name": "isoflop-s-1-1", "namespace": "somebody"},
        {"name": "isoflop-t-1-0", "namespace": "isoflop"},
    ]
    assert driver.find("isoflop-s-1-") == ["isoflop-s-1-0"]


def test_a_pilot_that_runs_is_asked_to_end_and_one_that_waits_is_killed(ray: NotingRay, driver: Any) -> None:
    ray.known |= {"runs", "waits", "stuck"}
    ray.said["runs"] = None
    killed = []

    def kill(actor: NotingActor) -> None:
        killed.append(actor.name)
        if actor.name == "stuck":
            raise ray.error("ObjectLostError")

    ray.kill = kill  # type: ignore[method-assign,assignment]
    assert driver.cancel(["runs", "stuck", "waits", "gone"]) == ["gone"]
    assert ray.called == [(name, "stop") for name in ("runs", "stuck", "waits")]
    assert killed == ["stuck", "waits"]


def test_an_actor_that_is_asked_for_and_not_there_has_ended(ray: NotingRay, driver: Any) -> None:
    status = state_of(driver)
    assert status == JobStatus(JobState.ENDED, "no actor of that name is there any more")
    ray.known.add("job-0")
    assert state_of(driver) == status


def test_an_actor_that_answered_once_and_is_slow_now_is_in_no_list(ray: NotingRay, driver: Any) -> None:
    """So its coordinator keeps to what it knew; it is not asked again before it has answered."""
    ray.known.add("job-0")
    ray.said["job-0"] = HERE
    assert state_of(driver) == JobStatus(JobState.RUNNING, "", None, "node-1")
    del ray.said["job-0"]
    assert state_of(driver) is None
    assert state_of(driver) is None
    assert ray.methods_of("job-0") == ["status"] * 2


def test_the_node_of_a_dead_actor_is_the_one_it_answered_from(ray: NotingRay, driver: Any) -> None:
    ray.known.add("job-0")
    ray.said["job-0"] = HERE
    state_of(driver)
    ray.said["job-0"] = ray.error("ActorDiedError", "it died\n\tip: 10.0.0.7\n")
    status = state_of(driver)
    assert status is not None and (status.state, status.node) == (JobState.ENDED, "node-1")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"CPU": 4.0}, "waits for resources"),
        ({"CPU": 4.5}, "no node of the cluster has CPU 4.5"),
        ({"GPU": 1.0, "CPU": 1.0}, "no node of the cluster has GPU 1, CPU 1"),
    ],
)
def test_why_an_actor_waits_is_told(ray: NotingRay, driver: Any, wanted: dict[str, float], said: str) -> None:
    ray.known.add("job-0")
    states, _ = driver.states(BOXES, wanted)
    assert states == {"job-0": JobStatus(JobState.QUEUED, said)}


class CopiesStandIn:
    """Stands in for what copies; a round does as a test says."""

    def __init__(self, *arguments: Any) -> None:
        self.box, self.mirror, self.call = arguments or (None, None, None)
        self.is_over = self.has_orders_to_bring = False
        self.is_alone = True
        self.n_rounds = 0
        self.raises: Exception | None = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        yield self.is_alone

    def round(self) -> None:
        self.n_rounds += 1
        if self.raises is not None:
            self.is_over = self.n_rounds == 3
            raise self.raises


def test_a_pilot_whose_files_are_not_all_here_has_not_ended(
    ray: NotingRay, module: Any, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[CopiesStandIn] = []
    monkeypatch.setattr(module, "MirrorCopies", lambda *given: made.append(CopiesStandIn(*given)) or made[-1])
    ray.known.add("job-0")
    ray.said["job-0"] = HERE | {"mirror": "/tmp/m"}
    assert state_of(driver) == JobStatus(JobState.RUNNING, "", None, "node-1")
    [copies] = made
    assert (copies.box.path, copies.mirror) == (BOXES["job-0"], Path("/tmp/m"))
    until(lambda: copies.n_rounds > 1)
    ray.said["job-0"] = HERE | {"mirror": "/tmp/m", "exit_code": 3}
    status = state_of(driver)
    assert status is not None and status.state is JobState.RUNNING
    assert copies.call("read", "name", 7) == ray.said["job-0"]
    assert ray.called[-1] == ("job-0", "read", "name", 7)
    copies.is_over = True
    assert state_of(driver) == JobStatus(JobState.ENDED, "exit code 3", 3, "node-1")
    assert ray.methods_of("job-0")[-1] == "leave"
    assert len(made) == 1


def test_where_another_driver_copies_this_one_waits_for_its_turn(driver: Any) -> None:
    copies = CopiesStandIn()
    copies.is_alone = False
    thread = threading.Thread(target=driver._keep_copying, args=("job-0", copies), daemon=True)
    thread.start()
    time.sleep(0.05)
    assert copies.n_rounds == 0
    copies.is_alone = True
    until(lambda: copies.n_rounds > 1)
    driver._ended["job-0"] = JobStatus(JobState.ENDED)
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("error", ["ActorDiedError", "ActorUnschedulableError", "KeyError"])
def test_nothing_more_is_copied_of_an_actor_that_is_no_more(ray: NotingRay, driver: Any, error: str) -> None:
    copies = CopiesStandIn()
    copies.raises = KeyError("job-0") if error == "KeyError" else ray.error(error)
    driver._keep_copying("job-0", copies)
    assert copies.n_rounds == 1 and copies.is_over
    assert driver.states({}, {}) == ({}, None)


@pytest.mark.parametrize(
    ("raised", "message", "hint"),
    [
        (IsoflopError("A program of yours.", hint="Share it."), "A program of yours.", "Share it."),
        (
            OSError(28, "No space left on device", "/artifacts/x"),
            "Files of runs cannot be copied: No space left on device (/artifacts/x).",
            "Make room",
        ),
        (OSError(5, "Input/output error"), "Files of runs cannot be copied: Input/output error.", "permissions"),
        (ZeroDivisionError("x"), "cannot be copied to node-1, or from there: ZeroDivisionError('x').", "that node"),
    ],
)
def test_what_keeps_files_from_being_copied_is_told_and_tried_again(
    driver: Any, raised: Exception, message: str, hint: str
) -> None:
    copies = CopiesStandIn()
    copies.raises = raised
    driver._answered["job-0"] = HERE
    driver._keep_copying("job-0", copies)
    assert copies.n_rounds == 3
    _, trouble = driver.states({}, {})
    assert trouble is not None
    assert trouble[0].endswith(message) and hint in trouble[1]


def test_orders_that_are_not_there_yet_are_waited_for_at_the_end_and_not_for_ever(driver: Any) -> None:
    copies = driver._copies["job-0"] = CopiesStandIn()
    begun = time.monotonic()
    driver.finish(20.0)
    copies.has_orders_to_bring = copies.is_over = True
    driver.finish(20.0)
    assert time.monotonic() - begun < 10
    copies.is_over = False
    begun = time.monotonic()
    driver.finish(0.15)
    assert 0.15 <= time.monotonic() - begun < 10
