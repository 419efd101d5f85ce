"""Which documents train and which are held out. The document's content decides, not its name or its neighbours."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import compress, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.corpus.builder.digests import DocumentDigests, numbers
from isoflop.corpus.documents import Document, Source
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
        n_in_file: documents of each file of the source.
        n_documents: documents before exact duplicates were dropped.
        n_duplicates: documents dropped because an earlier one has the same bytes.
        n_bytes: bytes of text, duplicates included.
        cut: bytes of the only document that train, where the rule is `by_position`.
    """

    rule: SplitRule
    sides: NDArray[np.uint8]
    n_in_file: NDArray[np.uintc]
    n_documents: int
    n_duplicates: int
    n_bytes: int
    cut: int | None = None

    def n_on(self, side: Side) -> int:
        """Documents on that side; the only document is on both."""
        return 1 if self.cut is not None else int(np.count_nonzero(self.sides == side))

    def of_side(self, source: Source, side: Side, skip: int = 0) -> Iterator[Document]:
        """The documents of the `source` that are on that side, in order, without the first `skip` of them.

        A file with none of them is not read again.
        """
        end = 0
        for number, n_documents in enumerate(self.n_in_file.tolist()):
            sides = self.sides[end : end + n_documents]
            end += n_documents
            wanted = sides == side if self.cut is None else sides != Side.DROPPED
            n_wanted = int(np.count_nonzero(wanted))
            if n_wanted <= skip:
                skip -= n_wanted
                continue
            # A file that grew or shrank meanwhile is found by its size and time afterwards.
            found = islice(compress(source.documents_of(number), wanted), skip, None)
            skip = 0
            yield from found if self.cut is None else (_piece(document, self.cut, side) for document in found)


def split_documents(
    source: Source,
    *,
    heldout_fraction: float,
    on_read: Callable[[Document], None],
    on_empty: Callable[[], None] | None = None,
    folder: Path | None = None,
) -> Split:
    """The split that holds out about `heldout_fraction` of the distinct documents, never none and never all.

    `on_read` is shown each document, `on_empty` hears of each record without text. Memory takes two bytes a document
    and four a file; a temporary file, in `folder` if there is one, takes 16 a document.

    Raises:
        IsoflopError: the only document is too short to be split.
    """
    first: Document | None = None
    n_bytes, in_file = 0, array("I", bytes(4 * len(source.files)))
    with DocumentDigests(folder) as digests:
        for number, document in source.documents(on_empty):
            on_read(document)
            in_file[number] += 1
            digests.add(document.text)
            n_bytes += len(document.text)
            first = first or document
        assert first is not None  # a source without text was refused
        is_first, n_in_file = digests.are_first(), np.array(in_file, np.uintc)
        n_documents = digests.n_documents
        n_duplicates = n_documents - int(np.count_nonzero(is_first))
        if n_duplicates == n_documents - 1:
            sides = np.where(is_first, Side.TRAIN, Side.DROPPED).astype(np.uint8)
            cut = _cut(first.text, heldout_fraction)
            return Split("by_position", sides, n_in_file, n_documents, n_duplicates, n_bytes, cut)
        sides, rule = _sides(digests, is_first, heldout_fraction)
    return Split(rule, sides, n_in_file, n_documents, n_duplicates, n_bytes)


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
