"""`isoflop status --watch`: at a terminal, as lines of JSON, and through what happens to a sweep meanwhile."""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from isoflop.cli.watch import _lasting, watch_lines, watch_screen
from isoflop.errors import IsoflopError
from isoflop.spec import load_spec
from isoflop.status.sweep_status import SweepStatus, read_status
from tests.cli.test_cli_status import SWEEP, make_sweep
from tests.commands import heed_ctrl_c, isoflop

SECONDS = 60
# Readline, which pytest imports, exports the size of its own terminal; rich believes that before the real one.
SHELL = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
LEAVE = "\x1b[?1049l"


def _at_the_terminal() -> None:
    """In the new process: what is typed there reaches it, Ctrl-C too."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    heed_ctrl_c()


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.end, inside = pty.openpty()
        self.resize(16, 100)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "isoflop", *arguments],
            cwd=folder,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=_at_the_terminal,  # noqa: PLW1509 - no threads here
            env={**SHELL, "TERM": "xterm"},
        )
        os.close(inside)
        self._raw = b""

    @property
    def text(self) -> str:
        """What has come and was not read yet, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self._raw.decode(errors="ignore").replace("\r", ""))

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, key: bytes) -> None:
        os.write(self.end, key)

    def read_until(self, pattern: str) -> str:
        """What came up to and with the pattern, without colours; what came before is forgotten."""
        end = time.monotonic() + SECONDS
        while (found := re.search(pattern, text := self.text)) is None:
            assert time.monotonic() < end, f"no {pattern!r} in {self.text[-3000:]}"
            assert self._read(), f"it ended without {pattern!r}: {self.text[-3000:]}"
        self._raw = text[found.end() :].encode()
        return text[: found.end()]

    def read_all(self) -> str:
        """The rest, up to the end of the command."""
        while self._read():
            pass
        return self.text

    def _read(self) -> bool:
        select.select([self.end], [], [], SECONDS)
        try:
            data = os.read(self.end, 65536)
        except OSError:  # how a terminal ends whose last process has
            return False
        self._raw += data
        return bool(data)


@contextlib.contextmanager
def at_terminal(folder: Path, *arguments: str) -> Iterator[Terminal]:
    terminal = Terminal(folder, *arguments)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.end)


@pytest.mark.slow
def test_a_terminal_follows_a_sweep_that_is_planned_later_and_keeps_the_last_page_after_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(SWEEP)
    with at_terminal(tmp_path, "status", "demo.toml", "--watch", "--every", "0.2") as terminal:
        terminal.read_until("There is no database")
        make_sweep(tmp_path)
        terminal.read_until("Status of demo")
        terminal.read_until(r"more lines, printed at the end\. Read every 0\.2 s\. Ctrl-C ends\.")
        terminal.resize(200, 60)
        _, _, tall = terminal.read_until(r"(?<!end\. )Read every 0\.2 s").rpartition("\x1b[H")
        assert "Next: `isoflop run demo.toml`" in tall and max(map(len, tall.splitlines())) <= 60
        (tmp_path / "isoflop.db").write_bytes(b"replaced by something else")
        terminal.read_until("is not a SQLite database")
        for file in tmp_path.glob("isoflop.db*"):
            file.unlink()
        shutil.rmtree(tmp_path / "isoflop-artifacts")
        make_sweep(tmp_path)
        terminal.read_until("Status of demo")
        terminal.press(b"\x03")
        said = terminal.read_all()
        assert terminal.process.wait(SECONDS) == 0
    assert said.count(LEAVE) == 1
    left = said.partition(LEAVE)[2]
    once = isoflop("status", "demo.toml", folder=tmp_path).stdout
    assert "Grid" in left and "Next: `isoflop run demo.toml`" in left and "Ctrl-C ends" not in left
    assert first_column(left) == first_column(once)


def first_column(page: str) -> list[str]:
    """The first word of each line of the grid, which does not depend on the width."""
    return re.findall(r"^\d\.\d\de\d+", page, re.MULTILINE)


@pytest.mark.slow
def test_sigterm_leaves_the_terminal_in_order(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    with at_terminal(tmp_path, "status", "demo.toml", "--watch") as terminal:
        terminal.read_until("Ctrl-C ends")
        terminal.process.send_signal(signal.SIGTERM)
        said = terminal.read_all()
        assert terminal.process.wait(SECONDS) == 143
    assert LEAVE in said and "\x1b[?25h" in said and "Traceback" not in said


@pytest.mark.slow
def test_json_is_a_line_at_each_change_and_ends_when_nobody_reads_on(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(SWEEP)
    command = [sys.executable, "-m", "isoflop", "status", "demo.toml", "--watch", "--every", "0.2", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        waiting = json.loads(process.stdout.readline())
        assert waiting.keys() == {"schema_version", "sweep", "at", "problem"}
        assert waiting["problem"]["message"] == "There is no database 'isoflop.db'."
        make_sweep(tmp_path)
        lines = [json.loads(process.stdout.readline())]
        while "problem" in lines[-1]:  # a database that is being made
            lines.append(json.loads(process.stdout.readline()))
        once = json.loads(isoflop("status", "demo.toml", "--json", folder=tmp_path).stdout)
        assert lines[-1].keys() == once.keys() and lines[-1]["sweep"] == "demo"
        process.stdout.close()  # though nothing changes any more, this is noticed
        assert process.wait(SECONDS) == 0


def test_without_a_terminal_it_is_refused_and_every_needs_watch(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    refused = isoflop("status", "demo.toml", "--watch", folder=tmp_path, code=1)
    assert refused.stdout == "" and "standard output is none" in refused.stderr and "--json" in refused.stderr
    for arguments, said in (
        (["--every", "3"], "--every has no effect without --watch"),
        (["--watch", "--every", "0"], "no usable number of seconds"),
        (["--watch", "--every", "nan"], "no usable number of seconds"),
    ):
        assert said in isoflop("status", "demo.toml", *arguments, folder=tmp_path, code=1).stderr


def test_what_passes_by_itself_is_no_change() -> None:
    run = {"run_id": "r", "step": 1, "heartbeat_seconds": 2.0}
    document: dict[str, object] = {"at": "now", "estimate": {"seconds": 3.0}, "begun": [run], "counts": {}}
    later = {"at": "later", "estimate": None, "begun": [{**run, "heartbeat_seconds": 9.0}], "counts": {}}
    assert _lasting(document) == _lasting(later)
    assert _lasting(document) != _lasting({**later, "begun": [{**run, "step": 2}]})


def status_of(folder: Path) -> SweepStatus:
    file = folder / "demo.toml"
    return read_status(
        load_spec(file), file, db=folder / "isoflop.db", lock=folder / "lock", artifacts=folder / "isoflop-artifacts"
    )


class Looks:
    """Gives one look after the other, and at the end what Ctrl-C does."""

    def __init__(self, *looks: SweepStatus | IsoflopError) -> None:
        self.left = [*looks, KeyboardInterrupt()]

    def __call__(self) -> SweepStatus:
        look = self.left.pop(0)
        if isinstance(look, BaseException):
            raise look
        return look


NOT_PLANNED = IsoflopError("There is no database 'isoflop.db'.", hint="Plan first.")


def test_equal_looks_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(tmp_path)
    status = status_of(tmp_path)
    (tmp_path / "isoflop.db").rename(tmp_path / "another.db")
    watch_lines(Looks(NOT_PLANNED, NOT_PLANNED, status, status, NOT_PLANNED), "demo", seconds=0.0)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["problem" in one for one in said] == [True, False, True]
    assert said[0]["problem"] == {"message": NOT_PLANNED.message, "hint": "Plan first."}


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_screen_shows_each_look_and_at_the_end_the_last_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sweep(tmp_path)
    status = status_of(tmp_path)
    file = Screen()
    monkeypatch.setattr(sys, "stdout", file)
    console = Console(file=file, force_terminal=True, width=100, height=12, color_system=None, _environ={})
    watch_screen(Looks(NOT_PLANNED, status, status), console, seconds=0.01, arguments=["demo.toml"])
    before, _, left = file.getvalue().partition(LEAVE)
    assert "There is no database" in before and "Plan first." in before
    assert "more lines, printed at the end. Read every 0.01 s. Ctrl-C ends." in before
    assert "Next: `isoflop run demo.toml`" not in before and "Next: `isoflop run demo.toml`" in left
    refused = Console(file=io.StringIO(), force_terminal=False)
    with pytest.raises(IsoflopError, match="--watch redraws a terminal"):
        watch_screen(Looks(status), refused, seconds=1.0, arguments=[])
