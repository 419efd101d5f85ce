"""Mirrors of a run of which one counts, and copies that take long: a mirror in this process."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isoflop.engine.local.local_engine import LocalEngine
from isoflop.engine.pilots.mailbox import EndedAnswer, LeavingAnswer, Mailbox, PilotFile, StartOrder
from isoflop.engine.pilots.pilot import Pilot
from isoflop.engine.protocol import Preload
from isoflop.engine.ray import mirror_files, pilot_actor
from isoflop.engine.ray.mirror_copies import MirrorCopies, file_names
from isoflop.run_spec import RunSpec
from isoflop.rundir import Assignment, Execution, JobFile, RunDir
from tests.run_examples import RUN

SIMULATED = RUN.model_copy(update={"trainer": "simulated"})
IDLE_SECONDS = 60.0


class Mirror:
    """An actor's methods without its process, on a node whose folder for what is temporary is given.

    Attributes:
        box: its pilot's mailbox, at the coordinator's.
        before: called before every request, with its name and arguments.
    """

    def __init__(self, artifacts: Path, number: int, node: Path, idle_seconds: float = IDLE_SECONDS) -> None:
        self.box = Mailbox(artifacts / "pilots" / "token" / str(number))
        self.box.create(
            PilotFile(
                sweep="s", database="/s.db", engine="ray", device="cpu", devices_per_run=1, lanes_per_device=1,
                idle_seconds=idle_seconds, grace_seconds=5, submitted_at=1.0,
            )
        )  # fmt: skip
        self.path = node / str(number)
        actor = pilot_actor.PilotActor.__new__(pilot_actor.PilotActor)
        actor._names, actor._mirror, actor._jobs = file_names(self.box), self.path, set()
        actor._box, actor._child = self.path / "pilot" / str(number), _Running()  # type: ignore[assignment]
        actor._box.mkdir(parents=True)
        self._actor, self.calls = actor, 0
        self.before: Callable[..., None] = lambda method, *arguments: None
        self.copies = MirrorCopies(self.box, self.path, self)

    def __call__(self, method: str, *arguments: object) -> Any:
        self.before(method, *arguments)
        return getattr(self._actor, method)(*arguments)

    @property
    def run_dir(self) -> RunDir:
        """The run's, there."""
        return RunDir(self.path / "jobs" / SIMULATED.run_id)

    @property
    def there(self) -> Mailbox:
        """Its pilot's mailbox, there."""
        return Mailbox(self.path / "pilot" / self.box.path.name)

    def order(self, attempt: int, run: RunSpec = SIMULATED, worker: int = 1) -> RunDir:
        """Have it train the run; the run's directory here."""
        artifacts = self.box.path.parents[2]
        run_dir = RunDir(artifacts / run.run_id)
        execution = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=1)
        run_dir.write_job(JobFile(runs=(run,), execution=execution))
        run_dir.attempt_dir(attempt).mkdir()
        assignment = Assignment(
            job_dir=run_dir.path, attempt=attempt, corpora=artifacts / "corpora", peaks=artifacts / "peaks",
            compiled=artifacts / "compiled", coordinator_pid=os.getpid(), visible_device="", git_commit=None,
            git_dirty=None,
        )  # fmt: skip
        self.box.order(StartOrder(worker=worker, lane=0, preload=Preload.NOTHING, assignment=assignment))
        return run_dir


class _Running:
    def poll(self) -> None:
        return None


def add(run_dir: RunDir, text: str) -> None:
    with run_dir.events_path.open("a") as file:
        file.write(text)


def test_a_mirror_whose_attempt_was_given_up_adds_nothing_to_files_that_grow(tmp_path: Path) -> None:
    first, second = (Mirror(tmp_path / "artifacts", number, tmp_path / "node") for number in (0, 1))
    run_dir = first.order(1)
    first.copies.round()
    add(first.run_dir, "one\nhalf a li")
    first.copies.round()
    run_dir.fence(1, "its node is away")
    second.order(2)
    second.copies.round()
    add(first.run_dir, "ne\nzombie\n")
    (first.run_dir.path / "checkpoint").mkdir()
    (first.run_dir.checkpoint_dir / "state").write_text("zombie")
    add(second.run_dir, "\ntwo\n")
    for copies in (first.copies, second.copies, first.copies):
        copies.round()
    assert run_dir.events_path.read_text() == "one\nhalf a li\ntwo\n"
    assert not (run_dir.checkpoint_dir / "state").exists()


def test_an_attempt_that_has_a_later_one_is_past_though_it_was_never_given_up(tmp_path: Path) -> None:
    first = Mirror(tmp_path / "artifacts", 0, tmp_path / "node")
    run_dir = first.order(1)
    first.copies.round()
    run_dir.attempt_dir(2).mkdir()
    add(first.run_dir, "zombie\n")
    first.copies.round()
    assert not run_dir.events_path.exists()


def test_a_fence_that_comes_while_a_piece_is_read_keeps_it_out(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "artifacts", 0, tmp_path / "node")
    run_dir = mirror.order(1)
    mirror.copies.round()
    add(mirror.run_dir, "one\n")

    def fence(method: str, *arguments: object) -> None:
        if method == "read" and "events" in str(arguments[0]):
            run_dir.fence(1, "given up")

    mirror.before = fence
    mirror.copies.round()
    assert run_dir.is_fenced(1)
    assert run_dir.events_path.read_text() == ""


@pytest.mark.parametrize("zombie", ["ne\nzombie\n", "ne\nzombie with more to say than the one that counts\n", "n"])
def test_what_a_mirror_has_added_that_did_not_count_goes_with_the_next_of_the_one_that_does(
    tmp_path: Path, zombie: str
) -> None:
    """The fence came between its look at that and its writing."""
    mirror = Mirror(tmp_path / "artifacts", 0, tmp_path / "node")
    run_dir = mirror.order(1)
    run_dir.events_path.write_text("one\nhalf a li")
    mirror.copies.round()
    add(run_dir, zombie)
    for text in ("\ntwo\n", "three\n"):
        add(mirror.run_dir, text)
        mirror.copies.round()
    assert run_dir.events_path.read_text() == "one\nhalf a li\ntwo\nthree\n"
    assert not list(run_dir.path.glob("*.tmp"))


def test_a_checkpoint_that_was_brought_there_does_not_come_back(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "artifacts", 0, tmp_path / "node")
    run_dir = mirror.order(1)
    run_dir.checkpoint_dir.mkdir()
    (run_dir.checkpoint_dir / "state").write_bytes(b"state")
    read: list[object] = []
    mirror.before = lambda method, *arguments: read.append(arguments[0]) if method == "read" else None
    mirror.copies.round()
    assert not [name for name in read if "checkpoint" in str(name)]
    (mirror.run_dir.checkpoint_dir / "state").write_bytes(b"later")
    mirror.copies.round()
    assert (run_dir.checkpoint_dir / "state").read_bytes() == b"later"


def beaten_at(run_dir: RunDir) -> float:
    return run_dir.heartbeat_path.stat().st_mtime if run_dir.heartbeat_path.exists() else 0.0


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror whose pieces take long, and are small; signs are given after each."""
    monkeypatch.setattr(mirror_files, "CHUNK_BYTES", 100)
    made = Mirror(tmp_path / "artifacts", 0, tmp_path / "node", idle_seconds=0.03)
    made.before = lambda method, *arguments: time.sleep(0.02) if method in ("put", "read") else None
    return made


def test_while_a_corpus_is_brought_every_run_of_the_pilot_gives_signs_of_life(slow: Mirror, tmp_path: Path) -> None:
    working = slow.order(1)
    slow.copies.round()
    corpus = tmp_path / "artifacts" / "corpora" / RUN.corpus_fingerprint
    corpus.mkdir(parents=True)
    (corpus / "manifest.json").write_bytes(b"{}")
    (corpus / "train-0.bin").write_bytes(bytes(1000))
    waiting = slow.order(1, RUN.model_copy(update={"seed": RUN.seed + 1}), worker=2)
    signs: list[tuple[float, float, bytes, bool]] = []

    def note(method: str, *arguments: object) -> None:
        if method == "put" and str(arguments[0]).endswith(".bin"):
            slow.run_dir.heartbeat_path.write_text(f"{len(signs)}\n")  # as its worker does
            slow.there.heartbeat_path.write_text(f"{len(signs)}\n")
            known = working.heartbeat_path
            coming = slow.there.coming_path
            signs.append(
                (
                    beaten_at(waiting),
                    coming.stat().st_mtime if coming.exists() else 0.0,
                    known.read_bytes() if known.exists() else b"",
                    slow.box.heartbeat_path.exists(),
                )
            )
        time.sleep(0.02)

    slow.before = note
    slow.copies.round()
    assert len(signs) == 10
    for column in (0, 1, 2):
        assert len({sign[column] for sign in signs}) > 3, column
    assert signs[-1][3]


def test_a_heartbeat_that_comes_while_it_is_fetched_is_here_after_the_next_round(slow: Mirror) -> None:
    run_dir = slow.order(1)
    slow.copies.round()
    beats: list[int] = []

    def beat(method: str, *arguments: object) -> None:
        time.sleep(0.02)
        if method == "look" and len(beats) < 6:
            beats.append(len(beats))
            slow.run_dir.beat(len(beats))

    slow.before = beat
    for _ in range(6):
        slow.copies.round()
    assert run_dir.heartbeat_path.read_text() == "6\n"
    assert not list(run_dir.path.glob("*.tmp"))


def test_while_files_of_a_run_are_fetched_whose_worker_has_ended_it_gives_signs_of_life(slow: Mirror) -> None:
    run_dir = slow.order(1)
    slow.copies.round()
    slow.run_dir.checkpoint_dir.mkdir()
    (slow.run_dir.checkpoint_dir / "state").write_bytes(bytes(1000))
    slow.there.answer(EndedAnswer(worker=1, exit_code=0))
    beats: set[float] = set()

    def note(method: str, *arguments: object) -> None:
        time.sleep(0.02)
        if method == "read" and "state" in str(arguments[0]):
            beats.add(beaten_at(run_dir))
            assert not slow.box.answers(0)[0], "the end is told after the files"

    slow.before = note
    slow.copies.round()
    assert len(beats) > 3
    assert len(slow.box.answers(0)[0]) == 1
    run_dir.fence(1, "given up")
    before = beaten_at(run_dir)
    slow.copies._files.bring(slow.box.pilot_path, "pilot/0/another")
    assert beaten_at(run_dir) == before, "what no longer counts gives none"


def test_a_pilot_to_which_something_is_coming_is_not_without_work_and_ends_once_nothing_does(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "artifacts", 0, tmp_path / "node", idle_seconds=1.0)
    content = mirror.box.read()
    assert content is not None
    pilot = threading.Thread(target=Pilot(mirror.there, content, LocalEngine(())).run)
    pilot.start()
    begun = time.monotonic()
    while time.monotonic() - begun < 2.5:
        mirror("put", "pilot/0/coming", b"", 0, True)
        time.sleep(0.3)
    assert pilot.is_alive()
    pilot.join(10)
    assert mirror.there.answers(0)[0] == [LeavingAnswer(why="it had no work for 1 s")]
