"""Compressed files as streams of what they hold, in bounded memory; which of them are bombs."""

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from isoflop.corpus.documents import SourceFile, unreadable
from isoflop.errors import IsoflopError

# Text that shrinks to a two-hundredth has nothing to learn: English takes a quarter of its size, logs a
# thirtieth. Small files may be anything: what they hold fits everywhere.
LARGEST_RATIO = 200
SMALL_BYTES = 16 * 2**20
# What `xz -9` needs to unpack (65 MiB; xz(1)), twice.
_XZ_MEMORY = 128 * 2**20
_CHUNK = 2**18

_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""


def is_packed(path: str) -> bool:
    """Whether the name ends as that of a compressed file."""
    return _suffix(path) in _OPENERS


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - a tenth of what a Path takes, for every document


def open_unpacked(file: SourceFile) -> BinaryIO:
    """What the file holds as a stream, unpacked if its name ends in .gz, .zst, .xz or .bz2.

    Reading it raises IsoflopError where the file is damaged or a bomb, see `refuse_bomb`.

    Raises:
        IsoflopError: the file is gone or unreadable, or nothing here unpacks it.
    """
    try:
        opened = Path(file.path).open("rb")  # noqa: SIM115 - the caller closes the stream
        if not is_packed(file.path):
            return opened
        kind, unpack = _OPENERS[_suffix(file.path)]
        unpacked = _Unpacked(opened, unpack(opened, file.path), kind, file)
        if not file.n_bytes:
            # Not even what packs nothing is empty; gzip and bz2 of the standard library take it for that.
            raise unpacked.damaged(EOFError())
        stream: Any = io.BufferedReader(unpacked, _CHUNK)
        return stream  # type: ignore[no-any-return]
    except OSError as error:
        raise unreadable(file.path, error) from None


def unpacked_size(file: SourceFile, *, at_most: int) -> int:
    """Bytes that the file holds unpacked; of a compressed one with more than `at_most`, `at_most + 1`.

    Raises:
        IsoflopError: it cannot be read.
    """
    if not is_packed(file.path):
        return file.n_bytes
    size = 0
    with open_unpacked(file) as stream:
        while size <= at_most and (chunk := stream.read(_CHUNK)):
            size += len(chunk)
    return min(size, at_most + 1)


def refuse_bomb(file: SourceFile, n_unpacked: int) -> None:
    """Nothing; `n_unpacked` bytes are what the file has unpacked to so far.

    Raises:
        IsoflopError: they are more than any text would unpack to.
    """
    if n_unpacked > max(SMALL_BYTES, LARGEST_RATIO * file.n_bytes):
        raise IsoflopError(
            f"{file.path!r} has {file.n_bytes} bytes and unpacks to more than {n_unpacked // 2**20} MiB, over "
            f"{LARGEST_RATIO} times as much: no text does.",
            hint="Look at what is in it; if it is what you want, unpack it and give the file inside.",
        )


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a file, damage and bombs told as errors of the user."""

    def __init__(self, opened: BinaryIO, stream: _Stream, kind: str, file: SourceFile) -> None:
        self._opened, self._stream, self._kind, self._file = opened, stream, kind, file
        self._n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            chunk = self._stream.read(min(len(buffer), _CHUNK))
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(self._file.path, error) from None
            raise self.damaged(error) from None
        self._n_bytes += len(chunk)
        refuse_bomb(self._file, self._n_bytes)
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._opened.close()
        super().close()

    def damaged(self, error: Exception) -> IsoflopError:
        """The error that what is left cannot be unpacked."""
        needs_memory = isinstance(error, lzma.LZMAError) and "emory" in str(error)
        why = f"it needs more than {_XZ_MEMORY // 2**20} MiB of memory" if needs_memory else "it was cut off or altered"
        return IsoflopError(
            f"{self._file.path!r} cannot be read as {self._kind} beyond byte {self._n_bytes} of what it unpacks to: "
            f"{why}.",
            hint="Copy or write the file again, or leave it out with corpus.paths or corpus.pattern.",
        )


class _Xz:
    """The streams of an .xz file, one after the other (tukaani.org/xz/xz-file-format.txt, 2)."""

    def __init__(self, opened: BinaryIO, path: str) -> None:
        self._opened = opened
        self._stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        while True:
            packed = b""
            if self._stream.eof:
                packed = self._next_stream()
                if not packed:
                    return b""
                self._stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
            elif self._stream.needs_input:
                packed = self._opened.read(_CHUNK)
                if not packed:
                    raise EOFError
            chunk = self._stream.decompress(packed, max_length=size)
            if chunk:
                return chunk

    def _next_stream(self) -> bytes:
        packed = self._stream.unused_data.lstrip(b"\0")  # padding
        while not packed and (chunk := self._opened.read(_CHUNK)):
            packed = chunk.lstrip(b"\0")
        return packed


def _gzip(opened: BinaryIO, path: str) -> _Stream:
    return gzip.GzipFile(fileobj=opened)


def _bzip2(opened: BinaryIO, path: str) -> _Stream:
    return bz2.BZ2File(opened)


def _zstd(opened: BinaryIO, path: str) -> _Stream:
    try:
        import pyarrow as pa
    except ImportError:
        raise IsoflopError(
            f"{path!r} is compressed with zstd, and pyarrow, which unpacks it here, is not installed.",
            hint="Unpack it (`unzstd`), or `pip install 'isoflop[corpus]'`.",
        ) from None
    stream: _Stream = pa.CompressedInputStream(pa.PythonFile(opened, mode="r"), "zstd")
    return stream


_OPENERS: dict[str, tuple[str, Callable[[BinaryIO, str], _Stream]]] = {
    ".gz": ("gzip", _gzip),
    ".zst": ("zstd", _zstd),
    ".xz": ("xz", _Xz),
    ".bz2": ("bzip2", _bzip2),
}
