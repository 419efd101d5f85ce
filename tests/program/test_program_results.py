"""What a program leaves as its result, read and refused; what it is handed, and where it is found."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.result import Status
from isoflop.run_spec import CommandRun
from isoflop.rundir import Assignment, ProgramExecution, ProgramPlace, RunDir
from isoflop.shape import LadderModel
from isoflop.train import program
from isoflop.train.program import find_program, placeholder_values
from isoflop.train.program_result import LARGEST_RESULT, ProgramResult, read_program_result

SHAPE = LadderModel(n_params_total=4000, flops_per_token=24_000, arguments={"depth": 12, "kind": "wide"})
RUN = CommandRun(
    trainer="command",
    shape=SHAPE,
    n_tokens=1000,
    seed=3,
    argv=("./train", "{depth}"),
    code_hash="c",
    env={"A": "{kind}"},
)
EXECUTION = ProgramExecution(device_kind="cpu", world_size=2)
COMPLETED = {"run_id": RUN.run_id, "status": "completed", "n_tokens": 1000, "achieved_flops": 2.4e7, "val_loss": 3.0}


def read(folder: Path, content: object) -> ProgramResult | str | None:
    """What is read of a file with this content: text, bytes, or an object as JSON."""
    path = folder / "result.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_program_result(path, RUN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run_id": "0123456789ab"}, "is of run '0123456789ab', not of this one"),
        ({"val_loss": True}, "val_loss = True is not possible: it must be a number"),
        ({"val_loss": "3.0"}, "val_loss = '3.0' is not possible"),
        ({"val_loss": -1.0}, "it must be at least 0"),
        ({"val_loss": None}, "a completed run has val_loss and no reason"),
        ({"reason": "why not"}, "a completed run has val_loss and no reason"),
        ({"status": "diverged"}, "a diverged run has reason and no val_loss"),
        ({"status": "done"}, "status = 'done' is not possible"),
        ({"n_tokens": -1}, "n_tokens = -1 is not possible"),
        ({"n_tokens": True}, "n_tokens = True is not possible"),
        ({"achieved_flops": -1.0}, "achieved_flops = -1.0 is not possible"),
        ({"losses": [1.0]}, "unknown key 'losses'"),
        ({"curve": [{"step": 2, "n_tokens": 9, "loss": 3.0}] * 2}, "the steps of the curve do not ascend"),
    ],
)
def test_a_result_that_cannot_be_is_refused_with_what_is_wrong(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    refused = read(tmp_path, {**COMPLETED, **changes})
    assert isinstance(refused, str) and said in refused and refused.startswith("the program's result")
    assert "\n" not in refused


def test_files_that_hold_no_result_are_refused_and_none_is_none(tmp_path: Path) -> None:
    assert read_program_result(tmp_path / "result.json", RUN) is None
    assert read(tmp_path, b"{") == "the program's result is not JSON"
    assert read(tmp_path, [1]) == "the program's result is JSON, but no object with keys"
    lacking = read(tmp_path, {key: value for key, value in COMPLETED.items() if key != "achieved_flops"})
    assert lacking == "the program's result lacks the key 'achieved_flops'."
    with (tmp_path / "result.json").open("r+b") as file:
        file.truncate(LARGEST_RESULT + 1)
    assert read_program_result(tmp_path / "result.json", RUN) == "the program's result has more than 64 MiB"


def test_a_result_is_taken_with_all_that_it_says(tmp_path: Path) -> None:
    curve = [{"step": 1, "n_tokens": 5, "loss": 4.0}, {"step": 2, "n_tokens": 9, "loss": 3.0}]
    whole = read(tmp_path, {**COMPLETED, "val_loss": 3, "val_loss_se": 0.1, "n_steps": 2, "curve": curve})
    assert isinstance(whole, ProgramResult)
    assert (whole.val_loss, whole.val_loss_se, len(whole.curve)) == (3.0, 0.1, 2)
    taken = program._result(RUN, assignment(tmp_path), EXECUTION, whole, seconds=4.0)
    assert (taken.status, taken.val_loss, taken.tokens_per_second) == (Status.COMPLETED, 3.0, 250.0)
    assert taken.execution == {"device_kind": "cpu", "world_size": 2} and taken.attempt == 2
    diverged = read(tmp_path, {**COMPLETED, "status": "diverged", "val_loss": None, "reason": "x" * 501})
    assert isinstance(diverged, ProgramResult) and diverged.reason == "x" * 500 + " [...]"
    failed = program._result(RUN, assignment(tmp_path), EXECUTION, "it died", seconds=4.0)
    assert (failed.status, failed.reason, failed.achieved_flops) == (Status.FAILED, "it died", 0.0)


def assignment(folder: Path) -> Assignment:
    return Assignment(
        job_dir=folder / RUN.run_id,
        attempt=2,
        corpora=folder,
        peaks=folder,
        compiled=folder,
        coordinator_pid=1,
        visible_device="",
        git_commit=None,
        git_dirty=None,
        program=ProgramPlace(folder, seconds=None, grace_seconds=1.0),
    )


def test_what_the_program_is_handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = placeholder_values(RUN, assignment(tmp_path), EXECUTION)
    assert (values["depth"], values["kind"], values["n_tokens"], values["seed"]) == (12, "wide", 1000, 3)
    assert (values["planned_flops"], values["attempt"], values["n_devices"]) == (24_000_000, 2, 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    variables = program._variables(values, assignment(tmp_path), EXECUTION)
    assert variables["ISOFLOP_DEPTH"] == "12" and variables["ISOFLOP_RUN_ID"] == RUN.run_id
    assert variables["ISOFLOP_RESULT_PATH"] == str(values["result_path"])
    assert (variables["OMP_NUM_THREADS"], variables["CUDA_VISIBLE_DEVICES"]) == ("2", "")
    on_gpu = program._variables(
        values, replace(assignment(tmp_path), visible_device="1"), ProgramExecution(device_kind="cuda")
    )
    assert (on_gpu["ISOFLOP_DEVICE"], on_gpu["CUDA_VISIBLE_DEVICES"]) == ("cuda", "1")
    assert "OMP_NUM_THREADS" not in on_gpu
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "OMP_NUM_THREADS" not in program._variables(values, assignment(tmp_path), EXECUTION), "it is inherited"


def test_a_program_is_found_on_the_path_or_beside_the_sweep_file(tmp_path: Path) -> None:
    script, plain = tmp_path / "train", tmp_path / "data"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    plain.write_text("no program")
    assert find_program("./train", tmp_path, path=None) == str(tmp_path / "./train")
    assert find_program("train", Path("/"), path=str(tmp_path)) == str(script)
    for name, said in (("./data", "is not there, or not executable"), ("nothing", "it is not on PATH")):
        with pytest.raises(IsoflopError, match=said) as raised:
            find_program(name, tmp_path, path=str(tmp_path))
        assert "Nothing is lost" in raised.value.hint
    with pytest.raises(IsoflopError, match="not executable"):
        find_program("./", tmp_path, path=None)


def test_why_a_program_without_a_result_failed(tmp_path: Path) -> None:
    assert "exited with 0 and left no result" in program._without_result(0)
    assert "exited with code 3" in program._without_result(3)
    run_dir = RunDir(tmp_path)
    run_dir.attempt_dir(1).mkdir()
    program._refuse_full_disk(run_dir, 1)
    assert not list(run_dir.attempt_dir(1).iterdir())
    refused = program._not_started("./train", OSError(8, "Exec format error"), tmp_path)
    assert "Cannot start the program './train'" in refused.message and "#!/bin/sh" in refused.hint


RESTS = """
import sys, threading, time
from pathlib import Path
from tests.program.test_program_results import EXECUTION, RUN, assignment
from isoflop.rundir import ProgramPlace, RunDir
from isoflop.train.process import Stop
from isoflop.train.program import _Program
from dataclasses import replace

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    told = replace(assignment(folder), program=ProgramPlace(folder, seconds=1.5, grace_seconds=1.0))
    run_dir = RunDir(told.job_dir)
    run_dir.attempt_dir(2).mkdir(parents=True)
    run = RUN.model_copy(update={"argv": (sys.executable, "-S", "-c", sys.argv[2]), "env": {}})
    paused, late = threading.Event(), []
    at = run_dir.heartbeat_path
    threading.Timer(0.4, paused.set).start()
    threading.Timer(3.0, lambda: late.append(time.time() - at.stat().st_mtime)).start()
    threading.Timer(3.1, paused.clear).start()
    ended = _Program(run, told, EXECUTION, run_dir, Stop(paused)).work()
    print(ended.code, ended.reason, 2.0 < ended.rested < 3.5, late[0] < 2.0)
"""


@pytest.mark.slow
def test_a_rest_counts_neither_as_work_nor_as_silence(tmp_path: Path) -> None:
    """A program that beats its own heart rests for three seconds, with one and a half to work."""
    beat = "open(os.environ['ISOFLOP_HEARTBEAT_PATH'], 'w').close()"
    beats = f"import os, time; [({beat}, time.sleep(0.1)) for _ in range(8)]"
    script = tmp_path / "rests.py"
    script.write_text(RESTS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(tmp_path), beats]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "None", "True", "True"], done.stdout + done.stderr
