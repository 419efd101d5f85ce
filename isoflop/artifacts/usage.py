"""Room on the disk."""

import contextlib
import os
from pathlib import Path

# What stat(2) counts blocks in, whatever the file system's own block is.
_STAT_BLOCK_BYTES = 512


def disk_usage(path: Path) -> int:
    """Bytes that a file, or a directory with all in it, takes on the disk: blocks allocated, as `du` counts them."""
    inside = (Path(folder) / name for folder, folders, files in os.walk(path) for name in (*folders, *files))
    return _allocated(path) + sum(_allocated(entry) for entry in inside)


def _allocated(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # a temporary file that its writer has just renamed
        return path.lstat().st_blocks * _STAT_BLOCK_BYTES
    return 0
