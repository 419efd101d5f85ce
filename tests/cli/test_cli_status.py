"""`isoflop status` as a command: what it prints, where, and that it leaves everything as it was."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from isoflop.plan.types import Cell, DroppedCell
from isoflop.rundir import Execution, JobFile, RunDir, own_claim
from isoflop.rundir.events import ProgressEvent
from isoflop.spec import load_spec
from isoflop.store import open_store
from tests.cli.test_cli_surface import SIMULATED, isoflop
from tests.report_examples import grid, make_result, save_sweep, unfinished

NOBODY = 65534
SWEEP = 'name = "demo"\nbudgets = [1e12, 3e12]\n'
CPU = Execution(device_kind="cpu", dtype="float32", n_threads=1, micro_batch_sequences=4)
CELLS = grid(1e12, 3e12)
COMPLETED, FAILED, EXCLUDED, RUNNING = CELLS[:5], CELLS[5], CELLS[6], CELLS[7]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_sweep(tmp_path)
    return tmp_path


def make_sweep(folder: Path) -> None:
    """A sweep with completed, failed, excluded, dropped, pending and running cells in `folder`."""
    (folder / "demo.toml").write_text(SWEEP)
    log = folder / "isoflop-artifacts" / FAILED.run.run_id / "attempt-1" / "log.txt"
    results = [*map(make_result, COMPLETED), unfinished(FAILED, "failed", "it died")]
    save_sweep(
        folder / "isoflop.db",
        CELLS,
        [*results, make_result(EXCLUDED)],
        spec=load_spec(folder / "demo.toml"),
        dropped=[DroppedCell(3e12, CELLS[-1].run.shape, "12 optimizer steps, fewer than 200")],
        excluded={EXCLUDED.run.run_id: "wrong [red]corpus"},
    )
    log.parent.mkdir(parents=True)
    log.touch()
    begin(folder, RUNNING)


def begin(folder: Path, cell: Cell) -> None:
    """A run directory in which this process seems to train."""
    run_dir = RunDir(folder / "isoflop-artifacts" / cell.run.run_id)
    run_dir.write_job(JobFile(runs=(cell.run,), execution=CPU))
    run_dir.write_claim(own_claim(1))
    run_dir.beat(50)
    run_dir.append_event(
        ProgressEvent(
            time=0.0,
            run_id=cell.run.run_id,
            step=50,
            n_tokens=50 * cell.run.batch_tokens,
            loss=3.5,
            tokens_per_second=12345.0,
        )
    )


def contents(folder: Path) -> dict[str, str]:
    """Everything in the folder, with what would tell that it was touched."""
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mtime_ns} "
        + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in (folder, *sorted(folder.rglob("*")))
    }


@pytest.mark.parametrize("columns", ["80", None], ids=["80 columns", "a log file"])
def test_piped_it_is_plain_text_of_80_columns(
    folder: Path, columns: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "")
    shown = isoflop("status", "demo.toml", folder=folder)
    assert shown.stderr == ""
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert all(character.isprintable() or character == "\n" for character in shown.stdout)
    assert "14 runs: 1 running, 5 used, 6 pending, 1 failed, 1 excluded; 1 cell dropped" in shown.stdout
    assert f"failed {FAILED.run.run_id}, 1.00e12 FLOPs at" in shown.stdout
    assert f"log: isoflop-artifacts/{FAILED.run.run_id}/attempt-1/log.txt" in shown.stdout
    assert shown.stdout.count("log:") == 1
    assert f"{RUNNING.run.run_id}   3.00e12" in shown.stdout and "12.3k" in shown.stdout
    assert "wrong [red]corpus" in shown.stdout


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "json"])
def test_it_leaves_the_folder_as_it_was(folder: Path, arguments: tuple[str, ...]) -> None:
    before = contents(folder)
    isoflop("status", "demo.toml", *arguments, folder=folder)
    assert contents(folder) == before


def test_beside_an_open_writer_it_sees_what_was_committed_and_leaves_the_database_alone(folder: Path) -> None:
    def database() -> list[bytes]:
        return [(folder / name).read_bytes() for name in ("isoflop.db", "isoflop.db-wal")]

    with open_store(folder / "isoflop.db", write=True) as writer:
        writer.record(make_result(CELLS[8]))
        before, names = database(), set(contents(folder))
        document = json.loads(isoflop("status", "demo.toml", "--json", folder=folder).stdout)
        assert database() == before
        assert set(contents(folder)) == names
    assert document["counts"]["used"] == len(COMPLETED) + 1


def test_it_works_where_nothing_can_be_written() -> None:
    # Not in tmp_path, whose parents only its owner may enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_sweep(folder)
        folder.chmod(0o555)
        # Given once before the rights are gone, so that everything is imported: nobody may enter a home folder.
        code = (
            "import contextlib, io, os\n"
            "from isoflop.cli import app\n"
            f"os.chdir({name!r})\n"
            "command = ['status', 'demo.toml', '--json']\n"
            "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): app(command)\n"
            f"if os.getuid() == 0: os.setuid({NOBODY})\n"
            "app(command)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["used"] == len(COMPLETED)


def test_json_of_status(folder: Path) -> None:
    document = json.loads(isoflop("status", "demo.toml", "--json", folder=folder).stdout)
    assert set(document) == {
        "schema_version", "sweep", "at", "simulated", "n_runs", "counts", "flops_planned", "flops_done", "flops_failed",
        "cells",
        "lowest", "begun", "failures", "left_out", "estimate", "holder", "abandoned_by", "next", "findings",
    }  # fmt: skip
    assert document["schema_version"] == 1
    assert (document["sweep"], document["simulated"], document["n_runs"]) == ("demo", False, 14)
    assert document["counts"] == {
        "running": 1, "used": 5, "pending": 6, "failed": 1, "excluded": 1, "dropped": 1,
    }  # fmt: skip
    assert set(document["cells"][0]) == {
        "run_id", "role", "budget_flops", "n_params_total", "n_tokens", "seed", "state", "loss", "loss_se", "attempts",
    }  # fmt: skip
    assert len(document["cells"]) == 15
    assert set(document["lowest"][0]) == {"budget_flops", "n_params_total", "loss", "n_runs"}
    (begun,) = document["begun"]
    assert set(begun) == {
        "run_id", "state", "budget_flops", "n_params_total", "host", "pid", "alive", "device_kind", "attempt", "step",
        "steps", "share_done", "loss", "tokens_per_second", "heartbeat_seconds", "log_path", "engine", "engine_job",
    }  # fmt: skip
    assert (begun["pid"], begun["step"], begun["steps"]) == (os.getpid(), 50, RUNNING.run.n_steps)
    (failure,) = document["failures"]
    assert failure["attempts"] == 1
    assert set(failure) == {
        "run_id", "status", "budget_flops", "n_params_total", "reason", "log_path", "attempts",
    }  # fmt: skip
    assert [entry["state"] for entry in document["left_out"]] == ["excluded", "dropped"]
    assert set(document["left_out"][0]) == {"run_id", "state", "budget_flops", "n_params_total", "reason"}
    assert set(document["estimate"]) == {"seconds", "measured", "devices", "at_work"}
    assert len(document["estimate"]["devices"]) == 1
    assert (document["holder"], document["abandoned_by"], document["next"]) == (None, None, "run")


def test_json_of_a_holder(folder: Path) -> None:
    content = {"host": "elsewhere", "pid": 7, "started_at": "2026-01-02T03:04:05.678+00:00", "command": "isoflop run x"}
    (folder / "isoflop.db.demo.lock").write_text(json.dumps({**content, "process_start": 1.0}))
    document = json.loads(isoflop("status", "demo.toml", "--json", folder=folder).stdout)
    assert document["holder"] == {**content, "started_at": "2026-01-02T03:04:05+00:00", "alive": None}
    assert document["next"] == "wait"
    assert "cannot be seen" in isoflop("status", "demo.toml", folder=folder).stdout


def test_a_sweep_that_is_not_planned_is_one_sentence_and_a_hint(folder: Path, tmp_path: Path) -> None:
    (folder / "other.toml").write_text(SWEEP.replace("demo", "other"))
    for arguments in (("other.toml",), ("demo.toml", "--db", "none.db"), ("none.toml",)):
        done = isoflop("status", *arguments, folder=folder, code=1)
        assert done.stdout == ""
        message, hint = done.stderr.splitlines()
        assert message.startswith("Error: ") and hint.startswith("Hint: ")
    assert not (folder / "none.db").exists()


def test_a_simulated_sweep_says_so_and_hints_name_what_was_asked(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    isoflop("plan", "drawn.toml", "--db", "my db", folder=tmp_path)
    shown = isoflop("status", "drawn.toml", "--db", "my db", folder=tmp_path).stdout
    assert "SIMULATED" in shown
    assert "`isoflop run drawn.toml --db 'my db'`" in shown
    assert json.loads(isoflop("status", "drawn.toml", "--db", "my db", "--json", folder=tmp_path).stdout)["simulated"]


def test_without_run_directories_it_shows_what_the_database_knows(folder: Path) -> None:
    shutil.rmtree(folder / "isoflop-artifacts")
    document = json.loads(isoflop("status", "demo.toml", "--json", folder=folder).stdout)
    assert document["begun"] == []
    assert document["estimate"] is None
    assert document["counts"]["pending"] == 7


def test_it_starts_without_what_it_does_not_need(folder: Path) -> None:
    code = (
        "import sys\nfrom isoflop.cli import app\n"
        "try: app(['status', 'demo.toml'])\nexcept SystemExit: pass\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("LOADED")[2].split()
    assert "isoflop" in loaded
    assert not {"torch", "scipy", "matplotlib", "safetensors"} & set(loaded)
