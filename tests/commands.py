"""The command given by a test: in the test's own process, or, where that matters, by a fresh interpreter."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

from isoflop.cli import app

Done = subprocess.CompletedProcess[str]


def heed_ctrl_c() -> None:
    """In a new process: SIGINT ends it, which whoever runs the suite in the background may have had ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def isoflop(*arguments: str, folder: Path, code: int = 0) -> Done:
    """What `isoflop ARGUMENTS` printed in `folder`, having ended with `code`.

    Only `run` gets a process of its own, for its signals and its fork server: an interpreter that imports everything
    again costs more than most commands. A bug leaves no traceback on stderr here; it is raised.
    """
    give = isoflop_process if arguments[:1] == ("run",) else isoflop_here
    return give(*arguments, folder=folder, code=code)


def isoflop_process(*arguments: str, folder: Path, code: int = 0) -> Done:
    """The same by a fresh interpreter, as a person starts it."""
    command = [sys.executable, "-m", "isoflop", *arguments]
    return _ended(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False), code)


def isoflop_here(*arguments: str, folder: Path, code: int = 0) -> Done:
    """The same in this process; both streams are files with descriptors, as in `isoflop ... > out 2> err`."""
    ended: object = None
    with TemporaryFile("w+", encoding="utf-8") as out, TemporaryFile("w+", encoding="utf-8") as err:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app([*arguments], prog_name="isoflop")
            except SystemExit as end:
                ended = end.code
        for stream in (out, err):
            stream.seek(0)
        texts = out.read(), err.read()
    assert ended is None or isinstance(ended, int), ended
    return _ended(subprocess.CompletedProcess(["isoflop", *arguments], ended or 0, *texts), code)


def _ended(done: Done, code: int) -> Done:
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
