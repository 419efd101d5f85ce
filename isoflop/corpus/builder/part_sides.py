"""Sides that a sweep file decides: a named held-out file, and both sides of every part of a mixture."""

import hashlib
from array import array
from dataclasses import replace

import numpy as np

from isoflop.corpus.builder.split import Side, Split
from isoflop.corpus.documents import Document, Source


class PartSides:
    """What the documents of a source say of their sides, gathered while they are read for the split."""

    def __init__(self, source: Source) -> None:
        self._is_mixture = bool(source.parts)
        self._is_named = any(file.heldout is not None for file in source.files)
        self._parts, self._named, self._numbers = array("H"), array("b"), array("Q")

    def see(self, document: Document) -> None:
        """Takes the next document."""
        if self._is_named:
            self._named.append(-1 if document.heldout is None else int(document.heldout))
        if self._is_mixture:
            self._parts.append(document.part)
            digest = hashlib.blake2b(document.text, digest_size=8).digest()
            self._numbers.append(int.from_bytes(digest, "big"))

    def applied(self, split: Split) -> Split:
        """The split with those sides. Each part of a mixture has both, if it has two documents."""
        sides = split.sides.copy()
        kept = sides != Side.DROPPED
        if self._is_named:
            named = np.asarray(self._named)
            sides[kept & (named == 1)] = Side.HELDOUT
            sides[kept & (named == 0)] = Side.TRAIN
            return replace(split, rule="by_file", sides=sides, cut=None)
        if not self._is_mixture or split.rule == "by_position":
            return split
        parts, numbers = np.asarray(self._parts), np.asarray(self._numbers)
        rule = split.rule
        for part in np.unique(parts):
            mine = np.flatnonzero(kept & (parts == part))
            for side, pick in ((Side.HELDOUT, np.argmin), (Side.TRAIN, np.argmax)):
                if len(mine) > 1 and not (sides[mine] == side).any():
                    sides[mine[pick(numbers[mine])]] = side
                    rule = "one_moved"
        return replace(split, rule=rule, sides=sides)
