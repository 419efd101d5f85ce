"""Files that are either whole or absent, files that only grow, and folders."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# Temporary names start with a dot and end with this; nothing ever reads them.
TEMPORARY_SUFFIX = ".tmp"


def temporary_name(path: Path) -> Path:
    """A name beside `path`, of this process alone, to write to before renaming."""
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Put `data` at `path`: a reader, even after a crash, sees the old file, or the new one whole.

    Where the content is worth nothing after a power cut, `durable=False` spares the wait for the disk.
    """
    with _written_aside(path, data, durable=durable) as temporary:
        temporary.replace(path)


def create_atomically(path: Path, data: bytes) -> bool:
    """The same, durable, where nothing is at `path` yet, and storage can tell; whether `data` is there now."""
    with _written_aside(path, data, durable=True) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:  # storage without hard links
            temporary.replace(path)
    return True


@contextmanager
def _written_aside(path: Path, data: bytes, *, durable: bool) -> Iterator[Path]:
    """A file with that content beside `path`, for the time of the block."""
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def append_line(path: Path, line: bytes) -> None:
    """Add one line at the end; half a line left by a killed writer is closed first."""
    with path.open("ab+") as file:
        if file.tell() and not _ends_whole(file):
            file.write(b"\n")
        file.write(line + b"\n")


def _ends_whole(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def lines_since(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Whole lines written since byte `offset`, and the offset to go on from; none where there is no regular file."""
    if not path.is_file():  # nor is a folder or a pipe in its place read
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole.splitlines(), offset + len(whole)


@contextmanager
def alone_at(lock: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the file `lock`, made with its folder, which one process at a time does; `on_wait` hears that another does.

    Raises:
        OSError: it cannot be made or locked.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as file:
        # The operating system frees it however the process ends.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_folder(path: Path) -> bool:
    """Whether the path leads to a folder; False where one may not look, which `Path.is_dir` raises."""
    return os.path.isdir(path)  # noqa: PTH112


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed writer left half-written directly inside `folder`."""
    for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)
