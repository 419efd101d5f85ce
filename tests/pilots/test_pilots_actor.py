"""What the actor of a pilot does on its node; in the test's own process, with a script in place of the pilot."""

import fcntl
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isoflop.engine.pilots.mailbox import Mailbox
from isoflop.engine.ray import pilot_actor
from isoflop.engine.ray.mirror_copies import file_names
from isoflop.engine.ray.pilot_actor import PREFIX, YOUNG_SECONDS, PilotActor
from tests.pilots.pilot_stage import CONTENT
from tests.waits import until

Make = Callable[..., PilotActor]
# A pilot that says how it was started and ends; one that ends when it is asked to; one that does not.
TELLS = 'echo "$@"; echo "gpus=$CUDA_VISIBLE_DEVICES token=$RAY_AUTH_TOKEN"; exit 3'
OBEYS = "trap 'exit 5' TERM; touch began; while :; do sleep 0.02; done"
IGNORES = "trap '' TERM; touch began; while :; do sleep 0.02; done"


@pytest.fixture
def box(tmp_path: Path) -> Mailbox:
    made = Mailbox(tmp_path / "here" / "4")
    made.create(CONTENT)
    return made


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for what is temporary."""
    made = tmp_path / "node"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which actors would have ended their process."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


@pytest.fixture
def make(box: Mailbox, node: Path, ends: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes an actor whose pilot is this shell script, in a mirror unless `storage` says otherwise."""
    for name, seconds in {"LOOK_SECONDS": 0.01, "SHOWN_SECONDS": 0.0, "STAY_SECONDS": 60.0}.items():
        monkeypatch.setattr(pilot_actor, name, seconds)
    made: list[PilotActor] = []
    others = set(threading.enumerate())

    def make(script: str = TELLS, **options: Any) -> PilotActor:
        python = node.parent / f"python-{len(made)}"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        given = {
            "folder": str(box.path.parent), "number": 4, "names": file_names(box),
            "content": box.pilot_path.read_bytes(), "storage": "copied", "python": str(python), "gpus": 0.0,
            "grace_seconds": 0.1,
        }  # fmt: skip
        made.append(PilotActor(**given | options))
        return made[-1]

    yield make
    for actor in made:
        actor._jobs.clear()
        actor.stop()
    for thread in set(threading.enumerate()) - others:
        thread.join(20)
        assert not thread.is_alive()
    for actor in made:
        if actor._lock is not None:
            actor._lock.close()


def mirror_of(actor: PilotActor) -> Path:
    return Path(actor.status()["mirror"])


def over(actor: PilotActor) -> PilotActor:
    """The actor once its pilot has ended."""
    until(lambda: actor.status()["exit_code"] is not None)
    return actor


@pytest.mark.parametrize(("gpus", "seen"), [(0.0, ""), (0.5, "3")])
def test_a_pilot_is_started_in_its_mailbox_with_the_gpus_that_were_asked_for_and_no_token(
    box: Mailbox, make: Make, monkeypatch: pytest.MonkeyPatch, gpus: float, seen: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123")
    actor = over(make(storage="auto", gpus=gpus))
    assert actor.status() == {"host": socket.gethostname(), "exit_code": 3, "problem": "", "mirror": None}
    words, environment = box.log_path.read_text().splitlines()
    assert words == f"-P -m isoflop.engine.ray.ray_pilot {box.path.parent} 4 {os.getpid()}"
    assert environment == f"gpus={seen} token="


def test_a_mirror_looks_as_the_pilots_folder_does_for_its_coordinator(box: Mailbox, make: Make, node: Path) -> None:
    actor = over(make())
    mirror = mirror_of(actor)
    assert mirror.parent == node
    there = Mailbox(mirror / "pilot" / "4")
    assert there.read() == CONTENT
    assert str(there.path.parent) in there.log_path.read_text()
    assert not box.log_path.exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"storage": "shared", "content": b"{}"}, "does not see '{folder}/4'"),
        ({"python": "/none/python"}, "'/none/python' does not start on {host}: No such file or directory"),
    ],
)
def test_why_no_pilot_starts_is_told(box: Mailbox, make: Make, options: dict[str, Any], problem: str) -> None:
    status = make(**options).status()
    assert problem.format(folder=box.path.parent, host=socket.gethostname()) in status["problem"]
    assert status["exit_code"] is None


def test_a_node_without_room_for_a_mirror_says_so(make: Make, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(node / "none"))
    status = make().status()
    assert f"cannot start a pilot: No such file or directory ({node}/none/" in status["problem"]
    assert status["mirror"] is None


def test_a_file_that_comes_in_pieces_lies_in_its_place_once_it_is_whole(make: Make) -> None:
    actor = make()
    actor.put("corpora/x/train-0.bin", b"abcd", 0, False)
    assert not actor.has("corpora/x/train-0.bin")
    actor.put("corpora/x/train-0.bin", b"efg", 4, True)
    assert actor.read("corpora/x/train-0.bin", None, 0, 100) == b"abcdefg"
    actor.put("corpora/x/train-0.bin", b"hi", 0, True)
    assert actor.read("corpora/x/train-0.bin", None, 0, 100) == b"hi"
    assert [path.name for path in (mirror_of(actor) / "corpora" / "x").iterdir()] == ["train-0.bin"]


def test_of_a_file_the_version_that_was_listed_is_read_or_nothing(make: Make) -> None:
    actor = make()
    actor.put("jobs/r/state", b"abcdefg", 0, True)
    actor.begin("r")
    actor.put("jobs/r/state", b"abcdefg", 0, True)
    signature = actor.look()["jobs"]["r"]["state"]
    assert actor.read("jobs/r/state", signature, 2, 3) == b"cde"
    assert actor.read("jobs/r/state", list(signature), 5, 100) == b"fg"  # type: ignore[arg-type]
    assert actor.read("jobs/r/state", signature, 7, 100) == b""
    actor.put("jobs/r/state", b"ABCDEFG", 0, True)
    assert actor.read("jobs/r/state", signature, 0, 100) is None
    assert actor.read("jobs/r/none", None, 0, 100) is None
    assert actor.read("jobs/r", None, 0, 100) is None


def test_lines_that_are_brought_a_second_time_are_not_added_again(make: Make) -> None:
    actor = make()
    assert actor.lines("pilot/4/orders.jsonl") == 0
    actor.add_lines("pilot/4/orders.jsonl", b"one\n", 0)
    actor.add_lines("pilot/4/orders.jsonl", b"one\n", 0)
    actor.add_lines("pilot/4/orders.jsonl", b"two\nthree\n", 1)
    actor.add_lines("pilot/4/orders.jsonl", b"five\n", 4)
    assert actor.read("pilot/4/orders.jsonl", None, 0, 100) == b"one\ntwo\nthree\n"
    assert actor.lines("pilot/4/orders.jsonl") == 3


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "jobs/../../outside"])
def test_nothing_outside_the_mirror_is_read_or_written(make: Make, node: Path, name: str) -> None:
    actor = make()
    (node / "outside").write_text("kept")
    calls: list[Callable[[], object]] = [
        lambda: actor.read(name, None, 0, 10),
        lambda: actor.put(name, b"x", 0, True),
        lambda: actor.add_lines(name, b"x\n", 0),
        lambda: actor.lines(name),
        lambda: actor.has(name),
        lambda: actor.begin(f"../{name}"),
        lambda: actor.forget(f"../{name}"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="does not lie in the mirror"):
            call()
    assert (node / "outside").read_text() == "kept"


def test_what_a_worker_wrote_is_listed_and_files_that_grow_first(make: Make) -> None:
    actor = over(make())
    growing, left_out = (sorted(actor._names[key])[0] for key in ("growing", "not_fetched"))
    root = mirror_of(actor) / "jobs" / "r"
    actor.begin("r")
    for name in ("a", growing, "checkpoint/state", left_out, "half.tmp"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"123")
    (root / "link").symlink_to("/etc/hostname")
    look = actor.look()
    files = look["jobs"]["r"]
    assert next(iter(files)) == growing
    assert set(files) == {growing, "a", "checkpoint/state"}
    status = (root / "a").stat()
    assert files["a"] == (status.st_ino, status.st_mtime_ns, 3)
    assert look["ended"] and look["beat"] is None
    assert look["box"] == {"answers": 0, "log": actor._box.joinpath("log.txt").stat().st_size}


def test_an_earlier_attempt_makes_room_and_a_run_that_was_fetched_goes(make: Make) -> None:
    actor = make()
    actor.put("jobs/r/old", b"x", 0, True)
    actor.begin("r")
    assert not actor.has("jobs/r/old") and actor.look()["jobs"] == {"r": {}}
    actor.forget("r")
    actor.forget("r")
    assert not actor.has("jobs/r") and actor.look()["jobs"] == {}


def test_a_pilot_that_runs_has_not_ended_and_ends_as_it_is_asked_to(make: Make, ends: list[int]) -> None:
    actor = make(OBEYS, grace_seconds=60.0)
    mirror = mirror_of(actor)
    until(lambda: actor.has("pilot/4/began"))
    assert not actor.look()["ended"]
    actor.stop()
    assert over(actor).status()["exit_code"] == 5
    until(lambda: ends == [0])  # nobody has to fetch anything: it does not stay
    assert not mirror.exists()


def test_a_pilot_that_does_not_end_in_its_grace_is_killed(make: Make, ends: list[int]) -> None:
    actor = make(IGNORES)
    until(lambda: actor.has("pilot/4/began"))
    actor.stop()
    assert over(actor).status()["exit_code"] == -signal.SIGKILL
    until(lambda: ends == [0])


def test_an_actor_that_leaves_takes_its_pilot_and_its_mirror_along(make: Make, ends: list[int]) -> None:
    actor = make(IGNORES)
    mirror = mirror_of(actor)
    until(lambda: actor.has("pilot/4/began"))
    actor.leave()
    assert ends == [0]
    assert not mirror.exists()
    assert over(actor).status()["exit_code"] == -signal.SIGKILL


def test_an_actor_stays_until_the_files_of_its_runs_are_fetched(
    make: Make, ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot_actor, "STAY_SECONDS", 0.05)
    actor = make("until [ -e go ]; do sleep 0.01; done")
    actor.begin("r")
    actor.put("pilot/4/go", b"", 0, True)
    over(actor)
    actor.stop()
    time.sleep(0.2)
    assert not ends and mirror_of(actor).exists()
    actor.forget("r")
    until(lambda: ends == [0])


@pytest.mark.parametrize(("code", "stays"), [(0, "STAY_SECONDS"), (1, "STAY_FAILED_SECONDS")])
def test_an_actor_whose_pilot_has_ended_stays_a_while_to_be_asked_how(
    make: Make, ends: list[int], monkeypatch: pytest.MonkeyPatch, code: int, stays: str
) -> None:
    monkeypatch.setattr(pilot_actor, stays, 0.1)
    over(make(f"exit {code}"))
    until(lambda: ends == [0])


def test_files_that_nobody_fetches_do_not_keep_an_actor_for_ever(
    make: Make, ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilot_actor, "UNFETCHED_SECONDS", 0.1)
    actor = make()
    actor.begin("r")
    until(lambda: ends == [0])


def test_mirrors_of_actors_that_are_dead_are_deleted_and_no_others(make: Make, node: Path) -> None:
    names = ("dead", "living", "young", "else")
    for name in names:
        folder = node / (name if name == "else" else f"{PREFIX}{name}")
        folder.mkdir()
        (folder / ".held").touch()
        age = YOUNG_SECONDS / 2 if name == "young" else 2 * YOUNG_SECONDS
        os.utime(folder, (time.time() - age,) * 2)
    (node / f"{PREFIX}file").touch()
    with (node / f"{PREFIX}living" / ".held").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mirror = mirror_of(make())
    there = {path.name for path in node.iterdir()}
    assert there == {f"{PREFIX}living", f"{PREFIX}young", f"{PREFIX}file", "else", mirror.name}
    with (mirror / ".held").open("ab") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(("second", "seen"), [(0.0, True), (2.0, True), (9.0, False)])
def test_a_file_that_storage_shows_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: float, seen: bool
) -> None:
    clock = SimpleNamespace(now=100.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        (tmp_path / "file").write_bytes(b"new" if clock.now - 100 >= second else b"old")

    sleep(0.0)
    monkeypatch.setattr(pilot_actor, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    assert pilot_actor._appears(tmp_path / "file", b"new") is seen
    assert clock.now - 100 < 4
