"""Which documents train and which are held out. The document's content decides, not its name or its neighbours."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from isoflop.corpus.sources import Document
from isoflop.corpus_facts import SplitRule
from isoflop.errors import IsoflopError

# Shorter lines (brackets, `return None`, blank ones) recur in unrelated documents and say nothing of copying.
_SHORTEST_TELLING_LINE = 20

_DIGEST_BYTES = 16


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
        sides: a `Side` per document; copies of an earlier document are dropped.
        n_documents: documents before exact duplicates were dropped.
        n_duplicates: documents dropped because an earlier one has the same bytes.
        cut: bytes of the only document that train, where the rule is `by_position`.
    """

    rule: SplitRule
    sides: bytes
    n_documents: int
    n_duplicates: int
    cut: int | None = None

    def of_side(self, documents: Iterable[Document], side: Side) -> Iterator[Document]:
        """Those of `documents` that are on that side, in order; they are the corpus's, as they came before."""
        # A corpus that grew or shrank meanwhile is found by its files' sizes and times afterwards.
        for document, its_side in zip(documents, self.sides, strict=False):
            if self.cut is not None and its_side != Side.DROPPED:
                yield _piece(document, self.cut, side)
            elif its_side == side:
                yield document


def split_documents(
    documents: Iterable[Document], *, heldout_fraction: float, on_read: Callable[[Document], None]
) -> Split:
    """The split that holds out about `heldout_fraction` of the distinct documents, never none and never all.

    `on_read` is shown each document.

    Raises:
        IsoflopError: the only document is too short to be split.
    """
    numbers: dict[bytes, float] = {}
    is_distinct = list[bool]()
    first: Document | None = None
    for document in documents:
        on_read(document)
        digest = hashlib.blake2b(document.text, digest_size=_DIGEST_BYTES).digest()
        is_distinct.append(digest not in numbers)
        numbers.setdefault(digest, _uniform(digest))
        first = first or document
    assert first is not None  # a source without text was refused
    n_documents, n_duplicates = len(is_distinct), len(is_distinct) - len(numbers)
    if len(numbers) == 1:
        sides = bytes([Side.TRAIN, *[Side.DROPPED] * n_duplicates])
        return Split("by_position", sides, n_documents, n_duplicates, cut=_cut(first.text, heldout_fraction))
    is_heldout, rule = _sides(list(numbers.values()), heldout_fraction)
    distinct = iter(is_heldout)
    sides = bytes(int(next(distinct)) if kept else Side.DROPPED for kept in is_distinct)
    return Split(rule, sides, n_documents, n_duplicates)


def _uniform(digest: bytes) -> float:
    return int.from_bytes(digest[:8], "big") / 2**64


def _sides(numbers: list[float], heldout_fraction: float) -> tuple[list[bool], SplitRule]:
    is_heldout = [number < heldout_fraction for number in numbers]
    if not any(is_heldout):
        is_heldout[numbers.index(min(numbers))] = True
        return is_heldout, "one_moved"
    if all(is_heldout):
        is_heldout[numbers.index(max(numbers))] = False
        return is_heldout, "one_moved"
    return is_heldout, "by_hash"


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


def telling_lines(text: bytes) -> list[bytes]:
    """The lines of `text` long enough to recognise a copy by, stripped."""
    stripped = (line.strip() for line in text.splitlines())
    return [line for line in stripped if len(line) >= _SHORTEST_TELLING_LINE]


def is_near_duplicate(text: bytes, lines_elsewhere: set[bytes]) -> bool:
    """Whether more than half of the telling lines of `text` are in `lines_elsewhere`.

    A text without telling lines is none: as a whole it was compared when exact duplicates were dropped.
    """
    lines = telling_lines(text)
    return 2 * sum(line in lines_elsewhere for line in lines) > len(lines)
