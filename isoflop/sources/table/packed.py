"""What a compressed file holds, in bounded memory."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Protocol

from isoflop.errors import IsoflopError

# A table of three million runs; text of it takes a few times this memory.
LARGEST_BYTES = 256 * 2**20
# What `xz -9` needs to unpack (65 MiB; xz(1)), twice.
_XZ_MEMORY = 128 * 2**20
_CHUNK = 2**20

ZIP = b"PK\x03\x04"
_ZSTD = b"\x28\xb5\x2f\xfd"
_XZ = b"\xfd7zXZ\x00"
_AGAIN = "Copy or write the file again, or give the table unpacked."


class Stream(Protocol):
    """What can be read piece by piece."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""


class DamagedError(Exception):
    """A packed file that is cut off or altered; its text says how, as the end of a sentence."""


# What unpackers raise of damage; zipfile a RuntimeError of an encrypted member, its subclass of a method it lacks.
DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, DamagedError)


def unpacked(content: bytes, *, name: str) -> tuple[bytes, str] | None:
    """What `content` holds, and the name of that; None where it is not compressed.

    Raises:
        IsoflopError: it is damaged, holds more than `LARGEST_BYTES`, or nothing here unpacks it.
    """
    for magic, (kind, opened) in _OPENERS.items():
        if content.startswith(magic):
            inner = bounded(opened(content, name), name=name, kind=kind)
            if inner.startswith((ZIP, *_OPENERS)):
                raise IsoflopError(f"{name!r} holds another compressed file.", hint="Unpack it and give the table.")
            return inner, PurePath(name).stem
    return None


def bounded(stream: Stream, *, name: str, kind: str, largest: int = LARGEST_BYTES) -> bytes:
    """All bytes of a stream of unpacked ones.

    Raises:
        IsoflopError: it is damaged, or holds more than `largest` bytes.
    """
    chunks, size = [], 0
    try:
        while chunk := stream.read(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > largest:
                raise IsoflopError(
                    f"{name!r} unpacks to more than {largest // 2**20} MiB: no table of runs is that large.",
                    hint="Give the rows and columns that are to be fitted, or the table unpacked.",
                )
    except DAMAGE as error:
        raise damaged(name, kind, error) from None
    return b"".join(chunks)


def damaged(name: str, kind: str, error: Exception) -> IsoflopError:
    """The error that a packed file cannot be read."""
    if isinstance(error, lzma.LZMAError) and "emory" in str(error):
        why = f"it needs more than {_XZ_MEMORY // 2**20} MiB of memory"
    elif isinstance(error, DamagedError):
        why = str(error)
    elif isinstance(error, NotImplementedError):
        why = "it is compressed in a way that Python does not read"
    elif isinstance(error, RuntimeError) and "encrypted" in str(error):
        why = "it is encrypted"
    else:
        why = "it was cut off or altered"
    return IsoflopError(f"{name!r} cannot be read as {kind}: {why}.", hint=_AGAIN)


def _gzip(content: bytes, name: str) -> Stream:
    return gzip.GzipFile(fileobj=io.BytesIO(content))


def _bzip2(content: bytes, name: str) -> Stream:
    return bz2.BZ2File(io.BytesIO(content))


class _Xz:
    """The streams of an .xz file, one after the other (tukaani.org/xz/xz-file-format.txt, 2)."""

    def __init__(self, content: bytes, name: str) -> None:
        self._left = content
        self._stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`."""
        while True:
            if self._stream.eof:
                self._left = self._stream.unused_data.lstrip(b"\0")  # padding
                if not self._left:
                    return b""
                self._stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
            chunk = self._stream.decompress(self._left, max_length=size)
            self._left = b""
            if chunk:
                return chunk
            if not self._stream.eof:
                raise EOFError


def _zstd(content: bytes, name: str) -> Stream:
    try:
        import pyarrow as pa
    except ImportError:
        raise IsoflopError(
            f"{name!r} is compressed with zstd, and pyarrow, which unpacks it here, is not installed.",
            hint="Unpack it (`unzstd`) and give the table, or `pip install 'isoflop[parquet]'`.",
        ) from None
    stream: Stream = pa.CompressedInputStream(pa.BufferReader(content), "zstd")
    return stream


_OPENERS: dict[bytes, tuple[str, Callable[[bytes, str], Stream]]] = {
    b"\x1f\x8b": ("gzip", _gzip),
    _ZSTD: ("zstd", _zstd),
    _XZ: ("xz", _Xz),
    b"BZh": ("bzip2", _bzip2),
}


def open_zip(content: bytes, *, name: str) -> zipfile.ZipFile:
    """The ZIP archive in `content`.

    Raises:
        IsoflopError: it is damaged.
    """
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except DAMAGE as error:
        raise damaged(name, "a ZIP archive", error) from None


def only_member(archive: zipfile.ZipFile, *, name: str) -> tuple[bytes, str]:
    """Content and name of the one file in a ZIP archive; what macOS adds does not count.

    Raises:
        IsoflopError: it is damaged, or there are several files or none.
    """
    files = [file for file in archive.namelist() if not file.endswith("/") and not _is_of_macos(file)]
    if len(files) != 1:
        what = f"holds {len(files)} files" if files else "holds no file"
        raise IsoflopError(
            f"{name!r} is a ZIP archive that {what}; a source is one table.", hint="Unpack it and give its tables."
        )
    content = member(archive, files[0], name=name)
    if content.startswith((ZIP, *_OPENERS)):
        raise IsoflopError(f"{name!r} holds another compressed file.", hint="Unpack it and give the table.")
    return content, files[0]


def member(archive: zipfile.ZipFile, file: str, *, name: str) -> bytes:
    """The content of one file of the archive.

    Raises:
        IsoflopError: it is damaged, or too large.
    """
    try:
        with archive.open(file) as stream:
            return bounded(stream, name=name, kind="a ZIP archive")
    except (KeyError, *DAMAGE) as error:
        raise damaged(name, "a ZIP archive", error) from None


def _is_of_macos(file: str) -> bool:
    return file.startswith("__MACOSX/") or PurePath(file).name == ".DS_Store"
