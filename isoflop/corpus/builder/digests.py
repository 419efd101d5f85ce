"""Which documents have the bytes of an earlier one: digests on disk, sorted a bucket at a time."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES = 16
# Of digests that are kept in memory before they go to a file, and read from it at a time.
_IN_MEMORY, _BLOCK = 1 << 24, 1 << 20
# Digests that are sorted at once, about 100 MB with what sorting takes.
_MOST_SORTED = 1 << 21

# The digest's first and last 8 bytes as numbers, (n, 2).
Digests = NDArray[np.uint64]


class DocumentDigests:
    """The digests of documents in the order they come; 16 bytes each in a temporary file, which no kill leaves behind.

    Attributes:
        n_documents: how many there are so far.
    """

    def __init__(self, folder: Path | None, *, most_sorted: int = _MOST_SORTED) -> None:
        self.n_documents = 0
        self._most_sorted = most_sorted
        directory = None if folder is None else str(folder)
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=directory)  # noqa: SIM115 - closed by exit

    def __enter__(self) -> "DocumentDigests":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, text: bytes) -> None:
        """Takes the next document."""
        self._file.write(hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest())
        self.n_documents += 1

    def blocks(self) -> Iterator[tuple[int, Digests]]:
        """All digests in order, some at a time, each with the number of its first document."""
        self._file.seek(0)
        start = 0
        while content := self._file.read(_BLOCK):
            block = np.frombuffer(content, ">u8").reshape(-1, 2).astype(np.uint64)
            yield start, block
            start += len(block)

    def are_first(self) -> NDArray[np.bool_]:
        """For each document whether no earlier one has its bytes."""
        first = np.zeros(self.n_documents, np.bool_)
        n_buckets = -(-self.n_documents // self._most_sorted)
        for bucket in range(n_buckets):
            places, digests = self._bucket(bucket, n_buckets)
            order = np.lexsort((places, digests[:, 1], digests[:, 0]))
            digests = digests[order]
            is_new = np.ones(len(order), np.bool_)
            is_new[1:] = (digests[1:] != digests[:-1]).any(axis=1)
            first[places[order[is_new]]] = True
        return first

    def _bucket(self, bucket: int, n_buckets: int) -> tuple[NDArray[np.intp], Digests]:
        places, digests = [np.empty(0, np.intp)], [np.empty((0, 2), np.uint64)]
        for start, block in self.blocks():
            mine = np.flatnonzero((numbers(block) * n_buckets).astype(np.intp).clip(max=n_buckets - 1) == bucket)
            places.append(start + mine)
            digests.append(block[mine])
        return np.concatenate(places), np.concatenate(digests)


def numbers(digests: Digests) -> NDArray[np.float64]:
    """A number from 0 to 1 for each digest, evenly spread and a function of the document alone."""
    return digests[:, 0].astype(np.float64) / 2.0**64
