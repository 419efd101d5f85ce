"""Sweeps of programs from the command line: the shipped examples, what the program is handed, and faults."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.rundir import RunDir
from isoflop.store import open_store
from tests.commands import isoflop
from tests.databases import opened
from tests.program.program_examples import BUDGET, PER_PARAM, results_of, session_of, train, write_sweep
from tests.waits import has_ended, until

EXAMPLES = Path(__file__).parent.parent.parent / "sweeps" / "own-trainer"


@pytest.mark.slow(3)
def test_the_shell_example_finds_its_floors(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    done = json.loads(isoflop("run", "shell.toml", "--device", "cpu", "--json", folder=tmp_path).stdout)
    assert done["runs"]["completed"] == 21
    fit = json.loads(isoflop("fit", "shell.toml", "--json", folder=tmp_path).stdout)
    assert [profile["vertex"] for profile in fit["profiles"]] == ["inside"] * 3
    assert 0.1 < fit["frontier"]["exponent_a"] < 0.8
    assert (fit["simulated"], fit["param_count"]) == (False, "as_given")
    isoflop("report", "shell.toml", "--out", "report", folder=tmp_path)
    page = (tmp_path / "report" / "report.md").read_text()
    assert "cosines=38" in page
    assert not list(tmp_path.glob("isoflop-artifacts/*/checkpoint/*/*"))
    refused = isoflop("sample", "shell.toml", "--prompt", "x", folder=tmp_path, code=1)
    assert "is trained by a program of its own, whose models isoflop cannot read" in refused.stderr


@pytest.mark.slow(14)
def test_the_pytorch_example_trains_and_goes_on_from_its_checkpoint_to_the_bit(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the example is a PyTorch script")
    argv = [sys.executable, str(EXAMPLES / "train.py"), "--width", "20", "--tokens", "100000", "--seed", "1"]
    argv += ["--name", "a", "--checkpoint", str(tmp_path / "state.pt"), "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*argv, str(tmp_path / "whole.json")], check=True, env=environment)
    stopped = subprocess.Popen([*argv, str(tmp_path / "halved.json")], env=environment, stdout=subprocess.PIPE)
    with stopped as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"a: 0 of 100000 tokens\n"
        program.terminate()
    assert stopped.returncode == 75
    subprocess.run([*argv, str(tmp_path / "halved.json")], check=True, env=environment)
    whole, resumed = (json.loads((tmp_path / name).read_text()) for name in ("whole.json", "halved.json"))
    assert resumed == whole
    assert whole["n_tokens"] == 100_000
    counted = subprocess.run([*argv[:4], "--count"], check=True, capture_output=True, text=True).stdout
    assert json.loads(counted) == {"n_params": 352 * 20, "flops_per_token": 6 * 352 * 20}


def test_a_program_is_handed_what_the_page_says(tmp_path: Path) -> None:
    body = """
    said = {name: value for name, value in os.environ.items()}
    json.dump({"argv": sys.argv, "env": said, "cwd": os.getcwd(), "stdin": sys.stdin.read()}, open("told-" + did, "w"))
    assert os.path.isdir(os.environ["ISOFLOP_CHECKPOINT_DIR"])
    job = json.load(open(os.environ["ISOFLOP_RUN_DIR"] + "/job.json"))
    assert job["runs"][0]["n_tokens"] == n_tokens
    with open(os.environ["ISOFLOP_EVENTS_PATH"], "a") as file:
        event = {"event": "progress", "run_id": run_id, "step": 3, "n_tokens": n_tokens // 2, "loss": 2.5}
        file.write(json.dumps({**event, "tokens_per_second": 10.0}) + chr(10))
    report()
    """
    command = {"env": {"MINE": "depth {mode} of {n_params}"}, "cwd": "work"}
    file = write_sweep(tmp_path, ["a", "b", "c", "d"], body, command=command)
    (tmp_path / "work").mkdir()
    (tmp_path / "program.py").rename(tmp_path / "work" / "program.py")
    with session_of(file) as session:
        progress = [event for event in session.events() if type(event).__name__ == "Progressed"]
        results = results_of(session)
        runs = dict(session.plan.runs)
    assert {event.run_id for event in progress} == set(runs)
    told = json.loads((tmp_path / "work" / "told-c").read_text())
    run_id = results["c"].run_id
    run, run_dir = runs[run_id], RunDir(tmp_path / "artifacts" / run_id)
    assert told["argv"][1:] == [
        "c", run_id, str(run.n_tokens), str(run.shape.flops_per_token), str(run_dir.program_result_path(1))
    ]  # fmt: skip
    assert (told["cwd"], told["stdin"]) == (str(tmp_path / "work"), "")
    expected = {
        "MINE": "depth c of 2890", "ISOFLOP_MODE": "c", "ISOFLOP_RUN_ID": run_id, "ISOFLOP_N_PARAMS": "2890",
        "ISOFLOP_N_TOKENS": str(run.n_tokens), "ISOFLOP_SEED": "0", "ISOFLOP_ATTEMPT": "1", "ISOFLOP_N_DEVICES": "1",
        "ISOFLOP_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "", "ISOFLOP_HEARTBEAT_PATH": str(run_dir.heartbeat_path),
    }  # fmt: skip
    assert {name: told["env"].get(name) for name in expected} == expected
    page = (EXAMPLES.parent.parent / "docs" / "own-trainer.md").read_text()
    names = {name for name in told["env"] if name.startswith("ISOFLOP_")} - {"ISOFLOP_MODE", "ISOFLOP_DEVICE"}
    handed = set(re.findall(r"^\| `\{(\w+)\}`", page, re.MULTILINE)) - {"depth", "n_layers"}
    assert {name.removeprefix("ISOFLOP_").lower() for name in names} == handed


def test_what_isoflop_does_not_know_of_a_run_is_null_in_the_database(tmp_path: Path) -> None:
    train(write_sweep(tmp_path, ["a", "b", "c", "d"], "report()"))
    with opened(tmp_path / "isoflop.db") as db:
        unknown = "n_steps, batch_tokens, learning_rate, n_params_mlp, n_params_matmul"
        assert set(db.execute(f"select trainer, {unknown} from runs").fetchall()) == {("command", *[None] * 5)}
        assert db.execute("select count(*) from results where val_loss > 2").fetchone() == (4,)
    with open_store(tmp_path / "isoflop.db", write=False) as store:  # reads every table whole, and every check
        assert len(store.cells("own")) == 4


def test_a_coordinator_and_a_worker_that_are_killed_lose_nothing_and_leave_no_program(tmp_path: Path) -> None:
    body = """
    if not os.path.exists("released"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        with open("begun", "a") as file: file.write(f"{did} {os.getpid()} {os.getppid()} {child.pid}" + chr(10))
        time.sleep(600)
    report()
    """
    file = write_sweep(tmp_path, ["a", "b", "c", "d"], body)
    command = [sys.executable, "-m", "isoflop", "run", "sweep.toml", "--device", "cpu", "--workers", "2"]
    running = subprocess.Popen([*command, "--artifacts", "artifacts"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    begun = tmp_path / "begun"
    while not begun.exists() or len(begun.read_text().splitlines()) < 2:
        time.sleep(0.02)
    lines = [line.split() for line in begun.read_text().splitlines()]
    os.kill(int(lines[0][2]), signal.SIGKILL)  # a worker: its program goes with it, and another attempt follows
    running.kill()
    running.wait()
    programs = [int(line[1]) for line in lines] + [int(lines[1][3])]  # and what the second has started
    until(lambda: all(map(has_ended, programs)), 15)
    (tmp_path / "released").touch()
    results = train(file)
    assert {mode: result.status.value for mode, result in results.items()} == dict.fromkeys("abcd", "completed")


def test_a_change_of_the_program_half_way_is_refused_until_a_person_agrees(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, ["a", "b", "c", "d"], "report()")
    train(file)
    (tmp_path / "program.py").write_text((tmp_path / "program.py").read_text() + "\n# another line\n")
    with pytest.raises(
        IsoflopError,
        match=r"leaves behind 4 trained runs of 4 .*: the program's files changed \(command\.code_hash\)\. Nothing",
    ):
        train(file)


def test_a_program_is_timed_by_short_runs_of_some_sizes_and_its_own_runs_alone_tell_of_it(tmp_path: Path) -> None:
    body = """
    time.sleep(0.1 + n_tokens * 2e-6)
    if did == "d": sys.exit(1)
    report()
    """
    file = write_sweep(tmp_path, ["a", "b", "c", "d"], body, command={"measure_tokens": 50_000})
    options = ("--device", "cpu", "--workers", "2", "--artifacts", "artifacts", "--json")
    planned = isoflop("plan", file.name, "--measure", *options, folder=tmp_path)
    assert "mode=d: a short run did not complete (the program exited with code 1; its log tells why)" in planned.stderr
    estimate = json.loads(planned.stdout)["estimate"]
    assert estimate["measured"] is True
    alone = sum(0.1 + BUDGET / (PER_PARAM * 1000 * 2**n) * 2e-6 for n in range(4)) / 2
    assert alone * 0.5 < estimate["seconds"] < alone * 3  # on a machine at work
    with opened(tmp_path / "isoflop.db") as db:
        per_token = [value for (value,) in db.execute("select seconds_per_step from measurements")]
    assert len(per_token) == 3
    assert all(1e-6 < value < 2e-5 for value in per_token)
    assert not list((tmp_path / "artifacts" / "measuring").glob("*/"))
    other = json.loads(isoflop("plan", write_other(tmp_path), *options, folder=tmp_path).stdout)["estimate"]
    assert other["measured"] is False  # of another program nothing is known


def test_short_runs_that_a_program_rounds_to_the_same_tokens_tell_nothing(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, "abcd", "report(n_tokens=4096)", command={"measure_tokens": 1000})
    options = ("--device", "cpu", "--workers", "2", "--artifacts", "artifacts", "--json")
    planned = isoflop("plan", file.name, "--measure", *options, folder=tmp_path)
    said = "mode=a: asked for 1000 and 3000 tokens it trained on 4096 and 4096: raise command.measure_tokens."
    assert said in planned.stderr
    assert json.loads(planned.stdout)["estimate"]["measured"] is False


def test_short_runs_that_take_equally_long_tell_nothing(tmp_path: Path) -> None:
    body = "time.sleep(1.0 + n_tokens * 1e-5); report()"  # 0.02 s apart, less than a start varies by
    file = write_sweep(tmp_path, "abcd", body, command={"measure_tokens": 1000})
    options = ("--device", "cpu", "--workers", "4", "--artifacts", "artifacts", "--json")
    planned = isoflop("plan", file.name, "--measure", *options, folder=tmp_path)
    assert planned.stderr.count("too close to tell what a token takes: raise command.measure_tokens.") == 4
    assert json.loads(planned.stdout)["estimate"]["measured"] is False


def write_other(folder: Path) -> str:
    """A sweep of another program in the same folder."""
    text = (folder / "sweep.toml").read_text().replace('name = "own"', 'name = "other"')
    (folder / "other.toml").write_text(text.replace('"{mode}"', '"{mode}", "-v"'))
    return "other.toml"
