"""Which documents train and which are held out. The document's content decides, not its name or its neighbours."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.digests import DocumentDigests, numbers
from isoflop.corpus.sources import Document
from isoflop.corpus_facts import SplitRule
from isoflop.errors import IsoflopError


class Side(IntEnum):
    """Where a document goes."""

    TRAIN = 0
    HELDOUT = 1
    DROPPED = 2


@dataclass(frozen=True)
class Split:
    """The side of every document of a corpus, in the order they come.

    Attributes:
        rule: `by_hash`: each side as its content's hash says. `one_moved`: the hashes left a side empty,
            and the nearest document was moved there. `by_position`: the end of the only document is held out.
        sides: a `Side` per document, a byte each; copies of an earlier document are dropped.
        n_documents: documents before exact duplicates were dropped.
        n_duplicates: documents dropped because an earlier one has the same bytes.
        n_bytes: bytes of text, duplicates included.
        cut: bytes of the only document that train, where the rule is `by_position`.
    """

    rule: SplitRule
    sides: NDArray[np.uint8]
    n_documents: int
    n_duplicates: int
    n_bytes: int
    cut: int | None = None

    def n_on(self, side: Side) -> int:
        """Documents on that side; the only document is on both."""
        return 1 if self.cut is not None else int(np.count_nonzero(self.sides == side))

    def of_side(self, documents: Iterable[Document], side: Side) -> Iterator[Document]:
        """Those of `documents` that are on that side, in order; they are the corpus's, as they came before."""
        # A corpus that grew or shrank meanwhile is found by its files' sizes and times afterwards.
        for document, its_side in zip(documents, self.sides, strict=False):
            if self.cut is not None and its_side != Side.DROPPED:
                yield _piece(document, self.cut, side)
            elif its_side == side:
                yield document


def split_documents(
    documents: Iterable[Document],
    *,
    heldout_fraction: float,
    on_read: Callable[[Document], None],
    folder: Path | None = None,
) -> Split:
    """The split that holds out about `heldout_fraction` of the distinct documents, never none and never all.

    `on_read` is shown each document. Memory takes two bytes a document; a temporary file, in `folder` if there is one,
    takes 16.

    Raises:
        IsoflopError: the only document is too short to be split.
    """
    first: Document | None = None
    n_bytes = 0
    with DocumentDigests(folder) as digests:
        for document in documents:
            on_read(document)
            digests.add(document.text)
            n_bytes += len(document.text)
            first = first or document
        assert first is not None  # a source without text was refused
        is_first = digests.are_first()
        n_documents = digests.n_documents
        n_duplicates = n_documents - int(np.count_nonzero(is_first))
        if n_duplicates == n_documents - 1:
            sides = np.where(is_first, Side.TRAIN, Side.DROPPED).astype(np.uint8)
            cut = _cut(first.text, heldout_fraction)
            return Split("by_position", sides, n_documents, n_duplicates, n_bytes, cut)
        sides, rule = _sides(digests, is_first, heldout_fraction)
    return Split(rule, sides, n_documents, n_duplicates, n_bytes)


def _sides(
    digests: DocumentDigests, is_first: NDArray[np.bool_], heldout_fraction: float
) -> tuple[NDArray[np.uint8], SplitRule]:
    sides = np.full(len(is_first), Side.DROPPED, np.uint8)
    # Number and place of the documents that are nearest to either side.
    least, most = (np.inf, -1), (-np.inf, -1)
    for start, block in digests.blocks():
        places = start + np.flatnonzero(is_first[start : start + len(block)])
        if not len(places):
            continue
        drawn = numbers(block)[places - start]
        sides[places] = np.where(drawn < heldout_fraction, Side.HELDOUT, Side.TRAIN)
        low, high = int(drawn.argmin()), int(drawn.argmax())
        least = min(least, (float(drawn[low]), int(places[low])))
        if drawn[high] > most[0]:
            most = (float(drawn[high]), int(places[high]))
    for side, (_, place) in ((Side.HELDOUT, least), (Side.TRAIN, most)):
        if not (sides == side).any():
            sides[place] = side
            return sides, "one_moved"
    return sides, "by_hash"


def _cut(text: bytes, heldout_fraction: float) -> int:
    """Bytes of the only document that train; the rest is held out."""
    if len(text) < 2:
        raise IsoflopError(
            f"The corpus is one document of {len(text)} byte: nothing can be held out.",
            hint="Point corpus.paths at more text.",
        )
    target = min(max(len(text) - round(len(text) * heldout_fraction), 1), len(text) - 1)
    # The line boundary before the target; without one, the target itself.
    return text.rfind(b"\n", 0, target) + 1 or target


def _piece(document: Document, cut: int, side: Side) -> Document:
    if side is Side.TRAIN:
        return replace(document, text=document.text[:cut])
    return replace(document, start=document.start + cut, text=document.text[cut:])
