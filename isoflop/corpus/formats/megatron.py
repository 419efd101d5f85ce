"""Megatron's indexed data sets: tokens in .bin, documents and sequences in .idx.

The index, all little-endian (NVIDIA/Megatron-LM megatron/core/datasets/indexed_dataset.py): nine bytes MMIDIDX and two
NUL, u64 version 1, u8 type of a token, u64 sequences, u64 document ends, then int32 length and int64 byte offset of
each sequence, then int64 document ends counted in sequences, the first of them 0. A byte per sequence may follow.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.documents import SourceFile
from isoflop.corpus.formats.record_faults import damaged
from isoflop.corpus.formats.token_headers import INDEX_MAGIC, index_path

# Its codes of integers, as kind and bytes; 6 and 7 are numbers with fractions.
_KINDS = {1: ("u", 1), 2: ("i", 1), 3: ("i", 2), 4: ("i", 4), 5: ("i", 8), 8: ("u", 2)}
_HEADER = struct.Struct("<9sQBQQ")
_CHECKED = 1 << 20


@dataclass(frozen=True)
class MegatronIndex:
    """Where the sequences and documents of a .bin file are.

    Attributes:
        lengths, offsets: tokens of each sequence, and the byte where it begins.
        ends: where each document ends, counted in sequences; each sequence is one where the index names no documents.
    """

    dtype: np.dtype[Any]
    lengths: NDArray[np.int32]
    offsets: NDArray[np.int64]
    ends: NDArray[np.int64]

    def documents(self) -> Iterator[list[tuple[int, int]]]:
        """Of each document its sequences: the byte where each begins, and its tokens. Neighbours count as one."""
        start = 0
        for end in map(int, self.ends):
            runs: list[tuple[int, int]] = []
            for sequence in range(start, end):
                offset, length = int(self.offsets[sequence]), int(self.lengths[sequence])
                if runs and runs[-1][0] + runs[-1][1] * self.dtype.itemsize == offset:
                    runs[-1] = (runs[-1][0], runs[-1][1] + length)
                else:
                    runs.append((offset, length))
            yield runs
            start = end


def read_index(file: SourceFile) -> MegatronIndex:
    """The index beside the tokens in `file`, memory-mapped, with every sequence inside the file.

    Raises:
        OSError: it is gone or unreadable.
        IsoflopError: it is damaged, or points outside the file.
    """
    path = index_path(file.path)
    place, n_bytes = repr(str(path)), path.stat().st_size
    with path.open("rb") as opened:
        head = opened.read(_HEADER.size)
    if len(head) < _HEADER.size or not head.startswith(INDEX_MAGIC):
        raise damaged(place, "is no index of Megatron's: it does not begin with MMIDIDX")
    _, version, code, n_sequences, n_ends = _HEADER.unpack(head)
    if version != 1 or code not in _KINDS:
        raise damaged(
            place, f"has version {version} and tokens of type {code}; known are version 1 and types 1-5 and 8"
        )
    needed = _HEADER.size + 12 * n_sequences + 8 * n_ends
    if n_bytes not in (needed, needed + n_sequences):
        raise damaged(
            place, f"has {n_bytes} bytes, but {n_sequences} sequences and {n_ends} document ends take {needed}"
        )
    lengths = _mapped(path, "<i4", _HEADER.size, n_sequences)
    offsets = _mapped(path, "<i8", _HEADER.size + 4 * n_sequences, n_sequences)
    ends = _mapped(path, "<i8", _HEADER.size + 12 * n_sequences, n_ends)
    kind, width = _KINDS[code]
    index = MegatronIndex(np.dtype(f"<{kind}{width}"), lengths, offsets, _document_ends(ends, n_sequences, place))
    _check_sequences(index, file, place)
    return index


def _mapped(path: Path, dtype: str, offset: int, n: int) -> NDArray[Any]:
    return np.asarray(np.memmap(path, dtype, mode="r", offset=offset, shape=(n,))) if n else np.empty(0, dtype)


def _document_ends(ends: NDArray[np.int64], n_sequences: int, place: str) -> NDArray[np.int64]:
    if len(ends) <= 2:  # all in one document: nobody said where documents end
        return np.arange(1, n_sequences + 1)
    if ends[0] != 0 or ends[-1] != n_sequences or bool((ends[1:] < ends[:-1]).any()):
        raise damaged(place, f"has document ends that do not ascend from 0 to its {n_sequences} sequences")
    return ends[1:]


def _check_sequences(index: MegatronIndex, file: SourceFile, place: str) -> None:
    width = index.dtype.itemsize
    for start in range(0, len(index.lengths), _CHECKED):
        lengths = index.lengths[start : start + _CHECKED].astype(np.int64)
        offsets = index.offsets[start : start + _CHECKED]
        # No sum: it might not fit.
        outside = (lengths < 0) | (offsets < 0) | (offsets > file.n_bytes - lengths * width)
        if outside.any():
            number = start + int(outside.argmax())
            raise damaged(
                place,
                f"points outside the tokens: sequence {number + 1} has {index.lengths[number]} tokens from byte "
                f"{index.offsets[number]} on, and {file.path!r} has {file.n_bytes} bytes",
            )
