"""Which lines of the held-out text are in the training text too, in memory that no text exceeds.

A line is known by 8 bytes of its hash. Beyond `MOST_LINES` distinct lines only those are looked at whose hash ends in
zeros, of all texts alike: half of them, a quarter, and so on.
"""

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Shorter lines (brackets, `return None`, blank ones) recur in unrelated documents and say nothing of copying.
_SHORTEST_TELLING_LINE = 20
# 32 MiB of hashes, and about as much again while they are collected: the held-out lines of 10 GB of source text.
MOST_LINES = 1 << 22
_HASH_BYTES = 8
# 4 MiB.
_TABLE_BITS = 22

LineHashes = NDArray[np.uint64]


def telling_lines(text: bytes) -> list[bytes]:
    """The lines of `text` long enough to recognise a copy by, stripped."""
    return [line for raw in text.splitlines() if len(line := raw.strip()) >= _SHORTEST_TELLING_LINE]


def _slots(lines: list[bytes]) -> NDArray[np.int64]:
    """Where in the table of a LineSet each line is noted; lines that differ may share a place."""
    return np.fromiter(map(zlib.crc32, lines), np.int64, len(lines)) >> (32 - _TABLE_BITS)


def _hashes(lines: Iterable[bytes], mask: int) -> LineHashes:
    digests = [hashlib.blake2b(line, digest_size=_HASH_BYTES).digest() for line in lines]
    hashes = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    return hashes[hashes & np.uint64(mask) == 0] if mask else hashes


@dataclass(frozen=True)
class LineSet:
    """The telling lines of a text.

    Attributes:
        hashes: one per distinct line, ascending.
        mask: only lines whose hash has none of these bits are in the set, or looked up in it.
        table: true at the places of all lines of the text; most lines of another text are told by it alone, at a tenth
            of the cost of a hash; None after a kill, when every line is hashed.
    """

    hashes: LineHashes
    mask: int = 0
    table: NDArray[np.bool_] | None = None

    def places(self, text: bytes) -> NDArray[np.intp]:
        """For each telling line of `text` in order its place in the set; -1 for a line that is not in it."""
        return self._places(telling_lines(text))

    def _places(self, lines: Iterable[bytes]) -> NDArray[np.intp]:
        hashes = _hashes(lines, self.mask)
        if not len(self.hashes):
            return np.full(len(hashes), -1, np.intp)
        places = np.searchsorted(self.hashes, hashes)
        places[places == len(self.hashes)] = 0
        places[self.hashes[places] != hashes] = -1
        return places

    def shared(self, texts: Iterable[bytes]) -> NDArray[np.intp]:
        """The places of those lines of the set that are in one of `texts`, ascending."""
        if not len(self.hashes):
            return np.empty(0, np.intp)
        found = [self._places(self._likely(telling_lines(text))) for text in texts]
        places = np.unique(np.concatenate(found)) if found else np.empty(0, np.intp)
        return places[places >= 0]

    def _likely(self, lines: list[bytes]) -> list[bytes]:
        if self.table is None:
            return lines
        return [lines[number] for number in np.flatnonzero(self.table[_slots(lines)])]


def line_set(texts: Iterable[bytes], most: int = MOST_LINES) -> LineSet:
    """The telling lines of all `texts`, at most about `most` of them."""
    known, mask = np.empty(0, np.uint64), 0
    table = np.zeros(1 << _TABLE_BITS, np.bool_)
    pending: list[LineHashes] = []
    n_pending = 0
    for text in texts:
        lines = telling_lines(text)
        table[_slots(lines)] = True
        pending.append(_hashes(lines, mask))
        n_pending += len(pending[-1])
        if n_pending > most // 2:
            known, mask = _within(np.concatenate([known, *pending]), mask, most)
            pending, n_pending = [], 0
    hashes, mask = _within(np.concatenate([known, *pending]), mask, most)
    return LineSet(hashes, mask, table)


def _within(hashes: LineHashes, mask: int, most: int) -> tuple[LineHashes, int]:
    hashes = np.unique(hashes)
    while len(hashes) > most:
        mask = 2 * mask + 1
        hashes = hashes[hashes & np.uint64(mask) == 0]
    return hashes[hashes & np.uint64(mask) == 0] if mask else hashes, mask


def is_near_duplicate(text: bytes, lines: LineSet, elsewhere: NDArray[np.bool_]) -> bool:
    """Whether more than half of the telling lines of `text`, all in `lines`, are `elsewhere` too, by their place.

    A text without telling lines is none: as a whole it was compared when exact duplicates were dropped.
    """
    places = lines.places(text)
    return 2 * int(np.count_nonzero(elsewhere[places])) > len(places)
