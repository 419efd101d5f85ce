"""MirrorFiles: single files, brought into an actor's mirror and fetched from there piece by piece."""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from isoflop.files import TEMPORARY_SUFFIX

Call = Callable[..., Any]
"""Calls a method of the actor by its name: `call("look")`."""
Version = tuple[int, ...]
"""Inode, time of the last change and size of a file there, as the actor tells them."""

# Of a file at once: small enough to be answered within a second by a slow network.
CHUNK_BYTES = 4 << 20
# Of a file that grows, what must be the same here and there before more is added: lines with times, so no chance hit.
SAME_BYTES = 512


class MirrorFiles:
    """Copies between files here and files of the mirror behind `call`.

    Args:
        mark: of this mirror alone, for temporary names here.
        meanwhile: called after every piece; may copy other files, or the same.
    """

    def __init__(self, call: Call, mark: str, meanwhile: Callable[[], None]) -> None:
        self._call, self._mark, self._meanwhile = call, mark, meanwhile
        self._numbers = count(1)

    def bring(self, path: Path, name: str) -> None:
        """Put one file there, whole."""
        with path.open("rb") as file:
            data, offset = file.read(CHUNK_BYTES), 0
            while True:
                following = file.read(CHUNK_BYTES)
                self._call("put", name, data, offset, not following)
                self._meanwhile()
                if not following:
                    return
                offset, data = offset + len(data), following

    def fetch(self, path: Path, name: str, version: Version, counts: Callable[[], bool]) -> bool:
        """Have that version of a file here; False where it is no more, or no longer counts once it is whole."""
        return self._replace(path, counts, lambda file: self._read_into(file, name, version))

    def _replace(self, path: Path, counts: Callable[[], bool], write: Callable[[BinaryIO], bool]) -> bool:
        temporary = path.with_name(f".{path.name}.{self._mark}-{next(self._numbers)}{TEMPORARY_SUFFIX}")
        try:
            with temporary.open("wb") as file:
                whole = write(file)
                file.flush()
                os.fsync(file.fileno())
            if whole and counts():
                temporary.replace(path)
                return True
            return False
        finally:
            temporary.unlink(missing_ok=True)

    def _read_into(self, file: BinaryIO, name: str, version: Version) -> bool:
        """Whether that version of a file was there to the end."""
        while file.tell() < version[2] or not version[2]:
            data = self._call("read", name, version, file.tell(), CHUNK_BYTES)
            if data is None or (not data and version[2]):
                return False
            file.write(data)
            self._meanwhile()
            if not data:
                break
        return True

    def fetch_end(self, path: Path, name: str, size: int, counts: Callable[[], bool] = lambda: True) -> None:
        """Add to a file that grows what it has there more, up to so many bytes, while the mirror counts.

        Ours must be the beginning of theirs. Where it is not, a mirror that no longer counts has added to it: then
        theirs takes its place, which began as a copy of ours.
        """
        path.touch()
        have = path.stat().st_size
        while have != size:
            known = _last_bytes(path, min(have, SAME_BYTES))
            data = self._call("read", name, None, have - len(known), len(known) + max(0, min(CHUNK_BYTES, size - have)))
            if data is None:
                return
            if data[: len(known)] != known:
                self._replace(path, counts, lambda file: self._grown_into(file, name, size))
                return
            new = data[len(known) :]
            if not new or not counts():
                return
            with path.open("ab") as file:
                file.write(new)
            have += len(new)
            self._meanwhile()

    def _grown_into(self, file: BinaryIO, name: str, size: int) -> bool:
        """Whether so many bytes of a file that grows were there."""
        while file.tell() < size:
            data = self._call("read", name, None, file.tell(), min(CHUNK_BYTES, size - file.tell()))
            if not data:
                return False
            file.write(data)
            self._meanwhile()
        return True


def _last_bytes(path: Path, number: int) -> bytes:
    if not number:
        return b""
    with path.open("rb") as file:
        file.seek(-number, os.SEEK_END)
        return file.read()
