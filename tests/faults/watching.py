"""inotify through ctypes: who opens a temporary file, told while it is being written."""

import ctypes
import os
import re
import select
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IN_CREATE, IN_ISDIR, IN_NONBLOCK = 0x100, 0x40000000, 0o4000  # linux/inotify.h
_EVENT = struct.Struct("iIII")
_TEMPORARY = re.compile(r"\.(?P<final>.+)\.(?P<pid>\d+)\.tmp")


@dataclass(frozen=True)
class Write:
    """A temporary file that was opened just now: where, for which final name, by whom."""

    path: Path
    final: str
    pid: int

    def run_id(self, artifacts: Path) -> str:
        """The run in whose directory it is written."""
        return self.path.relative_to(artifacts).parts[0]


class Watch:
    """Watches a folder, and every folder in it, for temporary files."""

    def __init__(self, root: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(IN_NONBLOCK)
        assert self._fd >= 0, os.strerror(ctypes.get_errno())
        self._folders: dict[int, Path] = {}
        self._add(root)

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)

    def forget(self) -> None:
        """Drop what was noticed so far."""
        while self._read(0.0):
            pass

    def writes(self, seconds: float) -> Iterator[Write]:
        """Temporary files as they are opened, for so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            yield from self._read(left)

    def _read(self, seconds: float) -> list[Write]:
        if not select.select([self._fd], [], [], seconds)[0]:
            return []
        data, at, found = os.read(self._fd, 65536), 0, []
        while at < len(data):
            descriptor, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0").decode()
            at += _EVENT.size + length
            path = self._folders[descriptor] / name if descriptor in self._folders else None
            if path is not None and mask & IN_ISDIR:
                self._add(path)
            elif path is not None and (match := _TEMPORARY.fullmatch(name)):
                found.append(Write(path, match["final"], int(match["pid"])))
        return found

    def _add(self, folder: Path) -> None:
        descriptor = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), IN_CREATE)
        if descriptor >= 0:
            self._folders[descriptor] = folder
            for path in folder.iterdir():  # made before the watch was
                if path.is_dir():
                    self._add(path)
