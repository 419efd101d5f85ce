"""Which documents train and which are held out. The document's content decides, not its name or its neighbours."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from isoflop.corpus.sources import Document
from isoflop.corpus_facts import SplitRule
from isoflop.errors import IsoflopError

# Shorter lines (brackets, `return None`, blank ones) recur in unrelated documents and say nothing of copying.
_SHORTEST_TELLING_LINE = 20

_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Split:
    """The distinct documents of a corpus, each on its side, in the order they came.

    Attributes:
        rule: `by_hash`: each side as its content's hash says. `one_moved`: the hashes left a side empty,
            and the nearest document was moved there. `by_position`: the end of the only document is held out.
        n_documents: documents before exact duplicates were dropped.
        n_duplicates: documents dropped because an earlier one has the same bytes.
    """

    train: tuple[Document, ...]
    heldout: tuple[Document, ...]
    rule: SplitRule
    n_documents: int
    n_duplicates: int


def split_documents(
    documents: Iterable[Document], *, heldout_fraction: float, on_read: Callable[[Document, bytes], None]
) -> Split:
    """The split that holds out about `heldout_fraction` of the distinct documents, never none and never all.

    `on_read` is shown each document with its text.

    Raises:
        IsoflopError: the only document is too short to be split.
    """
    numbers: dict[bytes, float] = {}
    distinct: list[Document] = []
    n_documents = 0
    for document in documents:
        n_documents += 1
        text = document.read()
        on_read(document, text)
        digest = hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()
        if digest not in numbers:
            numbers[digest] = _uniform(digest)
            distinct.append(document)
    n_duplicates = n_documents - len(distinct)
    if len(distinct) == 1:
        train, heldout = _cut(distinct[0], heldout_fraction)
        return Split((train,), (heldout,), "by_position", n_documents, n_duplicates)
    is_heldout, rule = _sides(list(numbers.values()), heldout_fraction)
    sides = tuple(
        tuple(document for document, out in zip(distinct, is_heldout, strict=True) if out is side)
        for side in (False, True)
    )
    return Split(sides[0], sides[1], rule, n_documents, n_duplicates)


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


def _cut(document: Document, heldout_fraction: float) -> tuple[Document, Document]:
    text = document.read()
    if len(text) < 2:
        raise IsoflopError(
            f"The corpus is one document of {len(text)} byte: nothing can be held out.",
            hint="Point corpus.paths at more text.",
        )
    target = min(max(len(text) - round(len(text) * heldout_fraction), 1), len(text) - 1)
    # The line boundary before the target; without one, the target itself.
    cut = text.rfind(b"\n", 0, target) + 1 or target
    return (
        Document(document.path, document.start, cut),
        Document(document.path, document.start + cut, len(text) - cut),
    )


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
