"""How programs of the user's own end, and what becomes of their runs."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from isoflop.engine.notices import AttemptEnded, AttemptStarted
from isoflop.errors import IsoflopError
from isoflop.processes import process_start
from isoflop.result import Status
from isoflop.run_spec import CommandRun, as_program
from isoflop.rundir import RunDir
from isoflop.store import Standing, open_store, run_cells
from tests.program.program_examples import log_of, mode_of, results_of, session_of, train, write_sweep
from tests.waits import has_ended, until

BODY = """
if did == "silent": pass
elif did == "crash": sys.exit(3)
elif did == "other": report(run_id="0123456789ab")
elif did == "nan": report(val_loss=float("nan"))
elif did == "true": report(val_loss=True)
elif did == "negative": report(val_loss=-1.5)
elif did == "misspelt": report(val_los=2.0)
elif did == "garbled": open(out, "w").write("{")
elif did == "list": open(out, "w").write("[1, 2]")
elif did == "unmeasured": report(achieved_flops=None)
elif did == "short": report(achieved_flops=result["achieved_flops"] * 0.99)
elif did == "nothing": report(n_tokens=0, achieved_flops=0)
elif did == "diverged": report(status="diverged", val_loss=None, reason="loss above 1e3 at step 7")
elif did == "talkative": report(status="diverged", val_loss=None, reason="Traceback " + 1000 * "x")
elif did == "contradiction": report(status="diverged", reason="it did")
elif did == "full": sys.exit(77)
elif did == "last":
    report(val_loss_se=0.01, bits_per_byte=3.0, n_steps=40, curve=[{"step": 20, "n_tokens": 9, "loss": 3.0}])
    sys.exit(9)
"""
REASONS = {
    "silent": "the program exited with 0 and left no result; its log tells more",
    "crash": "the program exited with code 3; its log tells why",
    "other": "the program's result is of run '0123456789ab', not of this one",
    "nan": "the program's result: val_loss = nan is not possible: it must be a finite number.",
    "true": "the program's result: val_loss = True is not possible: it must be a number.",
    "negative": "the program's result: val_loss = -1.5 is not possible: it must be at least 0.",
    "misspelt": "the program's result has an unknown key 'val_los'. Did you mean 'val_loss'?",
    "garbled": "the program's result is not JSON",
    "list": "the program's result is JSON, but no object with keys",
    "unmeasured": "the program's result lacks the key 'achieved_flops'.",
    "contradiction": "the program's result: a diverged run has reason and no val_loss",
    "full": "ran out of memory",
}


def test_every_ending_becomes_what_the_page_says(tmp_path: Path) -> None:
    modes = [*REASONS, "short", "nothing", "diverged", "talkative", "last"]
    file = write_sweep(tmp_path, modes, BODY)
    results = train(file)
    assert {mode: result.reason for mode, result in results.items() if result.status is Status.FAILED} == REASONS
    assert results["diverged"].status is Status.DIVERGED
    assert results["diverged"].reason == "loss above 1e3 at step 7"
    assert results["talkative"].reason == "Traceback " + 490 * "x" + " [...]"
    last = results["last"]  # whatever the exit code
    assert (last.val_loss_se, last.bits_per_byte, last.n_steps, len(last.curve)) == (0.01, 3.0, 40, 1)
    assert log_of(file, last).startswith("begun last")
    with open_store(tmp_path / "isoflop.db", write=False) as store:
        standings = {cell.shape.as_dict()["arguments"]["mode"]: cell.standing for cell in run_cells(store.cells("own"))}
    assert standings["short"] is standings["nothing"] is Standing.OFF_PLAN
    assert standings["last"] is Standing.USED


def test_nothing_that_has_a_result_is_started_again_and_a_retry_starts_what_failed(tmp_path: Path) -> None:
    body = """
    with open("count", "a") as file: file.write(did + " ")
    if did == "bad" and not os.path.exists("mended"): sys.exit(1)
    report()
    """
    file = write_sweep(tmp_path, ["good", "bad", "fine", "well"], body)
    first = train(file)
    assert train(file) == first
    (tmp_path / "mended").touch()
    again = train(file, retry=True)
    assert again["bad"].status is Status.COMPLETED
    assert again["good"] == first["good"]
    assert sorted((tmp_path / "count").read_text().split()) == ["bad", "bad", "fine", "good", "well"]


def test_a_retry_starts_what_diverged_whatever_its_attempts_left(tmp_path: Path) -> None:
    body = """
    if int(os.environ["ISOFLOP_ATTEMPT"]) < 3: report(status="diverged", reason="the loss exploded", val_loss=None)
    else: report()
    """
    file = write_sweep(tmp_path, "abcd", body)
    assert {result.reason for result in train(file).values()} == {"the loss exploded"}
    assert {result.attempt for result in train(file, retry=True).values()} == {2}
    assert {(result.status, result.attempt) for result in train(file, retry=True).values()} == {(Status.COMPLETED, 3)}


def test_a_program_that_takes_too_long_fails_and_its_children_end_with_it(tmp_path: Path) -> None:
    body = """
    if did == "endless":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
        open("child", "w").write(str(child.pid))
        time.sleep(600)
    if did == "litter":
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
        open("litter", "w").write(str(child.pid))
    report()
    """
    modes = ["endless", "litter", "one", "two"]
    file = write_sweep(tmp_path, modes, body, command={"seconds": 0.5, "grace_seconds": 0.2})
    results = train(file)
    assert results["endless"].reason == "took longer than command.seconds = 0.5"
    assert results["litter"].status is Status.COMPLETED
    for name in ("child", "litter"):
        assert has_ended(int((tmp_path / name).read_text()))


def test_a_program_that_is_killed_is_tried_again_from_its_checkpoint(tmp_path: Path) -> None:
    body = """
    kept = sys.argv[6] + "/state"
    if did == "killed" and not os.path.exists(kept):
        open(kept, "w").write("half")
        os.kill(os.getpid(), signal.SIGKILL)
    report(val_loss=1.0 if os.path.exists(kept) else 2.0)
    """
    file = write_sweep(tmp_path, ["killed", "one", "two", "three"], body)
    text = file.read_text().replace('"{result_path}"', '"{result_path}", "{checkpoint_dir}"')
    file.write_text(text)
    with session_of(file) as session:
        ended = [event for event in session.events() if isinstance(event, AttemptEnded) and event.outcome == "died"]
        results = results_of(session)
    assert [event.reason for event in ended] == ["the worker was killed by signal 9 without a result"]
    assert (results["killed"].attempt, results["killed"].val_loss) == (2, 1.0)


def test_a_sweep_that_is_stopped_has_its_programs_checkpoint_and_goes_on(tmp_path: Path) -> None:
    body = """
    kept = sys.argv[6] + "/state"
    if did == "long" and not os.path.exists(kept):
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
        open("listens", "w")
        while not asked: time.sleep(0.01)
        open(kept, "w").write("half")
        sys.exit(75)
    report(val_loss=1.0 if os.path.exists(kept) else 2.0)
    """
    file = write_sweep(tmp_path, ["long", "one", "two", "three"], body)
    file.write_text(file.read_text().replace('"{result_path}"', '"{result_path}", "{checkpoint_dir}"'))
    with session_of(file) as session:
        long = next(run_id for run_id, run in session.plan.runs.items() if mode_of(run) == "long")
        outcomes = {}
        for event in session.events():
            if isinstance(event, AttemptStarted) and event.job_id == long:
                until((tmp_path / "listens").exists)
                session.engine.stop()
            if isinstance(event, AttemptEnded):
                outcomes[event.job_id] = event.outcome
        assert outcomes[long] == "interrupted"
        assert session.outcome().n_kept == 1
    results = train(file)
    assert (results["long"].attempt, results["long"].val_loss) == (2, 1.0)


def test_a_result_that_nobody_had_read_yet_is_taken_and_a_program_that_outlived_its_worker_ended(
    tmp_path: Path,
) -> None:
    file = write_sweep(tmp_path, ["long", "one", "two", "three"], "open('started-' + did, 'w'); report()")
    with session_of(file) as session:
        runs = {mode_of(run): run for run in session.plan.runs.values()}
    one, two = (RunDir(tmp_path / "artifacts" / runs[name].run_id) for name in ("one", "two"))
    one.attempt_dir(1).mkdir(parents=True)
    said = {"run_id": runs["one"].run_id, "status": "completed", "n_tokens": runs["one"].n_tokens,
            "achieved_flops": runs["one"].planned_flops, "val_loss": 0.5}  # fmt: skip
    one.program_result_path(1).write_text(json.dumps(said))
    two.attempt_dir(1).mkdir(parents=True)
    left = subprocess.Popen(["sleep", "600"], process_group=0)
    environment = {**os.environ, "ISOFLOP_RUN_DIR": str(two.path)}
    child = subprocess.Popen(["sleep", "600"], start_new_session=True, env=environment)
    try:
        note = {"pid": left.pid, "started": process_start(left.pid)}
        two.program_process_path(1).write_text(json.dumps(note))
        results = train(file)
        assert left.wait(timeout=10) == -signal.SIGKILL
        assert child.wait(timeout=10) == -signal.SIGKILL
    finally:
        left.kill()
        child.kill()
    assert (results["one"].val_loss, results["one"].attempt) == (0.5, 1)
    assert not (tmp_path / "started-one").exists()
    assert (tmp_path / "started-two").exists()
    run = runs["one"]
    assert isinstance(run, CommandRun)
    with open_store(tmp_path / "isoflop.db", write=False) as store:  # what took no time tells of none
        assert len(store.throughput(as_program(run.argv))) == 3


def test_a_program_that_says_at_every_start_that_it_was_asked_to_stop_is_not_started_for_ever(tmp_path: Path) -> None:
    body = """
    if int(os.environ["ISOFLOP_ATTEMPT"]) > 5: sys.exit(3)
    sys.exit(75) if did == "a" else report()
    """
    result = train(write_sweep(tmp_path, "abcd", body))["a"]
    assert (result.status, result.attempt) == (Status.FAILED, 3)
    told = "the program exited with 75, to go on later, though nobody had asked it to stop, 3 times"
    assert result.reason == told


def test_a_program_that_ends_by_the_signal_that_its_worker_has_still_to_see_was_asked_to_stop(tmp_path: Path) -> None:
    """As when the job of a cluster is cancelled: all of its processes are told at once."""
    body = """
    if did == "a" and os.environ["ISOFLOP_ATTEMPT"] == "1":
        for told in signal.SIGSTOP, signal.SIGTERM: os.kill(os.getppid(), told)
        subprocess.Popen(["sh", "-c", "sleep 0.3; kill -CONT " + str(os.getppid())], start_new_session=True)
        sys.exit(75)
    report()
    """
    with session_of(write_sweep(tmp_path, "abcd", body)) as session:
        ends = [event for event in session.events() if isinstance(event, AttemptEnded) and event.reason]
    assert [(event.outcome, event.reason) for event in ends] == [("interrupted", "asked to stop")]


def test_what_a_program_has_started_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    body = """
    if did == "a" and os.environ["ISOFLOP_ATTEMPT"] == "1":
        children = [subprocess.Popen(["sleep", "600"], start_new_session=apart).pid for apart in (False, True)]
        with open("children", "w") as file: print(*children, file=file)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    report()
    """
    file = write_sweep(tmp_path, "abcd", body)
    ends = []
    with session_of(file) as session:
        for event in session.events():
            if isinstance(event, AttemptEnded) and event.outcome == "died":
                ends.append([int(pid) for pid in (tmp_path / "children").read_text().split()])
                assert not [pid for pid in ends[-1] if not has_ended(pid)]
    assert len(ends) == 1


def test_a_program_whose_heart_stops_has_hung_and_is_tried_again(tmp_path: Path) -> None:
    body = """
    if did == "hung" and os.environ["ISOFLOP_ATTEMPT"] == "1":
        time.sleep(0.3)
        os.utime(os.environ["ISOFLOP_HEARTBEAT_PATH"])
        time.sleep(600)
    report()
    """
    file = write_sweep(tmp_path, ["hung", "one", "two", "three"], body)
    with session_of(file) as session:
        session.engine._stall_seconds = 2.0
        reasons = [event.reason for event in session.events() if isinstance(event, AttemptEnded) and event.reason]
        results = results_of(session)
    assert results["hung"].attempt == 2
    assert len(reasons) == 1
    said = r"the worker saw no sign of life of its program for \d+ s and was killed"
    assert re.fullmatch(said, reasons[0] or "")
    first = RunDir(tmp_path / "artifacts" / results["hung"].run_id).log_path(1)
    assert "most recent call first" not in first.read_text()  # the stack of the worker, which only watches


def test_a_program_that_is_not_there_is_told_before_anything_is_spent(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, ["a", "b", "c", "d"], "report()")
    file.write_text(file.read_text().replace(f'"{sys.executable}"', '"./no-such-program"'))
    with pytest.raises(IsoflopError, match=r"Cannot start the program './no-such-program' of \[command\]"):
        train(file)
    assert not (tmp_path / "artifacts").exists()


def test_a_program_that_stops_its_own_worker_is_not_started_for_ever(tmp_path: Path) -> None:
    body = """
    if did == "mad":
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
    report()
    """
    results = train(write_sweep(tmp_path, ["mad", "one", "two", "three"], body))
    assert results["mad"].reason == "the worker was told to stop 10 times, and not by isoflop"
    assert results["one"].status is Status.COMPLETED
