"""Streams that are closed or full, readers that go, widths that no terminal has: the work and its exit code stay."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli_surface import SIMULATED
from tests.commands import isoflop, isoflop_process

# Each test starts the command, or plans a corpus: about a second of a core.
pytestmark = pytest.mark.slow

# Every command that can print much, and what is printed before any command.
CLOSED = ["plan drawn.toml", "run drawn.toml", "status drawn.toml", "fit drawn.toml", "clean", "--help", "--version"]
FULL = ["run drawn.toml --json", "fit drawn.toml --json", "--help"]


@pytest.fixture(scope="module")
def drawn(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(simulated, tmp_path_factory.mktemp("drawn"), dirs_exist_ok=True)


def shell(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The exit code of the first command of a pipe is the pipe's."""
    command = ["bash", "-o", "pipefail", "-c", f'"$0" -m isoflop {line}', sys.executable]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("line", [*(f"{line} >&-" for line in CLOSED), *(f"{line} >/dev/full" for line in FULL)])
def test_a_stdout_that_takes_nothing_is_one_sentence_and_exit_1(drawn: Path, line: str) -> None:
    done = shell(line, drawn)
    assert done.returncode == 1
    said = [text for text in done.stderr.splitlines() if not text.startswith(("SIMULATED", "drawn"))]
    assert [text.partition(":")[0] for text in said] == ["Error", "Hint"]
    assert "Cannot write the output" in said[0]


@pytest.mark.parametrize(
    ("line", "code"),
    [("run drawn.toml 2>&-", 0), ("run drawn.toml 2>/dev/full", 0), ("fit none.toml 2>/dev/full", 1), ("fly 2>&-", 2)],
)
def test_a_stderr_that_takes_nothing_changes_no_exit_code(drawn: Path, line: str, code: int) -> None:
    done = shell(line, drawn)
    assert (done.returncode, done.stderr) == (code, "")
    assert bool(done.stdout) is (code == 0)


def test_with_no_stream_at_all_the_database_is_not_printed_to(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    assert shell("run drawn.toml <&- >&- 2>&-", tmp_path).returncode == 1
    assert json.loads(isoflop("status", "drawn.toml", "--json", folder=tmp_path).stdout)["counts"] == {"used": 21}


@pytest.mark.parametrize(("line", "code"), [("fit drawn.toml", 0), ("--help", 0), ("fit ROWS --strict", 4)])
def test_a_reader_that_goes_leaves_the_exit_code_as_it_was(drawn: Path, line: str, code: int) -> None:
    rows = Path(__file__).parent.parent / "data" / "epoch240.csv"
    done = shell(f"{line.replace('ROWS', str(rows))} | true", drawn)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_sweep_whose_reader_goes_is_trained_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text(SIMULATED)
    assert shell("run drawn.toml 2>&1 | true", tmp_path).returncode == 0
    assert json.loads(isoflop("status", "drawn.toml", "--json", folder=tmp_path).stdout)["counts"] == {"used": 21}


@pytest.mark.parametrize("columns", ["0", "1", "99999", "1" * 30, "²", "wide"])
def test_a_width_that_no_terminal_has_is_none(drawn: Path, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = isoflop_process("status", "drawn.toml", folder=drawn).stdout.splitlines()
    assert 60 < max(map(len, lines)) <= 80
    assert max(map(len, isoflop_process("run", "--help", folder=drawn).stdout.splitlines())) == 80


def test_a_narrow_terminal_is_believed(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, isoflop("fit", "drawn.toml", folder=drawn).stdout.splitlines())) <= 40


def test_too_few_open_files_are_refused_before_anything_is_planned(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text(SIMULATED)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))

    command = [sys.executable, "-m", "isoflop", "run", "drawn.toml", "--workers", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("Error: This process may open only 16 files at once")
    assert len(done.stderr.splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.toml"]


def test_a_limit_of_open_files_that_may_be_raised_is_raised(tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text(SIMULATED)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    command = [sys.executable, "-m", "isoflop", "run", "drawn.toml"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, preexec_fn=limit)


def test_a_bug_keeps_its_traceback(drawn: Path) -> None:
    """A stream that is guarded hides no error of ours."""
    code = "import isoflop.__main__ as m, sys\nsys.argv = ['isoflop', 'status', 'drawn.toml']\n"
    code += "import isoflop.status.sweep_status as s\ns.read_status = lambda *a, **k: 1 / 0\nm.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=drawn, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
