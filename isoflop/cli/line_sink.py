"""Lines for another program, which may read slowly, stop reading or go, into a file, a pipe or stdout."""

import contextlib
import errno
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from isoflop.cli.streams import STDOUT
from isoflop.errors import IsoflopError

# What is kept of lines that find no room, a full pipe or disk, until there is: hours of a sweep's events.
MOST_WAITING = 8 * 2**20
# What a reader has to take the rest when the command ends, seconds.
LAST_SECONDS = 2.0


@contextlib.contextmanager
def line_sink(where: str, what: str, say: Callable[[str], None]) -> Iterator["LineSink"]:
    """Where to put lines: appended to the file `where`, or on stdout for `-`; `say` hears once that they cannot be put.

    Raises:
        IsoflopError: `where` cannot be written.
    """
    descriptor = _stdout() if where == "-" else _file(where, what)
    sink = LineSink(descriptor, f"{what} cannot be written to {'stdout' if where == '-' else repr(where)}", say)
    try:
        yield sink
    finally:
        sink.finish()
        if descriptor != STDOUT:
            os.close(descriptor)


class LineSink:
    """Puts lines where nothing that happens there is an error of this command.

    Attributes:
        n_left_out: lines for which there was no room for too long.
    """

    def __init__(self, descriptor: int, complaint: str, say: Callable[[str], None]) -> None:
        self._descriptor, self._complaint, self._say = descriptor, complaint, say
        self._waiting = bytearray()
        self._gone = self._said = False
        self.n_left_out = 0

    def put(self, line: str) -> None:
        """Write the line and what waits before it, as far as there is room."""
        data = line.encode() + b"\n"
        if self._gone:
            return
        if len(self._waiting) + len(data) > MOST_WAITING:
            self.n_left_out += 1
            self._complain("nobody reads them")
        else:
            self._waiting += data
        self._push()

    def finish(self) -> None:
        """Give a slow reader a moment for what waits."""
        end = time.monotonic() + LAST_SECONDS
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while self._waiting and not self._gone and (left := end - time.monotonic()) > 0:
            if not poll.poll(left * 1000) or not self._push():
                return

    def _push(self) -> bool:
        """Whether all that waits may have a place, soon or now."""
        try:
            while self._waiting:
                del self._waiting[: os.write(self._descriptor, self._waiting)]
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it has what it wants
            self._gone = True
            self._waiting.clear()
        except OSError as error:
            self._complain(error.strerror or str(error))
            return False
        return True

    def _complain(self, why: str) -> None:
        if not self._said:
            self._said = True
            self._say(f"{self._complaint}: {why}; the sweep goes on without.")


def _stdout() -> int:
    """stdout; where it is a pipe, a way into it that never waits, which leaves the pipe's other users as they are."""
    try:
        if stat.S_ISFIFO(os.fstat(STDOUT).st_mode):
            return os.open(f"/proc/self/fd/{STDOUT}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        pass
    return STDOUT


def _file(where: str, what: str) -> int:
    if _begins(Path(where)) not in (b"", b"{"):
        raise IsoflopError(
            f"{where!r} holds something else than {what.lower()}, and nothing is appended to it.",
            hint="Name another file, or - for stdout.",
        )
    try:
        descriptor = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
    except OSError as error:
        why = "nobody reads that pipe" if error.errno == errno.ENXIO else (error.strerror or str(error))
        raise IsoflopError(
            f"{what} cannot be written to {where!r}: {why}.",
            hint="Start its reader first." if error.errno == errno.ENXIO else "Name another file, or - for stdout.",
        ) from error
    if not _ends_a_line(Path(where)):  # a command that was killed, or a full disk
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\n")
    return descriptor


def _begins(path: Path) -> bytes:
    """The first byte of a file; empty of one that is not there or cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(1)
    except OSError:
        return b""


def _ends_a_line(path: Path) -> bool:
    """Whether the next line may follow at once."""
    if not path.is_file() or not path.stat().st_size:
        return True
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:  # may be written and not read
        return True


def warn(sentence: str) -> None:
    """Say it on stderr."""
    print(sentence, file=sys.stderr)
