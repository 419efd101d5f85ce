"""What is copied between a coordinator and a pilot that share no storage; actors without Ray."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from isoflop.engine.pilots.mailbox import (
    EndedAnswer,
    EndOrder,
    HereAnswer,
    LeavingAnswer,
    Mailbox,
    PilotFile,
    StartOrder,
)
from isoflop.engine.protocol import Preload
from isoflop.engine.ray import mirror_files
from isoflop.engine.ray.mirror_copies import MirrorCopies
from isoflop.errors import IsoflopError
from isoflop.run_spec import RunSpec
from isoflop.rundir import Assignment, Execution, JobFile, ProgramPlace, RunDir
from isoflop.step_library import usable_instructions
from tests.pilots.actor_process import ActorProcess, actor_process
from tests.run_examples import RUN

pytestmark = pytest.mark.slow(3)

SIMULATED = RUN.model_copy(update={"trainer": "simulated"})
CONTENT = PilotFile(
    sweep="s", database="/s.db", engine="ray", device="cpu", devices_per_run=1, lanes_per_device=1, most_lanes=1,
    idle_seconds=60, grace_seconds=5, submitted_at=1.0,
)  # fmt: skip


@pytest.fixture
def box(tmp_path: Path) -> Mailbox:
    made = Mailbox(tmp_path / "artifacts" / "pilots" / "token" / "0")
    made.create(CONTENT)
    return made


@pytest.fixture
def actor(box: Mailbox, tmp_path: Path) -> Iterator[ActorProcess]:
    with actor_process(box.path, tmp_path / "node") as made:
        yield made


def copies_of(box: Mailbox, actor: ActorProcess) -> MirrorCopies:
    return MirrorCopies(box, Path(actor("status")["mirror"]), actor)


def ordered(box: Mailbox, run: RunSpec = SIMULATED, program: ProgramPlace | None = None) -> RunDir:
    """An order for the run, its first attempt, as a coordinator gives it."""
    artifacts = box.path.parents[2]
    run_dir = RunDir(artifacts / run.run_id)
    execution = Execution(
        device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=1, instructions=usable_instructions()
    )
    run_dir.write_job(JobFile(runs=(run,), execution=execution))
    run_dir.attempt_dir(1).mkdir()
    assignment = Assignment(
        job_dir=run_dir.path, attempt=1, corpora=artifacts / "corpora", peaks=artifacts / "peaks",
        compiled=artifacts / "compiled", coordinator_pid=os.getpid(), visible_device="", git_commit=None,
        git_dirty=None, program=program,
    )  # fmt: skip
    box.order(StartOrder(worker=1, lane=0, preload=Preload.NOTHING, assignment=assignment))
    return run_dir


def until(found: Callable[[], object], copies: MirrorCopies | None = None) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end, "it did not come"
        if copies is not None:
            copies.round()
        time.sleep(0.05)


def answers(box: Mailbox, kind: type) -> list[object]:
    return [answer for answer in box.answers(0)[0] if isinstance(answer, kind)]


def test_a_run_is_trained_in_the_mirror_and_its_result_is_here_before_its_end_is_told(
    box: Mailbox, actor: ActorProcess
) -> None:
    run_dir = ordered(box)
    copies = copies_of(box, actor)
    until(lambda: answers(box, EndedAnswer), copies)
    result = run_dir.read_result(SIMULATED.run_id)
    assert result is not None and result.attempt == 1
    assert run_dir.log_path(1).exists() and run_dir.read_claim() is not None
    assert [type(event).__name__ for event in run_dir.read_events(0)[0]] == ["StartedEvent", "ResultEvent"]
    assert box.heartbeat_path.exists()
    assert ("forget", SIMULATED.run_id) in actor.called
    assert not list(run_dir.path.rglob("*.tmp"))


def test_an_end_is_not_told_while_its_result_cannot_be_fetched(box: Mailbox, actor: ActorProcess) -> None:
    run_dir = ordered(box)
    failed = []

    def broken(method: str, *arguments: object) -> object:
        if method == "read" and "result-" in str(arguments[0]):
            failed.append(arguments)
            raise OSError("the network is down")
        return actor(method, *arguments)

    mirror = Path(actor("status")["mirror"])
    copies = MirrorCopies(box, mirror, broken)
    until(lambda: b"ended" in (mirror / "pilot" / "0" / "answers.jsonl").read_bytes() if failed else tried(copies))
    assert not tried(copies)
    assert not answers(box, EndedAnswer) and not run_dir.result_path(SIMULATED.run_id).exists()
    until(lambda: answers(box, EndedAnswer), copies_of(box, actor))
    assert run_dir.result_path(SIMULATED.run_id).exists()


def tried(copies: MirrorCopies) -> bool:
    """Never True: for the sake of the round."""
    with contextlib.suppress(OSError):
        copies.round()
    return False


def test_a_driver_that_takes_over_brings_no_order_twice(box: Mailbox, actor: ActorProcess) -> None:
    ordered(box)
    copies_of(box, actor)._bring_orders()  # and dies
    copies = copies_of(box, actor)
    until(lambda: answers(box, EndedAnswer), copies)
    box.order(EndOrder(why="enough"))
    third = copies_of(box, actor)
    until(lambda: answers(box, LeavingAnswer), third)
    assert [method for method, *_ in actor.called].count("add_lines") == 2
    assert len(answers(box, EndedAnswer)) == len(answers(box, HereAnswer)) == 1
    until(lambda: third.is_over, third)


def test_a_checkpoint_and_the_events_of_earlier_attempts_go_there(box: Mailbox, actor: ActorProcess) -> None:
    run_dir = ordered(box)
    run_dir.checkpoint_dir.mkdir()
    state = run_dir.checkpoint_path(SIMULATED.run_id)
    state.write_bytes(bytes(range(256)) * 50_000)  # three pieces of a file
    run_dir.events_path.write_bytes(b'{"event": "started"}\n')
    copies = copies_of(box, actor)
    copies._bring_orders()
    there = copies._mirror / "jobs" / SIMULATED.run_id
    assert (there / "checkpoint" / state.name).read_bytes() == state.read_bytes()
    until(lambda: answers(box, EndedAnswer), copies)
    assert not state.exists(), "the worker has deleted it"
    assert run_dir.events_path.read_bytes().startswith(b'{"event": "started"}\n{"event": "started", ')


def corpora_put(actor: ActorProcess) -> list[str]:
    """Files of corpora that were put there, in order."""
    return [call[1] for call in actor.called if call[0] == "put" and call[1].startswith("corpora/")]


def test_a_corpus_goes_there_once_and_its_manifest_last(box: Mailbox, actor: ActorProcess) -> None:
    corpus = box.path.parents[2] / "corpora" / RUN.corpus_fingerprint
    corpus.mkdir(parents=True)
    (corpus / "manifest.json").write_text("{}")
    (corpus / "train-0.bin").write_bytes(b"tokens")
    ordered(box, RUN)
    copies_of(box, actor)._bring_orders()
    put = corpora_put(actor)
    folder = f"corpora/{RUN.corpus_fingerprint}"
    assert put == [f"{folder}/train-0.bin", f"{folder}/manifest.json"]
    copies_of(box, actor)._bring_corpus(corpus)
    assert len(corpora_put(actor)) == 2


def test_nothing_of_a_fenced_attempt_comes_here_and_the_fence_goes_there(box: Mailbox, actor: ActorProcess) -> None:
    run_dir = ordered(box)
    copies = copies_of(box, actor)
    copies._bring_orders()
    run_dir.fence(1, "given up")
    until(lambda: answers(box, EndedAnswer), copies)
    assert not run_dir.result_path(SIMULATED.run_id).exists()
    assert ("put", f"jobs/{SIMULATED.run_id}/attempt-1/fenced", b"given up", 0, True) in actor.called


def test_a_version_of_a_file_that_is_no_more_is_not_mixed_with_the_next(
    box: Mailbox, actor: ActorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_files, "CHUNK_BYTES", 4)
    mirror = Path(actor("status")["mirror"])
    actor("put", "jobs/x/checkpoint/state", b"old old old", 0, True)
    there = mirror / "jobs" / "x" / "checkpoint" / "state"
    version = (there.stat().st_ino, there.stat().st_mtime_ns, there.stat().st_size)

    def replaced_under_way(method: str, *arguments: object) -> object:
        answer = actor(method, *arguments)
        if method == "read":
            actor("put", "jobs/x/checkpoint/state", b"new new new", 0, True)
        return answer

    copies = MirrorCopies(box, mirror, replaced_under_way)
    here = box.path / "state"
    assert not copies._files.fetch(here, "jobs/x/checkpoint/state", version, lambda: True)
    assert not here.exists() and not list(box.path.glob("*.tmp"))


def test_a_program_of_the_users_own_needs_shared_storage(box: Mailbox, actor: ActorProcess, tmp_path: Path) -> None:
    ordered(box, program=ProgramPlace(tmp_path, None, 5.0))
    with pytest.raises(IsoflopError, match="needs storage that the nodes share"):
        copies_of(box, actor).round()


def test_what_a_killed_pilot_leaves_is_fetched_before_it_counts_as_over(box: Mailbox, actor: ActorProcess) -> None:
    copies = copies_of(box, actor)
    until(lambda: answers(box, HereAnswer), copies)
    run_dir = ordered(box)
    copies._bring_orders()
    actor("put", f"jobs/{SIMULATED.run_id}/checkpoint/late", b"state", 0, True)
    [pilot] = [one for one in psutil.Process(actor.process.pid).children() if "ray_pilot" in " ".join(one.cmdline())]
    pilot.kill()
    until(lambda: copies.is_over, copies)
    assert (run_dir.checkpoint_dir / "late").exists() or run_dir.result_path(SIMULATED.run_id).exists()


def test_a_pilot_that_was_given_up_hears_of_it(box: Mailbox, actor: ActorProcess) -> None:
    copies = copies_of(box, actor)
    until(lambda: answers(box, HereAnswer), copies)
    box.close("it does not obey")
    until(lambda: answers(box, LeavingAnswer), copies)
    until(lambda: copies.is_over, copies)


def test_two_drivers_never_copy_for_one_pilot_at_once(box: Mailbox, actor: ActorProcess) -> None:
    with copies_of(box, actor).alone() as first, copies_of(box, actor).alone() as second:
        assert first and not second


def test_a_pilot_ends_with_its_actor_however_that_ends(box: Mailbox, actor: ActorProcess) -> None:
    until(lambda: answers(box, HereAnswer), copies_of(box, actor))
    [pilot] = [
        one for one in psutil.Process(actor.process.pid).children() if "isoflop.engine.ray.ray_pilot" in one.cmdline()
    ]
    actor.process.kill()
    pilot.wait(30)


@pytest.mark.parametrize(("storage", "copied"), [("auto", False), ("shared", False), ("copied", True)])
def test_storage_counts_as_shared_where_the_actor_sees_the_mailbox(
    box: Mailbox, tmp_path: Path, storage: str, copied: bool
) -> None:
    with actor_process(box.path, tmp_path / "node", storage=storage) as actor:
        assert (actor("status")["mirror"] is not None) == copied
        assert actor("status")["problem"] == ""


@pytest.mark.parametrize(("storage", "problem"), [("auto", ""), ("shared", "does not see")])
def test_storage_with_another_pilot_in_that_place_is_not_shared(
    box: Mailbox, tmp_path: Path, storage: str, problem: str
) -> None:
    with actor_process(box.path, tmp_path / "node", storage=storage, content=b"{}") as actor:
        status = actor("status")
        assert (status["mirror"] is not None) == (storage == "auto")
        assert problem in status["problem"]


def test_the_token_of_the_cluster_is_not_in_the_pilots_environment(
    box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with actor_process(box.path, tmp_path / "node", gpus=0.0) as actor:
        actor("status")
        [pilot] = [
            one for one in psutil.Process(actor.process.pid).children() if "ray_pilot" in " ".join(one.cmdline())
        ]
        assert "RAY_AUTH_TOKEN" not in pilot.environ()
        assert pilot.environ()["CUDA_VISIBLE_DEVICES"] == ""


def test_what_killed_actors_left_behind_goes_with_the_next_on_that_node(box: Mailbox, tmp_path: Path) -> None:
    node = tmp_path / "node"
    with actor_process(box.path, node) as first:
        left = Path(first("status")["mirror"]).resolve()
        with actor_process(box.path, node) as second:
            second("status")
            assert left.exists(), "it is held"
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))
    with actor_process(box.path, node) as third:
        third("status")
        assert not left.exists()


def test_an_actor_that_starts_no_pilot_says_why_and_ends_though_nobody_asks_any_more(
    box: Mailbox, tmp_path: Path
) -> None:
    with actor_process(box.path, tmp_path / "node", stay_seconds=1.0, python="/none/python") as actor:
        status = actor("status")
        assert status["problem"].startswith("'/none/python' does not start on ")
        assert actor("look")["ended"]
        actor.process.join(30)
        assert actor.process.exitcode == 0
        assert not Path(status["mirror"]).exists()


def test_a_log_that_cannot_be_written_is_told_as_the_reason_why_no_pilot_starts(box: Mailbox, tmp_path: Path) -> None:
    box.log_path.mkdir()
    with actor_process(box.path, tmp_path / "node", storage="shared") as actor:
        assert "cannot start a pilot: Is a directory" in actor("status")["problem"]
