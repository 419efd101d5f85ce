"""Files that are either whole or absent, and folders."""

import os
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


def is_folder(path: Path) -> bool:
    """Whether the path leads to a folder; False where one may not look, which `Path.is_dir` raises."""
    return os.path.isdir(path)  # noqa: PTH112


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed writer left half-written directly inside `folder`."""
    for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)
