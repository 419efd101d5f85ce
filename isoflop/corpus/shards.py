"""Tokens on disk: written as a stream into files of bounded size, read back as one memory-mapped stream."""

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.tokenizers.tokenizer import TokenDtype, Tokens

# 128 MiB a file of 16-bit tokens: small enough to copy and to check one by one.
SHARD_TOKENS = 64 * 2**20
_PIECE_BYTES = 1 << 20


def shard_name(side: str, index: int) -> str:
    """The file name of a side's shard: `train-00000.bin`."""
    return f"{side}-{index:05d}.bin"


class TokenWriter:
    """Writes a stream of tokens as `dtype` into shards `<folder>/<side>-00000.bin`, ... and hashes it.

    Without a folder it hashes and counts alone. It goes on after the tokens that are `written` there, and removes
    whatever else was written of the side.

    Attributes:
        shard_tokens: tokens in each shard so far; all but the last are full.
        dtype: how a token is stored.
        max_tokens: tokens of a full shard.
    """

    def __init__(
        self,
        folder: Path | None,
        side: str,
        dtype: TokenDtype,
        *,
        max_tokens: int = SHARD_TOKENS,
        written: Sequence[int] = (),
    ) -> None:
        self.shard_tokens: list[int] = []
        self._folder = folder
        self._side = side
        self.dtype = dtype
        self.max_tokens = max_tokens
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._unsynced: list[Path] = []
        if folder is not None:
            self._go_on_after(folder, written)

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, tokens: Tokens) -> None:
        """Appends `tokens`, going on to the next shard where one is full."""
        while len(tokens):
            if not self.shard_tokens or self.shard_tokens[-1] == self.max_tokens:
                self._begin_shard()
            piece = tokens[: self.max_tokens - self.shard_tokens[-1]]
            content = np.ascontiguousarray(piece, self.dtype).data
            if self._file is not None:
                self._file.write(content)
            self._hash.update(content)
            self.shard_tokens[-1] += len(piece)
            tokens = tokens[len(piece) :]

    @property
    def digest(self) -> bytes:
        """SHA-256 of all tokens so far as they are stored, wherever the shards were cut."""
        return self._hash.digest()

    @property
    def n_tokens(self) -> int:
        """Tokens in all shards so far."""
        return sum(self.shard_tokens)

    def sync(self) -> None:
        """Returns when all tokens so far would survive a power cut."""
        if self._file is not None:
            self._file.flush()
        for path in self._unsynced:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        self._unsynced = self._unsynced[-1:]  # the last one grows

    def _go_on_after(self, folder: Path, written: Sequence[int]) -> None:
        kept = [folder / shard_name(self._side, index) for index in range(len(written))]
        for path in set(folder.glob(f"{self._side}-[0-9]*.bin")) - set(kept):  # not those of a part, train-part0
            path.unlink()
        for path, n_tokens in zip(kept, written, strict=True):
            os.truncate(path, n_tokens * self.dtype.itemsize)
            with path.open("rb") as file:
                while content := file.read(_PIECE_BYTES):
                    self._hash.update(content)
        if kept:
            self.shard_tokens = list(written)
            self._file = kept[-1].open("ab")
            self._unsynced = kept[-1:]

    def _begin_shard(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._folder is not None:
            path = self._folder / shard_name(self._side, len(self.shard_tokens))
            self._file = path.open("xb")
            self._unsynced.append(path)
        self.shard_tokens.append(0)


@dataclass(frozen=True)
class TokenStream:
    """Shards as one stream of tokens. Memory-mapped: only what is read comes into memory.

    Attributes:
        starts: position in the stream of each shard's first token.
        n_tokens: tokens in all shards.
        dtype: how a token is stored.
    """

    shards: tuple[Tokens, ...]
    starts: tuple[int, ...]
    n_tokens: int
    dtype: TokenDtype

    @property
    def n_bytes(self) -> int:
        """Size of the whole stream as it is stored."""
        return self.n_tokens * self.dtype.itemsize

    def pieces(self) -> Iterator[tuple[int, Tokens]]:
        """The whole stream in order, a shard at a time: where each piece starts, and a copy of it to be written to.

        For whoever keeps all of it elsewhere, on a device say: the host never holds more than one shard.
        """
        for start, shard in zip(self.starts, self.shards, strict=True):
            yield start, shard.astype(self.dtype.newbyteorder("="))  # in the byte order of this machine

    def windows(self, starts: Sequence[int], length: int) -> NDArray[np.int64]:
        """The tokens at `starts[i] .. starts[i] + length`, (len(starts), length), ready for an embedding.

        Raises:
            ValueError: a window leaves the stream.
        """
        windows = np.empty((len(starts), length), np.int64)
        for start, window in zip(starts, windows, strict=True):
            if not 0 <= start <= self.n_tokens - length:
                raise ValueError(f"window {start}..{start + length} leaves a stream of {self.n_tokens} tokens")
            self._copy(start, window)
        return windows

    def _copy(self, start: int, window: NDArray[np.int64]) -> None:
        shard = bisect_right(self.starts, start) - 1
        offset = start - self.starts[shard]
        piece = self.shards[shard][offset : offset + len(window)]
        window[: len(piece)] = piece
        if len(piece) < len(window):
            self._copy(start + len(piece), window[len(piece) :])


def map_tokens(folder: Path, side: str, shard_tokens: Sequence[int], dtype: TokenDtype) -> TokenStream:
    """The stream in the shards of `side`, which must hold exactly `shard_tokens` tokens stored as `dtype`.

    Raises:
        OSError: a shard is missing or unreadable.
        ValueError: a shard's size is not what it should be.
    """
    shards = tuple(_map(folder / shard_name(side, i), n_tokens, dtype) for i, n_tokens in enumerate(shard_tokens))
    ends = tuple(accumulate(shard_tokens))
    return TokenStream(shards, (0, *ends[:-1]), ends[-1], dtype)


def _map(path: Path, n_tokens: int, dtype: TokenDtype) -> Tokens:
    n_bytes = path.stat().st_size
    if n_bytes != n_tokens * dtype.itemsize:
        raise ValueError(f"{path.name} has {n_bytes} bytes instead of {n_tokens * dtype.itemsize}")
    # A plain array over the map: slices of np.memmap cost ten times as much.
    return np.asarray(np.memmap(path, dtype, mode="r"))
