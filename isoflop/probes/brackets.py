"""Which bracket closes what is open."""

import re
from collections import Counter
from collections.abc import Iterator

from isoflop.probes.item import Item
from isoflop.probes.places import Draw, Place, Text, items_at

_BRACKET = re.compile(rb"[()\[\]{}]")
_CLOSES = {b")": b"(", b"]": b"[", b"}": b"{"}
# A kind that hardly occurs would be a choice that is never right.
_LEAST_PLACES = 25


def bracket(text: Text, draw: Draw) -> Iterator[Item]:
    """Which bracket comes next, where one was opened within the question; each kind of the text is right equally often.

    Of a text that has one kind of bracket alone there is nothing to ask.
    """
    places = [
        Place(number, *span) for number, document in enumerate(text.documents) for span in _closings(text, document)
    ]
    counts = Counter(map(text.answer, places))
    kinds = sorted(kind for kind in counts if counts[kind] >= _LEAST_PLACES)
    if len(kinds) < 2:
        return iter(())
    turns = draw.in_turn((place for place in places if text.answer(place) in kinds), text.answer)
    fewest = min(counts[kind] for kind in kinds)
    balanced = (place for number, place in enumerate(turns) if number < fewest * len(kinds))
    return items_at(balanced, text, draw, lambda answer: kinds, len(kinds))


def _closings(text: Text, document: bytes) -> Iterator[tuple[int, int]]:
    """Closing brackets whose opening one stands in their context, with something between; after a wrong one anew."""
    opened: list[tuple[bytes, int]] = []
    for match in _BRACKET.finditer(document):
        mark, at = match.group(), match.start()
        if mark not in _CLOSES:
            opened.append((mark, at))
        elif opened and opened[-1][0] == _CLOSES[mark]:
            _, start = opened.pop()
            if 2 <= at - start < text.room:
                yield at, at + 1
        else:
            opened.clear()
