"""What the driver makes of what Ray says; a stand-in for Ray."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isoflop.engine.pilots.cluster import JobState
from tests.pilots.ray_stand_in import RayStandIn, driver_module

HERE = {"host": "node-1", "exit_code": None, "problem": "", "mirror": None}
BOXES = {"job-0": Path("/none/0"), "job-1": Path("/none/1")}
WANTED = {"CPU": 1.0}


@pytest.fixture
def ray() -> RayStandIn:
    made = RayStandIn()
    made.known |= set(BOXES)
    return made


@pytest.fixture
def module(ray: RayStandIn) -> Iterator[Any]:
    with driver_module(ray) as made:
        yield made


def states(driver: Any) -> dict[str, JobState]:
    return {job: status.state for job, status in driver.states(BOXES, WANTED)[0].items()}


@pytest.mark.parametrize("name", ["RayTaskError", "ActorUnavailableError", "GetTimeoutError", "ObjectLostError"])
def test_what_may_pass_is_not_the_end_of_an_actor(ray: RayStandIn, module: Any, name: str) -> None:
    driver = module.Driver()
    ray.said |= {"job-0": HERE, "job-1": ray.error(name, "No space left on device")}
    assert states(driver) == {"job-0": JobState.RUNNING}
    ray.said["job-1"] = HERE
    assert states(driver) == dict.fromkeys(BOXES, JobState.RUNNING)


@pytest.mark.parametrize("name", ["ActorDiedError", "ActorUnschedulableError", "RuntimeEnvSetupError"])
def test_an_actor_that_ray_calls_dead_has_ended_for_good(ray: RayStandIn, module: Any, name: str) -> None:
    driver = module.Driver()
    ray.said |= {"job-0": HERE, "job-1": ray.error(name, "it died\n\tip: 10.0.0.7\n")}
    assert states(driver) == {"job-0": JobState.RUNNING, "job-1": JobState.ENDED}
    ray.said["job-1"] = HERE
    assert states(driver)["job-1"] is JobState.ENDED


def test_an_unclear_answer_is_the_end_of_an_actor_that_ray_no_longer_knows(ray: RayStandIn, module: Any) -> None:
    driver = module.Driver()
    ray.said |= {"job-0": HERE, "job-1": HERE}
    assert states(driver)["job-1"] is JobState.RUNNING
    ray.said["job-1"] = ray.error("ObjectLostError")
    ray.known.discard("job-1")
    assert states(driver) == {"job-0": JobState.RUNNING, "job-1": JobState.ENDED}


def test_an_actor_that_could_start_no_pilot_has_ended_though_it_has_a_mirror(ray: RayStandIn, module: Any) -> None:
    driver = module.Driver()
    ray.said |= {"job-0": HERE, "job-1": HERE | {"problem": "no interpreter", "mirror": "/tmp/m"}}
    said = driver.states(BOXES, WANTED)[0]["job-1"]
    assert (said.state, said.said, said.node) == (JobState.ENDED, "no interpreter", "node-1")


def test_the_nodes_are_asked_for_once_however_many_actors_wait(ray: RayStandIn, module: Any) -> None:
    driver = module.Driver()
    assert states(driver) == dict.fromkeys(BOXES, JobState.QUEUED)
    assert ray.n_looks == 1
    ray.said |= dict.fromkeys(BOXES, HERE)
    assert states(driver) == dict.fromkeys(BOXES, JobState.RUNNING)
    assert ray.n_looks == 1


class _Copies:
    """Stands in for what copies: its rounds end as a test says."""

    is_over = False

    def __init__(self, *rounds: Exception | None) -> None:
        self.rounds = list(rounds)

    def alone(self) -> contextlib.AbstractContextManager[bool]:
        return contextlib.nullcontext(True)

    def round(self) -> None:
        said = self.rounds.pop(0)
        self.is_over = not self.rounds
        if said is not None:
            raise said


def test_copying_goes_on_after_an_exception_in_the_actor(
    ray: RayStandIn, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.0)
    full = ray.error("RayTaskError", "Traceback ...\nOSError: [Errno 28] No space left on device")
    driver, copies = module.Driver(), _Copies(full, ray.error("ObjectLostError"), None, full, None)
    driver._answered["job-0"] = HERE
    driver._keep_copying("job-0", copies)
    assert not copies.rounds and driver._trouble is None
    monkeypatch.setattr(module, "FAILING_SECONDS", -1.0)
    driver._keep_copying("job-0", _Copies(full, None))
    assert "node-1" in driver._trouble.message and "No space left on device" in driver._trouble.message


def test_names_that_ray_does_not_know_are_told(ray: RayStandIn, module: Any) -> None:
    ray.said["job-0"] = None
    assert module.Driver().cancel(["job-0", "job-7"]) == ["job-7"]
