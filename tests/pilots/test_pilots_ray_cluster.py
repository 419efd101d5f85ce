"""What a coordinator asks of a Ray cluster, and what it makes of the answers; without Ray."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from isoflop.engine.pilots.cluster import ClusterAwayError, JobState, JobStatus
from isoflop.engine.pilots.mailbox import Mailbox
from isoflop.engine.ray import ray_cluster
from isoflop.engine.ray.ray_cluster import LAST_SECONDS, RayCluster, see_what_is_installed
from isoflop.engine.ray.ray_link import NoAnswerError
from isoflop.errors import IsoflopError
from isoflop.spec import RaySpec
from tests.pilots.pilot_stage import CONTENT


class LinkStandIn:
    """Answers what a test says, by method; without a word from it, as a cluster without actors."""

    def __init__(self) -> None:
        self.facts = {"gpus": 2.0}
        self.answers: dict[str, Any] = {"states": ({}, None), "find": []}
        self.asked: list[tuple[Any, ...]] = []
        self.opened: list[tuple[str, Mapping[str, str]]] = []
        self.closed: list[float] = []
        self.trouble: IsoflopError | None = None

    def __call__(self, address: str, environment: Mapping[str, str]) -> "LinkStandIn":
        self.opened.append((address, environment))
        return self

    def open(self) -> dict[str, Any]:
        return self.facts

    def ask(self, method: str, *arguments: Any, seconds: float) -> Any:
        assert seconds > 0
        self.asked.append((method, *arguments))
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self, seconds: float) -> None:
        self.closed.append(seconds)

    def requests(self, method: str) -> list[list[Any]]:
        return [arguments for name, *arguments in self.asked if name == method]


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> LinkStandIn:
    made = LinkStandIn()
    monkeypatch.setattr(ray_cluster, "RayLink", made)
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: object())
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of two pilots, made as for a submission."""
    for number in ("0", "1"):
        Mailbox(tmp_path / "1-ab" / number).create(CONTENT)
    return tmp_path / "1-ab"


JOBS = ["isoflop-s-1-ab-0", "isoflop-s-1-ab-1"]


def cluster_of(*, on_gpus: bool = False, **options: Any) -> RayCluster:
    return RayCluster(RaySpec(address="h:1", **options), "s", on_gpus=on_gpus, environment={"OTHER": "1"})


def test_actors_are_asked_for_with_all_that_they_need_in_one_request(link: LinkStandIn, folder: Path) -> None:
    cluster = cluster_of(
        num_cpus=2, num_gpus=0.5, memory=1000, resources={"big": 1.0}, storage="copied", python="/opt/python",
        grace_seconds=33.0,
    )  # fmt: skip
    assert cluster.submit(folder, 2) == JOBS
    [(told, options)] = link.requests("submit")
    assert options == {"num_cpus": 2.0, "num_gpus": 0.5, "memory": 1000, "resources": {"big": 1.0}}
    assert [job for job, _ in told] == JOBS
    for number, (_, arguments) in enumerate(told):
        names, content = arguments.pop("names"), arguments.pop("content")
        assert names["pilot"] == "pilot.json"
        assert json.loads(content)["sweep"] == CONTENT.sweep
        assert arguments == {
            "folder": str(folder), "number": number, "storage": "copied", "python": "/opt/python", "gpus": 0.5,
            "grace_seconds": 33.0,
        }  # fmt: skip
    cluster.states(JOBS)
    [(boxes, wanted)] = link.requests("states")
    assert boxes == {JOBS[0]: folder / "0", JOBS[1]: folder / "1"}
    assert wanted == {"CPU": 2.0, "GPU": 0.5, "memory": 1000.0, "big": 1.0}


def test_what_nobody_named_is_not_asked_for(link: LinkStandIn, folder: Path) -> None:
    cluster = cluster_of()
    cluster.submit(folder, 1)
    [(_, options)] = link.requests("submit")
    assert options == {"num_cpus": 1.0, "num_gpus": 0.0}
    cluster.states(JOBS[:1])
    assert link.requests("states")[0][1] == {"CPU": 1.0}


@pytest.mark.parametrize(
    ("on_gpus", "gpus_there", "num_gpus", "asked"),
    [
        (True, 2.0, None, 1.0),
        (True, 0.0, None, 0.0),
        (False, 2.0, None, 0.0),
        (True, 0.0, 0.5, 0.5),
        (True, 2.0, 0.0, 0.0),
    ],
)
def test_a_gpu_each_where_the_cluster_has_some_and_the_sweep_may_use_them(
    link: LinkStandIn, folder: Path, on_gpus: bool, gpus_there: float, num_gpus: float | None, asked: float
) -> None:
    link.facts = {"gpus": gpus_there}
    cluster_of(on_gpus=on_gpus, num_gpus=num_gpus).submit(folder, 1)
    [([(_, arguments)], options)] = link.requests("submit")
    assert options["num_gpus"] == arguments["gpus"] == asked


def test_the_cluster_of_the_environment_is_connected_to_and_let_go_of(link: LinkStandIn) -> None:
    environment = {"RAY_ADDRESS": "ray://h:10001", "RAY_AUTH_TOKEN": "0123"}
    cluster = RayCluster(RaySpec(), "s", on_gpus=False, environment=environment)
    assert link.opened == [("ray://h:10001", environment)]
    cluster.close()
    assert link.closed == [LAST_SECONDS]


@pytest.mark.parametrize("trouble", [None, IsoflopError("It wants a token.", hint="Set one.")])
def test_actors_of_a_request_that_was_not_answered_are_ended_once_ray_answers(
    link: LinkStandIn, folder: Path, trouble: IsoflopError | None
) -> None:
    cluster = cluster_of()
    link.answers["submit"], link.trouble = NoAnswerError(), trouble
    with pytest.raises(ClusterAwayError, match="It wants a token" if trouble else "at h:1 does not answer"):
        cluster.submit(folder, 2)
    link.answers["states"] = NoAnswerError()
    assert cluster.states([]) == {}
    assert not link.requests("cancel")
    link.answers |= {"states": ({}, None), "cancel": NoAnswerError()}
    cluster.states([])
    link.answers["cancel"] = []
    cluster.states([])
    cluster.states([])
    assert link.requests("cancel") == [[JOBS]] * 2, "again until it is heard, and not any more then"


def test_a_request_that_ray_refuses_leaves_nothing_to_be_ended(link: LinkStandIn, folder: Path) -> None:
    cluster = cluster_of()
    link.answers["submit"] = IsoflopError("Ray refused.", hint="Look.")
    with pytest.raises(IsoflopError, match="Ray refused"):
        cluster.submit(folder, 1)
    cluster.states([])
    assert not link.requests("cancel")


def test_a_job_whose_folder_nobody_told_is_not_known(link: LinkStandIn, folder: Path) -> None:
    cluster, runs = cluster_of(), JobStatus(JobState.RUNNING, "", None, "n1")
    cluster.know(JOBS[:1], folder)
    link.answers["states"] = ({JOBS[0]: runs}, None)
    assert cluster.states([JOBS[0], "other"]) == {JOBS[0]: runs, "other": JobStatus(JobState.UNKNOWN)}
    assert link.requests("states")[0][0] == {JOBS[0]: folder / "0"}
    link.answers["states"] = NoAnswerError()
    assert cluster.states([JOBS[0], "other"]) == {}


def test_what_keeps_files_from_being_copied_is_raised_until_it_is_gone(link: LinkStandIn) -> None:
    cluster = cluster_of()
    cluster.exchange()
    link.answers["states"] = ({}, ("The disk of n1 is full.", "Make room."))
    cluster.states([])
    with pytest.raises(IsoflopError, match=r"The disk of n1 is full\.") as caught:
        cluster.exchange()
    assert caught.value.hint == "Make room."
    link.answers["states"] = ({}, None)
    cluster.states([])
    cluster.exchange()


def test_actors_are_found_by_the_folder_in_their_name(link: LinkStandIn, folder: Path) -> None:
    cluster = cluster_of()
    link.answers["find"] = [JOBS[1], "isoflop-s-1-ab-12", "isoflop-s-1-ab-x"]
    assert cluster.find(folder) == {1: JOBS[1], 12: "isoflop-s-1-ab-12"}
    assert link.requests("find") == [["isoflop-s-1-ab-"]]
    cluster.states([JOBS[1]])
    assert link.requests("states")[0][0] == {JOBS[1]: folder / "1"}
    link.answers["find"] = NoAnswerError()
    with pytest.raises(ClusterAwayError, match="does not answer"):
        cluster.find(folder)


def test_whether_actors_heard_that_they_are_to_end_is_told(link: LinkStandIn) -> None:
    cluster = cluster_of()
    assert cluster.cancel(("a", "b"))
    assert link.requests("cancel") == [[["a", "b"]]]
    link.answers["cancel"] = NoAnswerError()
    assert not cluster.cancel(["a"])


@pytest.mark.parametrize(
    ("missing", "address", "said"),
    [
        ("ray", "h:1", "Ray is not installed here"),
        ("grpc", "ray://h:1", "needs Ray's client"),
        ("grpc", "h:1", None),
    ],
)
def test_what_is_not_installed_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str, address: str, said: str | None
) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None if name == missing else object())
    if said is None:
        see_what_is_installed(address)
        return
    with pytest.raises(IsoflopError, match=said) as caught:
        see_what_is_installed(address)
    assert "pip install" in caught.value.hint
