"""Files that are either whole or absent, and folders."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Temporary names start with a dot and end with this; nothing ever reads them.
TEMPORARY_SUFFIX = ".tmp"


def temporary_name(path: Path) -> Path:
    """A name beside `path`, of this process alone, to write to before renaming."""
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Put `data` at `path`: a reader, even after a crash, sees the old file, or the new one whole.

    Where the content is worth nothing after a power cut, `durable=False` spares the wait for the disk.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
