"""The standard streams as a command needs them: none missing, none of absurd width, and none whose loss ends the work.

A reader that goes (`| head`) has what it wants: what is said after that is dropped, and the exit code is the work's.
So is what stderr cannot take: progress is a courtesy. A stdout that takes nothing for any other reason (closed, full)
is the failure of a command that was asked for output: `OutputError`, which the boundary turns into a sentence.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT, STDERR = 1, 2
# What the environment may say of a terminal's size; where it says anything else, the size is unknown (80 columns).
SIZES = {"COLUMNS": range(20, 1001), "LINES": range(1, 1001)}


class OutputError(OSError):
    """stdout cannot be written, though nobody has left."""


class _Descriptor(io.FileIO):
    """A descriptor that falls silent once `is_courtesy` says of an error that it may."""

    def __init__(self, number: int, is_courtesy: Callable[[OSError], bool]) -> None:
        super().__init__(number, "w", closefd=False)
        self._is_courtesy = is_courtesy
        self._silent = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write `data`, or nothing where nobody listens any more."""
        size = memoryview(data).nbytes
        if self._silent:
            return size
        try:
            return super().write(data) or 0
        except OSError as error:
            self._silent = True  # what is still buffered would raise again when Python flushes at exit
            if self._is_courtesy(error):
                return size
            raise OutputError(error.errno, error.strerror) from error


def prepare() -> None:
    """Nothing; makes the streams of this process such as the module describes, for its lifetime."""
    _occupy_closed_descriptors()
    sys.stdout = _stream(STDOUT, sys.stdout, lambda error: isinstance(error, BrokenPipeError))
    sys.stderr = _stream(STDERR, sys.stderr, lambda error: True)
    for name, sizes in SIZES.items():
        if name in os.environ and not _is_one_of(sizes, os.environ[name]):
            del os.environ[name]


def _occupy_closed_descriptors() -> None:
    """Have none of 0, 1 and 2 free: the next file to be opened, a database, would take the number and be printed to."""
    for number in (0, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDONLY)  # to write there fails, as it did
            os.set_inheritable(nothing, True)  # or workers would find the number free
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)


def _stream(number: int, given: TextIO | None, is_courtesy: Callable[[OSError], bool]) -> TextIO:
    """A text stream on the descriptor, with the encoding of the `given` one."""
    if given is not None:
        with contextlib.suppress(OSError):
            given.flush()
    descriptor = _Descriptor(number, is_courtesy)
    return io.TextIOWrapper(
        io.BufferedWriter(descriptor),
        encoding=getattr(given, "encoding", None) or "utf-8",
        errors="backslashreplace" if number == STDERR or _lacks_letters(given) else getattr(given, "errors", None),
        line_buffering=number == STDERR or descriptor.isatty(),
        write_through=getattr(given, "write_through", False),
    )


def _lacks_letters(given: TextIO | None) -> bool:
    """Whether the stream's encoding (ASCII, Latin-1) lacks letters that a text may have, and would raise at one."""
    return getattr(given, "errors", None) == "strict" and not getattr(given, "encoding", "utf-8").lower().startswith(
        "utf"
    )


def _is_one_of(sizes: range, said: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", said) is not None and int(said) in sizes
